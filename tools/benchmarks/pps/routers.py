# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Routers, each in a network namespace, that differ in what forwards: the kernel, bare XDP, a CE.

A CE is brought up as users do it, by ``mapxdp up`` with a configuration. Neighbours are known for
good, so that nothing but forwarding is measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from benchmarks import topology
from benchmarks.pps import way
from benchmarks.pps.replay import Bare, Ends
from mapxdp import ce, host, netns, snapshot
from mapxdp.config import parse
from mapxdp.datapath import instance, libbpf, xdp
from mapxdp.links import Hook, open_links
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.rule import MappingRule

_BEHIND_ALL = 65000
#: One for each of two CPUs.
_QUEUES = "numtxqueues 2 numrxqueues 2"
_RULE = (IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24"))
#: EA bits: with 8 of them an address is one CE's, with 9 it is shared by two, with 16 by 256.
WHOLE_ADDRESS, HALF_ADDRESS, OF_256 = 8, 9, 16


@dataclass(frozen=True, slots=True)
class Router:
    """A router's namespace and interfaces. ``programs``: what XDP runs of frames from the LAN and
    from the WAN, where it does; ``domain`` that of a CE."""

    name: str
    lan: int
    wan: int
    programs: tuple[int, int] | None = None
    domain: Domain | None = None

    def external_ports(self) -> dict[tuple[str, int], int]:
        """Of a CE's mappings, by LAN endpoint."""
        with snapshot.watching(self.name) as take:
            return {
                (str(mapping.host), mapping.host_port): mapping.port for mapping in take().mappings
            }


@contextmanager
def plain(label: str, ends: Ends) -> Iterator[Router]:
    """The kernel forwards, and does nothing else."""
    with _built(label) as made:
        _ipv4_wan(made)
        _attach_ends(made, ends, with_pass=True)
        yield made


@contextmanager
def masquerading(label: str, ends: Ends) -> Iterator[Router]:
    """The kernel masquerades: the smallest ruleset there is."""
    with plain(label, ends) as made:
        topology.masquerade(made.name)
        yield made


@contextmanager
def bare_xdp(label: str, ends: Ends) -> Iterator[Router]:
    """XDP sends every frame on as it is, to the next hop it was told."""
    with _built(label) as made, ExitStack() as closing:
        _attach_ends(made, ends, with_pass=True)
        up = Bare(made.wan, way.GATEWAY_MAC + way.WAN_MAC)
        closing.callback(up.close)
        down = Bare(made.lan, way.HOST_MAC + way.LAN_MAC)
        closing.callback(down.close)
        yield Router(made.name, made.lan, made.wan, (up.program, down.program))


@contextmanager
def edge(
    label: str,
    ends: Ends,
    mode: Mode,
    accelerator: str,
    ea_length: int = WHOLE_ADDRESS,
    fmrs: Iterable[MappingRule] = (),
) -> Iterator[Router]:
    """A CE, by default with a whole address, so that it has ports enough.

    ``accelerator`` is "off", "tc" or "xdp".
    """
    with ready(label) as made, ExitStack() as closing:
        text = configuration(made.name, mode, accelerator, ea_length)
        text += "".join(map(_fmr, fmrs))
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            # XDP can send into a veth once a program is at its other end: ``up`` asks for that.
            _attach_ends(made, ends, with_pass=accelerator != "xdp")
            ce.up(Path(file.name), made.name, lambda _: None)
        closing.callback(ce.down, made.name, lambda _: None)
        programs = None
        if accelerator == "xdp":
            run = instance.pinned(made.name)
            opened = [
                libbpf.open_pinned(run / instance.accelerator_pin(part)) for part in ("lan", "wan")
            ]
            for fd in opened:
                closing.callback(os.close, fd)
            programs = opened[0], opened[1]
        domain = parse(text, "benchmark").domain
        yield Router(made.name, made.lan, made.wan, programs, domain)


@contextmanager
def ready(label: str) -> Iterator[Router]:
    """A router that a CE can be brought up on."""
    with _built(label) as made:
        topology.ip(f"-n {made.name} addr add fe80::2/64 dev wan nodad")
        gateway = f"fe80::1 lladdr {way.GATEWAY_MAC.hex(':')}"
        topology.ip(f"-n {made.name} -6 neigh add {gateway} dev wan")
        topology.ip(f"-n {made.name} -6 route add default via fe80::1 dev wan")
        yield made


def configuration(name: str, mode: Mode, accelerator: str, ea_length: int) -> str:
    """Of a CE on such a router."""
    far_end = 'dmr = "2001:db8:ffff::/64"' if mode.translates else 'br = "2001:db8:ffff::1"'
    ipv6, ipv4 = _RULE
    return f"""\
[ce]
name = "{name}"
wan = "wan"
lan = ["lan"]
mode = "{mode}"
datapath = "{"tc" if accelerator == "off" else accelerator}"
end_user_prefix = "2001:db8:12:3400::/56"
{far_end}

[accelerator]
enabled = {"false" if accelerator == "off" else "true"}
connections = 131072

[[rule]]
ipv6 = "{ipv6}"
ipv4 = "{ipv4}"
ea_length = {ea_length}
"""


def _fmr(rule: MappingRule) -> str:
    return f"""
[[rule]]
ipv6 = "{rule.ipv6}"
ipv4 = "{rule.ipv4}"
ea_length = {rule.ea_length}
forwarding = true
"""


@contextmanager
def _built(label: str) -> Iterator[Router]:
    name = f"mxpps{os.getpid()}-{label}"
    topology.ip(f"netns add {name}")
    try:
        with netns.entered(name):
            host.set_sysctl("net/ipv6/conf/default/accept_dad", "0")
            host.set_sysctl(host.IPV4_FORWARDING, "1")
            for key in ("all", "default"):
                host.set_sysctl(f"net/ipv4/conf/{key}/rp_filter", "0")
        for interface, address in (("lan", way.LAN_MAC), ("wan", way.WAN_MAC)):
            topology.ip(
                f"-n {name} link add {interface} {_QUEUES} type veth"
                f" peer name {interface}-end {_QUEUES}"
            )
            topology.ip(f"-n {name} link set {interface} address {address.hex(':')}")
            topology.ip(f"-n {name} link set {interface}-end up")
            topology.ip(f"-n {name} link set {interface} up")
        topology.ip(f"-n {name} addr add 192.168.1.1/24 dev lan")
        for number in range(way.HOSTS):
            neighbour = f"{way.Connection(number).host} lladdr {way.HOST_MAC.hex(':')}"
            topology.ip(f"-n {name} neigh add {neighbour} dev lan")
        with netns.entered(name), open_links() as links:
            yield Router(name, links.find("lan").index, links.find("wan").index)
    finally:
        topology.ip(f"netns del {name}")


def _ipv4_wan(made: Router) -> None:
    topology.ip(f"-n {made.name} addr add {way.MASQUERADE}/30 dev wan")
    topology.ip(f"-n {made.name} neigh add 198.51.100.1 lladdr {way.GATEWAY_MAC.hex(':')} dev wan")
    topology.ip(f"-n {made.name} route add default via 198.51.100.1")


def _attach_ends(made: Router, ends: Ends, with_pass: bool) -> None:
    """Frames end where they leave: skbs behind all filters, redirected ones at the other end."""
    with netns.entered(made.name), open_links() as links:
        for name in ("lan", "wan"):
            link, other = links.find(name), links.find(f"{name}-end")
            if not links.has_clsact(link):
                links.add_clsact(link)
            topology.add_filter(link.index, Hook.EGRESS, ends.tc, "ends", _BEHIND_ALL)
            xdp.attach(other.name, other.index, ends.xdp, None)
            if with_pass:
                xdp.attach(link.name, link.index, ends.pass_on, None)
