# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A customer edge in Python: what the datapath does to a packet, done a second time.

TTL and Hop Limit are not decremented here: whoever forwards the packet does that.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.timeouts import MappingFacts, Protocol, Timeouts, timeout_of
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, rfc7915
from mapxdp.software.napt44 import Endpoint, Napt44
from mapxdp.software.transport import Transport, read_transport
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IPV4,
    Ipv4,
    ipv4_destination,
    ipv6_addresses,
    next_header_of,
    read_ipv4,
    read_ipv6,
    refuse_extension_headers,
)

_NOT_ROUTED = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/3"),
)


@dataclass(frozen=True)
class CeSettings:
    """How the CE behaves beyond its place in the domain. ``mss`` None leaves the MSS alone."""

    ipv4_mtu: int
    mss: int | None
    translates_ports: bool = True
    on_link: tuple[IPv4Network, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)


class CustomerEdge:
    """MAP-T, MAP-E or lw4o6, as the domain says; keeps the port mappings."""

    def __init__(self, domain: Domain, settings: CeSettings, napt44: Napt44 | None = None) -> None:
        self._domain = domain
        self._settings = settings
        self.napt44 = napt44 if napt44 is not None else new_napt44(domain, settings.timeouts)
        self._map_address = domain.map_address.packed
        self._ipv4 = domain.ipv4.network_address.packed
        self._clamped = {"upstream": 0, "downstream": 0}

    def events(self, direction: str) -> Counter[Reason]:
        """What happened beside the verdicts, ``upstream`` or ``downstream``."""
        events = Counter({Reason.MSS_CLAMPED: self._clamped[direction]})
        return events + self.napt44.events if direction == "upstream" else +events

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet on its way out: the IPv6 packet that leaves, or why none does."""
        return _outcome(self._upstream, packet)

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet that came in: the IPv4 packet for the LAN, or why there is none."""
        translate = self._translated if self._domain.mode.translates else self._encapsulated
        return _outcome(translate, packet)

    def upstream_destination(self, packet: bytes) -> IPv4Address:
        """Where an IPv4 packet goes that is this CE's to send; raises Refused for another."""
        destination = IPv4Address(ipv4_destination(packet))
        if any(destination in network for network in _NOT_ROUTED):
            raise Refused(Reason.DESTINATION_NOT_ROUTED)
        if any(destination in network for network in self._settings.on_link):
            raise Refused(Reason.DESTINATION_ON_LINK)
        return destination

    def _upstream(self, packet: bytes) -> bytes:
        destination = self.upstream_destination(packet)
        ipv4 = read_ipv4(packet)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        if self._domain.mode.translates:
            rfc7915.refuse_udp_without_checksum(transport)
        if 20 + len(ipv4.payload) > self._settings.ipv4_mtu:
            raise Refused(Reason.TOO_BIG)
        source, port = self._public_source(ipv4, transport)
        transport = self._with_mss_clamped(transport.with_source_port(port), "upstream")
        if self._domain.dmr is not None:
            far_end = rfc6052.embed(self._domain.dmr, destination).packed
            return rfc7915.ipv4_to_ipv6(ipv4, transport, self._map_address, far_end)
        assert self._domain.br is not None  # by Domain
        inner = encapsulation.renumbered(ipv4, transport, source, ipv4.destination)
        return encapsulation.encapsulate(inner, self._map_address, self._domain.br.packed)

    def _with_mss_clamped(self, transport: Transport, direction: str) -> Transport:
        clamped = transport.with_mss_at_most(self._settings.mss)
        self._clamped[direction] += clamped != transport
        return clamped

    def _public_source(self, ipv4: Ipv4, transport: Transport) -> Endpoint:
        endpoint = Endpoint(ipv4.source, transport.source_port)
        if not self._settings.translates_ports:
            if IPv4Address(ipv4.source) not in self._domain.ipv4:
                raise Refused(Reason.SOURCE_NOT_OURS)
            if transport.source_port not in self._domain.port_set:
                raise Refused(Reason.PORT_OUTSIDE_SET)
            return endpoint
        peer = Endpoint(ipv4.destination, transport.peer_port_of_destination)
        port = self.napt44.from_lan(transport.protocol, endpoint, peer, transport.tcp_flags)
        return Endpoint(self._ipv4, port)

    def _translated(self, packet: bytes) -> bytes:
        source, destination = ipv6_addresses(packet)
        if destination != self._map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        dmr = self._domain.dmr
        assert dmr is not None  # by Domain
        if IPv6Address(source) not in dmr:
            raise Refused(Reason.SOURCE_OUTSIDE_DOMAIN)
        ipv6 = read_ipv6(packet)
        refuse_extension_headers(ipv6.next_header)
        transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
        rfc7915.refuse_udp_without_checksum(transport)
        remote = rfc6052.extract(dmr.prefixlen, IPv6Address(source)).packed
        host = self._lan_destination(self._ipv4, transport, remote)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        identification = random.getrandbits(16)
        return rfc7915.ipv6_to_ipv4(ipv6, transport, remote, host.address, identification)

    def _encapsulated(self, packet: bytes) -> bytes:
        source, destination = ipv6_addresses(packet)
        if destination != self._map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        assert self._domain.br is not None  # by Domain
        from_br = source == self._domain.br.packed
        next_header = next_header_of(packet)
        if next_header != PROTO_IPV4:
            if from_br:
                refuse_extension_headers(next_header)
            raise Refused(Reason.NOT_ENCAPSULATED)
        if not from_br:
            raise Refused(Reason.TUNNEL_SOURCE)
        outer = read_ipv6(packet)
        if IPv4Address(ipv4_destination(outer.payload)) not in self._domain.ipv4:
            raise Refused(Reason.INNER_DESTINATION)
        ipv4 = read_ipv4(outer.payload)
        tos = encapsulation.decapsulated_tos(ipv4.tos, outer.traffic_class)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        host = self._lan_destination(ipv4.destination, transport, ipv4.source)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        return encapsulation.renumbered(ipv4, transport, ipv4.source, host.address, tos).as_it_is()

    def _lan_destination(self, destination: bytes, transport: Transport, remote: bytes) -> Endpoint:
        port = transport.destination_port
        if port not in self._domain.port_set:
            raise Refused(Reason.PORT_OUTSIDE_SET)
        if not self._settings.translates_ports:
            return Endpoint(destination, port)
        peer = Endpoint(remote, transport.peer_port_of_source)
        return self.napt44.from_wan(transport.protocol, port, peer, transport.tcp_flags)


def _outcome(translate: Callable[[bytes], bytes], packet: bytes) -> Outcome:
    try:
        return Outcome(Reason.TRANSLATED, (translate(packet),))
    except Refused as refused:
        return Outcome(refused.reason)


def new_napt44(domain: Domain, timeouts: Timeouts) -> Napt44:
    """An empty table for a CE that runs now, its clock in seconds."""

    def timeout(protocol: Protocol, facts: MappingFacts) -> int:
        return timeout_of(timeouts, protocol, facts)

    return Napt44(domain.port_set, domain.reserved_ports, lambda: int(time.monotonic()), timeout)
