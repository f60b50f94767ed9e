# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A client, a router and a server, each in a network namespace, with veth pairs between them.

The server is what is behind the router: an IPv4 host, an IPv6 host with the address that MAP-T
makes of an IPv4 address, or one at the end of a MAP-E tunnel. No packet passes another translator.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from benchmarks import topology
from benchmarks.pps import routers
from benchmarks.tcp import tunnel
from mapxdp import ce, host, netns
from mapxdp.config import parse
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain, Mode

#: What clients connect to.
SERVER = IPv4Address("198.18.0.1")
_BR = IPv6Address("2001:db8:ffff::1")
_ROUTER_IPV4, _GATEWAY_IPV4 = "198.51.100.2", "198.51.100.1"


@dataclass(frozen=True, slots=True)
class Way:
    """From a client's namespace to a server's. ``address`` is what the server listens on,
    ``target`` what the client connects to."""

    name: str
    client: str
    router: str
    server: str
    address: IPv4Address | IPv6Address = SERVER
    target: IPv4Address | IPv6Address = SERVER


@contextmanager
def plain(name: str) -> Iterator[Way]:
    """The kernel forwards, and does nothing else."""
    with _built(name) as made:
        _ipv4_between(made)
        topology.ip(f"-n {made.server} route add 192.168.1.0/24 via {_ROUTER_IPV4}")
        yield made


@contextmanager
def plain_ipv6(name: str) -> Iterator[Way]:
    """The kernel forwards IPv6: what the server of MAP-T receives, and sends."""
    with _built(name) as made:
        with netns.entered(made.router):
            host.set_sysctl("net/ipv6/conf/all/forwarding", "1")
        for interface, end, number in (("lan", made.client, 1), ("wan", made.server, 2)):
            topology.ip(f"-n {made.router} addr add 2001:db8:{number}::1/64 dev {interface} nodad")
            topology.ip(f"-n {end} addr add 2001:db8:{number}::2/64 dev eth0 nodad")
            topology.ip(f"-n {end} -6 route add default via 2001:db8:{number}::1")
        address = IPv6Address("2001:db8:2::2")
        yield Way(made.name, made.client, made.router, made.server, address, address)


@contextmanager
def masquerading(name: str) -> Iterator[Way]:
    """The kernel masquerades: the smallest ruleset there is."""
    with _built(name) as made:
        _ipv4_between(made)
        topology.masquerade(made.router)
        yield made


@contextmanager
def edge(name: str, mode: Mode) -> Iterator[Way]:
    """A CE, brought up by ``mapxdp up``, with the accelerator at TC."""
    with _built(name) as made, ExitStack() as closing:
        topology.ip(f"-n {made.router} addr add fe80::2/64 dev wan nodad")
        topology.ip(f"-n {made.router} -6 route add default via fe80::1 dev wan")
        topology.ip(f"-n {made.server} addr add fe80::1/64 dev eth0 nodad")
        text = routers.configuration(made.router, mode, "tc", routers.WHOLE_ADDRESS)
        domain = parse(text, "benchmark").domain
        topology.ip(f"-n {made.server} -6 route add {domain.map_address} via fe80::2 dev eth0")
        address = _end(made, domain)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            ce.up(Path(file.name), made.router, lambda _: None)
        closing.callback(ce.down, made.router, lambda _: None)
        yield Way(made.name, made.client, made.router, made.server, address)


def _end(made: Way, domain: Domain) -> IPv4Address | IPv6Address:
    """The server's address beyond a CE's domain."""
    if domain.dmr is not None:
        address = rfc6052.embed(domain.dmr, SERVER)
        topology.ip(f"-n {made.server} addr add {address}/128 dev lo nodad")
        return address
    topology.ip(f"-n {made.server} addr add {_BR}/128 dev lo nodad")
    topology.ip(f"-n {made.server} addr add {SERVER}/32 dev lo")
    with netns.entered(made.server):
        tunnel.attach("eth0", _BR, domain.map_address)
    mtu = domain.ipv4_mtu(1500)
    topology.ip(f"-n {made.server} -4 route add default via inet6 fe80::2 dev eth0 mtu {mtu}")
    return SERVER


@contextmanager
def _built(label: str) -> Iterator[Way]:
    name = f"mxtcp{os.getpid()}-{label}"
    made = Way(label, f"{name}-client", name, f"{name}-server")
    with ExitStack() as closing:
        for namespace in (made.client, made.router, made.server):
            topology.ip(f"netns add {namespace}")
            closing.callback(topology.ip, f"netns del {namespace}")
            with netns.entered(namespace):
                host.set_sysctl("net/ipv6/conf/default/accept_dad", "0")
                for key in ("all", "default"):
                    host.set_sysctl(f"net/ipv4/conf/{key}/rp_filter", "0")
            topology.ip(f"-n {namespace} link set lo up")
        with netns.entered(made.router):
            host.set_sysctl(host.IPV4_FORWARDING, "1")
        for interface, other in (("lan", made.client), ("wan", made.server)):
            peer = f"peer name eth0 netns {other}"
            topology.ip(f"-n {made.router} link add {interface} type veth {peer}")
            topology.ip(f"-n {made.router} link set {interface} up")
            topology.ip(f"-n {other} link set eth0 up")
        topology.ip(f"-n {made.router} addr add 192.168.1.1/24 dev lan")
        topology.ip(f"-n {made.client} addr add 192.168.1.16/24 dev eth0")
        topology.ip(f"-n {made.client} route add default via 192.168.1.1")
        yield made


def _ipv4_between(made: Way) -> None:
    topology.ip(f"-n {made.router} addr add {_ROUTER_IPV4}/30 dev wan")
    topology.ip(f"-n {made.router} route add default via {_GATEWAY_IPV4}")
    topology.ip(f"-n {made.server} addr add {_GATEWAY_IPV4}/30 dev eth0")
    topology.ip(f"-n {made.server} addr add {SERVER}/32 dev lo")
