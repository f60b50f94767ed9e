# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A customer edge in Python: what the datapath does to a packet, done a second time.

TTL and Hop Limit are not decremented here: whoever forwards the packet does that.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, ipv4_options, ipv6_extension, rfc7915
from mapxdp.software.budget import Budget
from mapxdp.software.carried_errors import CarriedErrors
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.martians import is_martian
from mapxdp.software.napt44 import Napt44
from mapxdp.software.other_protocols import OtherProtocols
from mapxdp.software.refusal import Refuser
from mapxdp.software.refusal_64 import Refuser64
from mapxdp.software.transport import Transport, is_icmp_error, read_transport
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IPV4,
    PROTO_UDP,
    Ipv4,
    icmpv6_error,
    ipv4_destination,
    ipv6_addresses,
    next_header_of,
    read_ipv4,
    read_ipv6,
    refuse_extension_headers,
)

_FOR_THE_LINK = (IPv4Network("224.0.0.0/4"), IPv4Network("255.255.255.255/32"))


@dataclass(frozen=True)
class CeSettings:
    """How the CE behaves beyond its place in the domain. ``mss`` None leaves the MSS alone."""

    ipv4_mtu: int
    mss: int | None
    translates_ports: bool = True
    on_link: tuple[IPv4Network, ...] = ()
    policy: Napt44Policy = field(default_factory=Napt44Policy)
    translation: TranslationPolicy = field(default_factory=TranslationPolicy)
    lowest_ipv6_mtu: int | None = None


class CustomerEdge:
    """MAP-T, MAP-E or lw4o6, as the domain says; keeps the port mappings."""

    def __init__(self, domain: Domain, settings: CeSettings, napt44: Napt44 | None = None) -> None:
        self._domain = domain
        self._settings = settings
        self.napt44 = napt44 if napt44 is not None else new_napt44(domain, settings.policy)
        self._map_address = domain.map_address.packed
        self._ipv4 = domain.ipv4.network_address.packed
        budget = Budget(self.napt44.now)
        self._refuser = Refuser(self._ipv4, settings.policy.refusal, settings.ipv4_mtu, budget)
        self._refuser_64 = Refuser64(self._map_address, budget)
        self._clamped = {"upstream": 0, "downstream": 0}
        self._errors = CarriedErrors(
            domain,
            self.napt44,
            settings.translation,
            settings.ipv4_mtu + domain.mode.overhead,
            translates_ports=settings.translates_ports,
        )
        self._others = OtherProtocols(
            domain,
            settings.ipv4_mtu,
            settings.translation.traffic_class,
            translates_ports=settings.translates_ports,
        )
        self._udp_checksums = {"upstream": 0, "downstream": 0}

    def events(self, direction: str) -> Counter[Reason]:
        """What happened beside the verdicts, ``upstream`` or ``downstream``."""
        events = Counter(
            {
                Reason.MSS_CLAMPED: self._clamped[direction],
                Reason.ICMP_ERROR_CARRIED: self._errors.carried[direction],
            }
        )
        if direction == "upstream":
            events[Reason.REFUSAL_SENT] = self._refuser.sent
            events[Reason.UDP_CHECKSUM_COMPUTED] = self._udp_checksums["upstream"]
            events += self.napt44.events
        else:
            events[Reason.REFUSAL_SENT] = self._refuser_64.sent
            events[Reason.UDP_CHECKSUM_ABSENT] = self._udp_checksums["downstream"]
        return +events

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet on its way out: the packet that leaves, or why none does.

        It leaves as IPv6, or goes back into the LAN as IPv4.
        """
        try:
            self.upstream_destination(packet)
            if self._domain.mode.translates:
                packet = ipv4_options.left_out(packet)
                packet = self._with_udp_checksum(packet)
            return self._upstream(packet)
        except Refused as refused:
            return Outcome(refused.reason, answers=self._refuser.answers(packet, refused.reason))

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet that came in: the IPv4 packet for the LAN, or why there is none."""
        translate = self._translated if self._domain.mode.translates else self._encapsulated
        try:
            return Outcome(Reason.TRANSLATED, (translate(packet),))
        except Refused as refused:
            if not self._domain.mode.translates:  # a tunnel's end is silent
                return Outcome(refused.reason)
            answers = self._refuser_64.answers(packet, refused.reason)
            return Outcome(refused.reason, answers=answers)

    def upstream_destination(self, packet: bytes) -> IPv4Address:
        """Where an IPv4 packet goes that is this CE's to send; raises Refused for another."""
        destination = IPv4Address(ipv4_destination(packet))
        if any(destination in network for network in _FOR_THE_LINK):
            raise Refused(Reason.DESTINATION_NOT_ROUTED)
        if any(destination in network for network in self._settings.on_link):
            raise Refused(Reason.DESTINATION_ON_LINK)
        if is_martian(destination.packed):
            raise Refused(Reason.DESTINATION_MARTIAN)
        if is_martian(packet[12:16]):
            raise Refused(Reason.SOURCE_MARTIAN)
        self._require_global(destination)
        return destination

    def _require_global(self, remote: IPv4Address) -> None:
        if self._domain.dmr is not None and not rfc6052.may_stand_for(self._domain.dmr, remote):
            raise Refused(Reason.NOT_GLOBAL)

    def _upstream(self, packet: bytes) -> Outcome:
        ipv4 = read_ipv4(packet)
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            return self._errors.from_lan(ipv4)
        if self._others.have(ipv4.protocol, PROTO_ICMP):
            return Outcome(Reason.TRANSLATED, (self._others.from_lan(ipv4),))
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        if ipv4.total_length > self._settings.ipv4_mtu:
            raise Refused(Reason.TOO_BIG)
        source = self._public_source(ipv4, transport)
        if self._is_hairpin(ipv4, transport):
            return Outcome(Reason.HAIRPINNED, (self._hairpinned(ipv4, transport, source.port),))
        transport = self._with_mss_clamped(transport.with_source_port(source.port), "upstream")
        return Outcome(Reason.TRANSLATED, (self._out(ipv4, transport, source.address),))

    def _with_udp_checksum(self, packet: bytes) -> bytes:
        """The packet with the checksum that IPv6 asks for; Refused where it is not to have it."""
        ipv4 = read_ipv4(packet)
        if ipv4.protocol != PROTO_UDP:
            return packet
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        if transport.checksum:
            return packet
        if not self._settings.translation.compute_udp_checksum:
            raise Refused(Reason.UDP_CHECKSUM_ZERO)
        self._udp_checksums["upstream"] += 1
        data = rfc7915.with_udp_checksum(ipv4.source, ipv4.destination, ipv4.payload)
        return replace(ipv4, payload=data).as_it_is()

    def _out(self, ipv4: Ipv4, transport: Transport, source: bytes) -> bytes:
        fixed = self._settings.translation.traffic_class
        if self._domain.dmr is not None:
            far_end = rfc6052.embed(self._domain.dmr, IPv4Address(ipv4.destination)).packed
            return rfc7915.ipv4_to_ipv6(ipv4, transport, self._map_address, far_end, fixed)
        assert self._domain.br is not None  # by Domain
        inner = encapsulation.renumbered(ipv4, transport, source, ipv4.destination)
        return encapsulation.encapsulate(inner, self._map_address, self._domain.br.packed, fixed)

    def _is_hairpin(self, ipv4: Ipv4, transport: Transport) -> bool:
        return (
            self._settings.translates_ports
            and transport.protocol is not Protocol.ICMP
            and ipv4.destination == self._ipv4
            and transport.destination_port in self._domain.port_set
        )

    def _hairpinned(self, ipv4: Ipv4, transport: Transport, port: int) -> bytes:
        """The packet as its receiver in the LAN gets it: from the sender's public address."""
        remote = Endpoint(self._ipv4, transport.with_source_port(port).peer_port_of_source)
        host = self._host_behind(transport, remote)
        transport = transport.with_source_port(port).with_destination_port(host.port)
        return encapsulation.renumbered(ipv4, transport, self._ipv4, host.address).as_it_is()

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
        port = self.napt44.from_lan(
            transport.protocol,
            endpoint,
            peer,
            transport.tcp_flags,
            is_echo_reply=transport.is_echo_reply,
        )
        return Endpoint(self._ipv4, port)

    def _translated(self, packet: bytes) -> bytes:
        source, destination = ipv6_addresses(packet)
        if destination != self._map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        dmr = self._domain.dmr
        assert dmr is not None  # by Domain
        is_from_dmr = rfc6052.is_from(dmr, IPv6Address(source))
        if ipv6_extension.are_in(packet) and is_from_dmr:
            packet = ipv6_extension.taken_out(packet)
        error = icmpv6_error(packet)
        if error is not None:
            return self._errors.from_domain(error)
        if not is_from_dmr:
            raise Refused(Reason.SOURCE_OUTSIDE_DOMAIN)
        ipv6 = read_ipv6(packet)
        refuse_extension_headers(ipv6.next_header)
        identification = random.getrandbits(16)
        if self._others.have(ipv6.next_header, PROTO_ICMPV6):
            return self._others.from_dmr(ipv6, identification)
        transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
        address = rfc6052.extract(dmr.prefixlen, IPv6Address(source))
        self._require_global(address)
        remote = address.packed
        host = self._lan_destination(self._ipv4, transport, remote)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        self._udp_checksums["downstream"] += rfc7915.lacks_checksum(transport)
        return rfc7915.ipv6_to_ipv4(ipv6, transport, remote, host.address, identification)

    def _encapsulated(self, packet: bytes) -> bytes:
        source, destination = ipv6_addresses(packet)
        if destination != self._map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        assert self._domain.br is not None  # by Domain
        from_br = source == self._domain.br.packed
        if ipv6_extension.are_in(packet):
            packet = ipv6_extension.taken_out_of_tunnel(packet, from_br)
        next_header = next_header_of(packet)
        error = icmpv6_error(packet)
        if error is not None:
            return self._errors.about_tunnel(error)
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
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            return self._errors.from_tunnel(ipv4, tos)
        if self._others.have(ipv4.protocol, PROTO_ICMP):
            return self._others.from_tunnel(ipv4, tos)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        host = self._lan_destination(ipv4.destination, transport, ipv4.source)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        return encapsulation.renumbered(ipv4, transport, ipv4.source, host.address, tos).as_it_is()

    def _lan_destination(self, destination: bytes, transport: Transport, remote: bytes) -> Endpoint:
        port = transport.destination_port
        if is_martian(remote) or self._is_from_ourselves(transport, remote):
            raise Refused(Reason.SOURCE_MARTIAN)
        if port not in self._domain.port_set:
            raise Refused(Reason.PORT_OUTSIDE_SET)
        if not self._settings.translates_ports:
            return Endpoint(destination, port)
        return self._host_behind(transport, Endpoint(remote, transport.peer_port_of_source))

    def _is_from_ourselves(self, transport: Transport, remote: bytes) -> bool:
        return (
            IPv4Address(remote) in self._domain.ipv4
            and transport.source_port in self._domain.port_set
        )

    def _host_behind(self, transport: Transport, remote: Endpoint) -> Endpoint:
        return self.napt44.from_wan(
            transport.protocol, transport.destination_port, remote, transport.tcp_flags
        )


def new_napt44(domain: Domain, policy: Napt44Policy) -> Napt44:
    """An empty table for a CE that runs now, its clock in seconds."""
    return Napt44(
        domain.port_set,
        policy,
        lambda: int(time.monotonic()),
        reserved=domain.reserved_ports,
    )
