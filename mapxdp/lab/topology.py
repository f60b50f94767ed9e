# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's namespaces, links, addresses and routes, made with ``ip`` as one would by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from mapxdp import host, netns
from mapxdp.config import DatapathKind, Napt44Mode, require_name
from mapxdp.errors import HostError
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.rule import MappingRule
from mapxdp.software.br import BrSettings

Say = Callable[[str], None]

NODES = ("client1", "client2", "ce", "br", "server", "peer")
WAN = "wan"
BRIDGE = "br-lan"
BR_TUN = "map0"
WAN_MTU = 1500

SERVER_IPV4 = "203.0.113.2"
SERVER_IPV6 = "2001:db8:5::2"
CLIENT_IPV4 = {"client1": "192.168.1.2", "client2": "192.168.1.3"}
CLIENT_IPV6 = {"client1": "2001:db8:12:3401::2", "client2": "2001:db8:12:3401::3"}
_CE_LAN_IPV4 = "192.168.1.1"
_CE_LAN_IPV6 = "2001:db8:12:3401::1"
_CE_LINK_LOCAL = "fe80::2"
_BR_LINK_LOCAL = "fe80::1"
_BR_IPV4 = "203.0.113.1"
_BR_IPV6 = "2001:db8:5::1"

_PEER_LINK_LOCAL = "fe80::3"

END_USER_PREFIX = IPv6Network("2001:db8:12:3400::/56")
#: The same PSID at another address: an echo message has one identifier for both ends.
PEER_PREFIX = IPv6Network("2001:db8:21:3400::/56")
RULE = MappingRule(
    IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24"), ea_length=16, forwarding=True
)
DMR = IPv6Network("2001:db8:ffff::/64")
BR_ADDRESS = IPv6Address("2001:db8:ffff::1")


@dataclass(frozen=True)
class Lab:
    """The namespaces of one lab: their names begin with ``prefix``."""

    prefix: str
    mode: Mode
    datapath: DatapathKind = DatapathKind.AUTO
    napt44: Napt44Mode = Napt44Mode.BPF

    def __post_init__(self) -> None:
        require_name(self.instance)

    def netns(self, node: str) -> str:
        """The network namespace of a node."""
        return f"{self.prefix}{node}"

    @property
    def is_bridged(self) -> bool:
        """True if the clients share a bridge. XDP cannot send into one: there, each has a port of
        the CE's to itself."""
        return self.datapath is not DatapathKind.XDP

    @property
    def mtu(self) -> int:
        """Of every link."""
        return WAN_MTU

    @property
    def lan(self) -> tuple[str, ...]:
        """The CE's LAN interfaces."""
        return (BRIDGE,) if self.is_bridged else tuple(CLIENT_IPV4)

    @property
    def instance(self) -> str:
        """The name of the CE's instance."""
        return self.netns("ce")

    @property
    def peer_instance(self) -> str:
        """The name of the instance of the peer, another CE."""
        return self.netns("peer")

    @property
    def domain(self) -> Domain:
        """The CE's place in the lab's MAP domain (RFC 7597 appendix A, example 1)."""
        return self._domain(END_USER_PREFIX)

    @property
    def peer(self) -> Domain | None:
        """The peer's place in it; None in a lab without."""
        return self._domain(PEER_PREFIX)

    def _domain(self, end_user_prefix: IPv6Network) -> Domain:
        return Domain(
            mode=self.mode,
            end_user_prefix=end_user_prefix,
            rules=(RULE,),
            dmr=DMR if self.mode.translates else None,
            br=None if self.mode.translates else BR_ADDRESS,
        )

    @property
    def relay(self) -> BrSettings:
        """What the BR knows."""
        return BrSettings(
            mode=self.mode,
            rules=(RULE,),
            dmr=DMR if self.mode.translates else None,
            address=None if self.mode.translates else BR_ADDRESS,
        )

    def config_text(self) -> str:
        """The CE's configuration file."""
        lan = ", ".join(f'"{interface}"' for interface in self.lan)
        return self._config_text(
            self.instance, END_USER_PREFIX, self.napt44, f"lan = [{lan}]", self.datapath
        )

    def peer_config_text(self) -> str:
        """The peer's. It has no LAN: what it serves, it serves itself, without NAPT44."""
        has_bpf = self.datapath is not DatapathKind.SOFTWARE
        datapath = DatapathKind.AUTO if has_bpf else DatapathKind.SOFTWARE
        return self._config_text(self.peer_instance, PEER_PREFIX, Napt44Mode.NONE, "", datapath)

    def _config_text(
        self,
        instance: str,
        end_user_prefix: IPv6Network,
        napt44: Napt44Mode,
        lan: str,
        datapath: DatapathKind,
    ) -> str:
        far_end = f'dmr = "{DMR}"' if self.mode.translates else f'br = "{BR_ADDRESS}"'
        return f"""\
[ce]
name = "{instance}"
wan = "{WAN}"
mode = "{self.mode}"
datapath = "{datapath}"
end_user_prefix = "{end_user_prefix}"
{far_end}
{lan}

[napt44]
mode = "{napt44}"

[[rule]]
ipv6 = "{RULE.ipv6}"
ipv4 = "{RULE.ipv4}"
ea_length = {RULE.ea_length}
forwarding = true
"""


def build(lab: Lab, say: Say) -> None:
    """Makes the namespaces and everything in them but the CE's datapath and the BR."""
    say(f"network namespaces {', '.join(lab.netns(node) for node in NODES)}")
    for node in NODES:
        _ip(f"netns add {lab.netns(node)}")
        _in(lab, node, "link set lo up")
        # Addresses are usable at once: nobody else could have them here.
        _set(lab, node, "net/ipv6/conf/default/accept_dad", "0")
    if lab.is_bridged:
        _build_bridged_lan(lab)
    else:
        _build_routed_lan(lab)
    _build_wan(lab)
    _build_server_side(lab)
    _build_peer(lab)
    for node in ("ce", "br"):
        _set(lab, node, "net/ipv6/conf/all/forwarding", "1")
    _set(lab, "br", host.IPV4_FORWARDING, "1")


def destroy(lab: Lab) -> None:
    """Removes the namespaces, with all that is in them."""
    for node in NODES:
        if (netns.DIRECTORY / lab.netns(node)).exists():
            _ip(f"netns del {lab.netns(node)}")


def _build_client(lab: Lab, node: str) -> None:
    _veth(lab, ("ce", node), (node, "eth0"))
    _address(lab, node, "eth0", f"{CLIENT_IPV4[node]}/24")
    _address(lab, node, "eth0", f"{CLIENT_IPV6[node]}/64")
    _in(lab, node, f"route add default via {_CE_LAN_IPV4}")
    _in(lab, node, f"-6 route add default via {_CE_LAN_IPV6}")


def _build_routed_lan(lab: Lab) -> None:
    for node in CLIENT_IPV4:
        _build_client(lab, node)
        _address(lab, "ce", node, f"{_CE_LAN_IPV4}/32")
        _address(lab, "ce", node, f"{_CE_LAN_IPV6}/128")
        _in(lab, "ce", f"route add {CLIENT_IPV4[node]} dev {node} src {_CE_LAN_IPV4}")
        _in(lab, "ce", f"-6 route add {CLIENT_IPV6[node]} dev {node}")
        # As from a network card: checksums are complete when a frame arrives.
        set_offloads(lab, node, "eth0", on=False)
        _receive_from_xdp(lab, node, "eth0")


def _receive_from_xdp(lab: Lab, node: str, interface: str) -> None:
    """A veth takes redirected frames only while the other end polls (GRO has it do so)."""
    run(["ip", "netns", "exec", lab.netns(node), "ethtool", "-K", interface, "gro", "on"])


def _build_bridged_lan(lab: Lab) -> None:
    _in(lab, "ce", f"link add {BRIDGE} type bridge forward_delay 0")
    for node in CLIENT_IPV4:
        _build_client(lab, node)
        _in(lab, "ce", f"link set {node} master {BRIDGE}")
    _address(lab, "ce", BRIDGE, f"{_CE_LAN_IPV4}/24")
    _address(lab, "ce", BRIDGE, f"{_CE_LAN_IPV6}/64")
    _up(lab, "ce", BRIDGE)


def _build_wan(lab: Lab) -> None:
    _build_line(lab, ("ce", WAN), ("br", "ce0"), END_USER_PREFIX, _CE_LINK_LOCAL)
    if not lab.is_bridged:
        set_offloads(lab, "br", "ce0", on=False)
        _receive_from_xdp(lab, "br", "ce0")
    _in(lab, "br", f"tuntap add {BR_TUN} mode tun")
    # The BR is a Python process: let packets wait for it when the machine is busy.
    _in(lab, "br", f"link set {BR_TUN} mtu {lab.mtu} txqueuelen 10000 up")
    _in(lab, "br", f"-6 route add {DMR} dev {BR_TUN}")
    _in(lab, "br", f"route add {RULE.ipv4} dev {BR_TUN} mtu {lab.domain.ipv4_mtu(lab.mtu)}")


def _build_line(
    lab: Lab, end: tuple[str, str], other: tuple[str, str], prefix: IPv6Network, link_local: str
) -> None:
    """A customer's line: the IPv6 network's router at the other end delegates ``prefix``."""
    _veth(lab, end, other)
    node, at = end[0], other[1]
    _address(lab, node, WAN, f"{link_local}/64")
    _address(lab, "br", at, f"{_BR_LINK_LOCAL}/64")
    _in(lab, node, f"-6 route add default via {_BR_LINK_LOCAL} dev {WAN}")
    # The first /64 is on the link: the CE has to answer for its MAP address (RFC 4861).
    first = next(prefix.subnets(new_prefix=64))
    _in(lab, "br", f"-6 route add {first} dev {at}")
    _in(lab, "br", f"-6 route add {prefix} via {link_local} dev {at}")


def _build_peer(lab: Lab) -> None:
    _build_line(lab, ("peer", WAN), ("br", "peer0"), PEER_PREFIX, _PEER_LINK_LOCAL)
    if lab.peer is not None:
        _address(lab, "peer", "lo", str(lab.peer.ipv4))


def _build_server_side(lab: Lab) -> None:
    _veth(lab, ("br", "srv0"), ("server", "eth0"))
    _address(lab, "br", "srv0", f"{_BR_IPV4}/24")
    _address(lab, "br", "srv0", f"{_BR_IPV6}/64")
    _address(lab, "server", "eth0", f"{SERVER_IPV4}/24")
    _address(lab, "server", "eth0", f"{SERVER_IPV6}/64")
    _in(lab, "server", f"route add default via {_BR_IPV4}")
    _in(lab, "server", f"-6 route add default via {_BR_IPV6}")


def _veth(lab: Lab, end: tuple[str, str], other: tuple[str, str]) -> None:
    """A cable between (node, interface) and (node, interface)."""
    _in(
        lab,
        end[0],
        f"link add {end[1]} mtu {lab.mtu} type veth"
        f" peer name {other[1]} mtu {lab.mtu} netns {lab.netns(other[0])}",
    )
    for node, interface in (end, other):
        _up(lab, node, interface)


def _up(lab: Lab, node: str, interface: str) -> None:
    _in(lab, node, f"link set {interface} up")


def _address(lab: Lab, node: str, interface: str, address: str) -> None:
    nodad = " nodad" if ":" in address else ""
    _in(lab, node, f"addr add {address} dev {interface}{nodad}")


def _set(lab: Lab, node: str, sysctl: str, value: str) -> None:
    with netns.entered(lab.netns(node)):
        host.set_sysctl(sysctl, value)


def _in(lab: Lab, node: str, arguments: str) -> None:
    _ip(f"-n {lab.netns(node)} {arguments}")


def _ip(arguments: str) -> None:
    run(["ip", *arguments.split()])


def run(command: list[str]) -> str:
    """Runs a program of the system; what it prints. HostError with its words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError as error:
        raise HostError(f"{command[0]} is not installed", f"apt install {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"'{' '.join(command)}' does not end", "see 'dmesg | tail'") from error
    if done.returncode:
        raise HostError(
            f"'{' '.join(command)}' failed: {done.stderr.strip()}",
            "see 'ip netns' and 'dmesg | tail': what is in the way?",
        )
    return done.stdout


def dropped_before_the_br(lab: Lab) -> int:
    """Packets that the kernel threw away because the BR's process did not read them in time."""
    found = run(["ip", "-n", lab.netns("br"), "-j", "-s", "link", "show", BR_TUN])
    return int(json.loads(found)[0]["stats64"]["tx"]["dropped"])


def set_offloads(lab: Lab, node: str, interface: str, on: bool) -> None:
    """Checksum and segmentation offloads of an interface; off, the kernel does the work."""
    state = "on" if on else "off"
    run(
        ["ip", "netns", "exec", lab.netns(node), "ethtool", "-K", interface]
        + [word for feature in ("tx", "tso", "gso", "gro") for word in (feature, state)]
    )
