# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mapxdp's datapath on a benchmark's router: what ``up`` loads and attaches, without its pins
and its record, so that it can be emptied between slices and vanishes with the process."""

from __future__ import annotations

import mmap
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from benchmarks import topology
from benchmarks.frames import Sink, Traffic
from benchmarks.topology import Router
from mapxdp import netns
from mapxdp.datapath import libbpf, observe, programs, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.programs import ProgramSet
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.links import ETHERNET_HEADER, Hook, open_links
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason

_WAN_MTU = 1500
_RULE_IPV6, _RULE_IPV4 = IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24")
_DMR, _BR = IPv6Network("2001:db8:ffff::/64"), IPv6Address("2001:db8:ffff::1")


@dataclass(frozen=True, slots=True)
class PortShare:
    """How much of an address a CE has."""

    psid_length: int
    psid_offset: int
    end_user_prefix: str

    def domain(self, mode: Mode) -> Domain:
        """A CE with it."""
        return Domain(
            mode=mode,
            end_user_prefix=IPv6Network(self.end_user_prefix),
            rules=(MappingRule(_RULE_IPV6, _RULE_IPV4, 8 + self.psid_length, self.psid_offset),),
            dmr=_DMR if mode.translates else None,
            br=None if mode.translates else _BR,
        )


#: 32256 ports: those from 1024 on of which bit 9 is 0.
HALF = PortShare(1, 6, "2001:db8:12:3400::/56")
#: Where the ports of LAN hosts begin: in the set of HALF, or outside of it.
PORTS_INSIDE, PORTS_OUTSIDE = 16384, 16384 + 512
#: RFC 7597 appendix A example 1: 252 ports in 63 ranges.
EXAMPLE = PortShare(8, 6, "2001:db8:12:3400::/56")


class Edge:
    """A CE on a router. Use ``edge``."""

    def __init__(self, router: Router, settings: DatapathSettings) -> None:
        self.router = router
        self.settings = settings
        self.expected_new = 0
        domain = settings.domain
        self.maps = MapSet(tables.contract_in(domain))
        self.maps.create(spec.name for spec in self.maps.contract.maps)
        state.write_rules(self.maps, domain)
        self.programs: ProgramSet = programs.load(settings.domain.mode, self.maps, ETHERNET_HEADER)
        state.initialise(self.maps, settings)
        state.write_config(self.maps, settings)
        self._empty_pool = self.maps.value("pool")

    def close(self) -> None:
        """Closes maps and programs; the attached ones go with the router."""
        self.programs.__exit__(None, None, None)
        self.maps.close()

    def attach(self) -> None:
        """On the way out of the WAN, in front of the sink."""
        with netns.entered(self.router.name), open_links() as links:
            wan = links.find("wan")
            links.attach(wan, Hook.EGRESS, self.programs.upstream.fd, "bench")

    def configure(self, napt44: Napt44Kind) -> None:
        """The same maps and programs, with NAPT44 or without."""
        state.write_config(self.maps, replace(self.settings, napt44=napt44))

    def forget(self) -> None:
        """No mapping is left, and no flow. Only what was used is touched, as by its end."""
        slots = {self._position(value) for _, value in self._entries("eim")}
        flows = set()
        layout = self.maps.contract["flow_key"]
        way = self.maps.contract.number("FLOW_64")
        for key, value in self._entries("flow_index"):
            flows.add(self._position(value))
            fields = layout.unpack(key)
            if fields["way"] == way:
                slots.add(fields["local"])
        self._make_free("slots", slots)
        self._make_free("flows", flows)
        for name in ("eim", "flow_index", "permissions"):
            for key in list(libbpf.keys(self.maps.fds[name], self.maps.spec(name).key_size)):
                libbpf.delete(self.maps.fds[name], key)
        self.maps.set_value("pool", self._empty_pool)
        hosts = self.maps.spec("hosts")
        for number, value in enumerate(libbpf.lookup_all(self.maps.fds["hosts"], hosts)):
            if any(value):
                self.maps.set_value("hosts", bytes(hosts.value_size), number)

    def _entries(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        fd, spec = self.maps.fds[name], self.maps.spec(name)
        for key in libbpf.keys(fd, spec.key_size):
            value = libbpf.lookup(fd, key, spec.value_size)
            if value is not None:
                yield key, value

    @staticmethod
    def _position(value: bytes) -> int:
        return int.from_bytes(value, sys.byteorder)

    def _make_free(self, name: str, positions: set[int]) -> None:
        spec = self.maps.spec(name)
        with mmap.mmap(self.maps.fds[name], spec.entries * spec.value_size) as memory:
            for position in positions:
                start = position * spec.value_size
                memory[start : start + spec.value_size] = bytes(spec.value_size)

    @property
    def ports(self) -> int:
        """How many the CE has."""
        return len(self.settings.domain.port_set)

    def counted(self, *reasons: Reason) -> int:
        """Packets from the LAN that were counted for one of these reasons."""
        upstream = observe.read_counters(self.maps).upstream
        return sum(upstream[reason].packets for reason in reasons if reason in upstream)


def already_public(ce: Edge, traffic: Traffic) -> Traffic:
    """The same as it looks behind NAPT44: for a CE without."""
    source = ce.settings.domain.ipv4.network_address
    return replace(traffic, source=source, hosts=1, port=PORTS_INSIDE)


@contextmanager
def edge(label: str, mode: Mode, share: PortShare, sink: Sink) -> Iterator[Edge]:
    """A router with a running CE, as ``up`` configures it by default."""
    with edge_of(label, share.domain(mode), sink) as running:
        yield running


@contextmanager
def edge_of(label: str, domain: Domain, sink: Sink) -> Iterator[Edge]:
    """The same at any place in any domain."""
    mtu = domain.ipv4_mtu(_WAN_MTU)
    settings = DatapathSettings(
        domain=domain,
        napt44=Napt44Kind.BPF,
        ipv4_mtu=mtu,
        mss=mtu - 40,
        clock=TickClock.of_this_kernel(),
        hash_key=secrets.randbits(64),
    )
    with topology.router(label, sink, family=6) as made:
        running = Edge(made, settings)
        try:
            running.attach()
            yield running
        finally:
            running.close()
