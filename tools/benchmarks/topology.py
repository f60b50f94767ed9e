# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Routers, each in a network namespace: a LAN that frames arrive at, a WAN that they end at.

All are the same but for what is in their way: nothing, nft, or mapxdp (edges.py). The WAN's
next hop is known for good, so that nothing but forwarding is measured.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.frames import LAN_MAC, Generator, Sink, Traffic
from benchmarks.measure import cpu_ns
from mapxdp import host, netns
from mapxdp.errors import HostError
from mapxdp.links import Hook, open_links

_MASQUERADE = """table ip bench {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }
}
"""
_BEFORE_MAPXDP, _BEHIND_MAPXDP = 1, 65000
_ETH_P_ALL = 0x0003
_SHORT = 64


@dataclass(frozen=True, slots=True)
class Router:
    """One router. ``family`` is what leaves its WAN: 4 or 6."""

    name: str
    lan_ifindex: int
    sink: Sink
    family: int = 4

    def measure(
        self, generator: Generator, traffic: Traffic, first: int, last: int, frames: int, cpu: int
    ) -> float:
        """ns of CPU time per frame, of more than 128. HostError unless each left the WAN.

        Each request of frames costs some 100 us by itself: a short one before the long one says
        how much, at the same moment.
        """
        generator.aim(traffic, first, last)
        self.sink.clear()
        with netns.entered(self.name):
            begun = cpu_ns(cpu)
            generator.send(self.lan_ifindex, _SHORT)
            between = cpu_ns(cpu)
            generator.send(self.lan_ifindex, frames - _SHORT)
            ended = cpu_ns(cpu)
        arrived = self.sink.arrived(cpu)[self.family // 5]
        if arrived != frames:
            raise HostError(
                f"{self.name}: {frames} frames in, {arrived} IPv{self.family} packets out",
                "a benchmark's router loses packets: report this",
            )
        return ((ended - between) - (between - begun)) / (frames - 2 * _SHORT)


@contextmanager
def router(label: str, sink: Sink, family: int = 4) -> Iterator[Router]:
    """A router that forwards IPv4 to its WAN, and nothing else."""
    name = f"mxbench{os.getpid()}-{label}"
    ip(f"netns add {name}")
    try:
        with netns.entered(name):
            for key in ("net/ipv6/conf/default/disable_ipv6", host.IPV4_FORWARDING):
                host.set_sysctl(key, "1")
            for key in ("all", "default"):
                host.set_sysctl(f"net/ipv4/conf/{key}/rp_filter", "0")
        for interface in ("lan", "wan"):
            ip(f"-n {name} link add {interface} type veth peer name {interface}-end")
            ip(f"-n {name} link set {interface}-end up")
        ip(f"-n {name} link set lan address {LAN_MAC.hex(':')}")
        ip(f"-n {name} link set lan up")
        ip(f"-n {name} link set wan up")
        ip(f"-n {name} addr add 192.168.1.1/24 dev lan")
        ip(f"-n {name} addr add 198.51.100.2/30 dev wan")
        ip(f"-n {name} neigh add 198.51.100.1 lladdr 02:00:00:00:00:03 dev wan nud permanent")
        ip(f"-n {name} route add default via 198.51.100.1")
        yield Router(name, _attach_ends(name, sink), sink, family)
    finally:
        ip(f"netns del {name}")


@contextmanager
def masquerading(label: str, sink: Sink) -> Iterator[Router]:
    """A router whose kernel masquerades: the smallest ruleset there is."""
    with router(label, sink) as made:
        masquerade(made.name)
        yield made


@contextmanager
def with_empty_program(label: str, sink: Sink) -> Iterator[Router]:
    """A router with a TC program that does nothing where mapxdp's would be."""
    with router(label, sink) as made:
        with netns.entered(made.name), open_links() as links:
            wan = links.find("wan").index
            add_filter(wan, Hook.EGRESS, sink.nothing, "nothing", _BEFORE_MAPXDP)
        yield made


def masquerade(namespace: str) -> None:
    """Has the kernel masquerade what leaves by the WAN of a network namespace."""
    command = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    done = subprocess.run(
        command, input=_MASQUERADE, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise HostError(f"nft refused to masquerade: {done.stderr}", "apt install nftables")
    with netns.entered(namespace):
        # A network card would have checked them: frames from nowhere come unchecked.
        host.set_sysctl("net/netfilter/nf_conntrack_checksum", "0")


def ip(arguments: str) -> None:
    """The command of iproute2; HostError with its words where it fails."""
    done = subprocess.run(
        ["ip", *arguments.split()], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise HostError(f"'ip {arguments}' failed: {done.stderr.strip()}", "see 'ip netns'")


def forget_connections(made: Router) -> None:
    """Empties the connection table of a router (IPCTNL_MSG_CT_DELETE without attributes)."""
    nfnl_subsys_ctnetlink, ct_delete, request_ack = 1, 2, 0x5
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    header = struct.pack(
        "=IHHII", 16 + len(body), nfnl_subsys_ctnetlink << 8 | ct_delete, request_ack, 1, 0
    )
    netfilter = 12
    with netns.entered(made.name):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netfilter)
    with netlink:
        netlink.send(header + body)
        error = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
    if error:
        raise OSError(-error, "empty the connection table")


def _attach_ends(name: str, sink: Sink) -> int:
    with netns.entered(name), _netlink() as netlink:
        lan = netlink.link_lookup(ifname="lan")[0]
        netlink.link("set", index=lan, xdp_fd=sink.pass_on)
        wan = netlink.link_lookup(ifname="wan")[0]
        netlink.tc("add", "clsact", wan)
        add_filter(wan, Hook.EGRESS, sink.discard, "discard", _BEHIND_MAPXDP)
    return int(lan)


def add_filter(ifindex: int, hook: Hook, fd: int, name: str, priority: int) -> None:
    """A TC program. Not as mapxdp adds its own: it would take it for another instance's."""
    with _netlink() as netlink:
        netlink.tc(
            "add-filter",
            "bpf",
            ifindex,
            1,
            fd=fd,
            name=name,
            parent=hook.value,
            prio=priority,
            protocol=_ETH_P_ALL,
            classid=1,
            direct_action=True,
        )


def _netlink() -> Any:
    from pyroute2 import IPRoute

    return IPRoute()
