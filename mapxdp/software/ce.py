# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A customer edge in Python: what the datapath does to a packet, done a second time.

TTL and Hop Limit are not decremented here: whoever forwards the packet does that.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.rule import MappingRule
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, rfc7915
from mapxdp.software.arrival import (
    arrived,
    fits_ingress,
    following,
    inner_arrived,
    permitted_fragments,
)
from mapxdp.software.carried_errors import CarriedErrors
from mapxdp.software.datagrams import (
    IPV4_PAYLOAD_MAX,
    IPV6_PAYLOAD_MAX,
    Datagrams,
    Key,
    Part,
)
from mapxdp.software.departure import Departure, Given46
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.martians import is_martian
from mapxdp.software.napt44 import Napt44
from mapxdp.software.refusal import Refuser
from mapxdp.software.transport import (
    Transport,
    is_icmp_error,
    read_first_transport,
    read_transport,
    require_ports,
)
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import (
    EXTENSION_HEADERS,
    PROTO_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IPV4,
    Ipv4,
    Ipv6,
    Ipv6Fragment,
    icmpv6_error,
    ipv4_destination,
    ipv6_addresses,
    next_header_of,
    read_ipv4,
    read_ipv6,
    read_ipv6_fragment,
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
        self._refuser = Refuser(self._ipv4, settings.policy.refusal, self.napt44.now)
        self._clamped = {"upstream": 0, "downstream": 0}
        self._datagrams = Datagrams(self.napt44.now)
        self._departure = Departure(domain, settings, self._datagrams)
        self.choose_identification = self._new_identification
        self._errors = CarriedErrors(
            domain,
            self.napt44,
            settings.translation,
            settings.ipv4_mtu + domain.mode.overhead,
            translates_ports=settings.translates_ports,
        )

    def events(self, direction: str) -> Counter[Reason]:
        """What happened beside the verdicts, ``upstream`` or ``downstream``."""
        events = Counter(
            {
                Reason.MSS_CLAMPED: self._clamped[direction],
                Reason.ICMP_ERROR_CARRIED: self._errors.carried[direction],
            }
        )
        events += self._datagrams.events[direction]
        if direction == "upstream":
            events[Reason.DATAGRAM_FRAGMENTED] = self._departure.cut
            events[Reason.REFUSAL_SENT] = self._refuser.sent
            events += self.napt44.events
        return +events

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet on its way out: the packet that leaves, or why none does.

        It leaves as IPv6, or goes back into the LAN as IPv4.
        """
        try:
            return self._upstream(packet)
        except Refused as refused:
            return Outcome(refused.reason, answers=self._refuser.answers(packet, refused.reason))

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet that came in: the IPv4 packet for the LAN, or why there is none."""
        translate = self._translated if self._domain.mode.translates else self._encapsulated
        try:
            return Outcome(Reason.TRANSLATED, translate(packet))
        except Refused as refused:
            return Outcome(refused.reason)

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
        return destination

    def _upstream(self, packet: bytes) -> Outcome:
        self.upstream_destination(packet)
        ipv4 = read_ipv4(packet)
        return self._fragment_from_lan(ipv4) if ipv4.is_fragment else self._whole_from_lan(ipv4)

    def _whole_from_lan(self, ipv4: Ipv4) -> Outcome:
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            return self._errors.from_lan(ipv4)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        source = self._admitted_source(ipv4, transport)
        if self._is_hairpin(ipv4, transport):
            return Outcome(Reason.HAIRPINNED, (self._hairpinned(ipv4, transport, source.port),))
        transport = self._with_mss_clamped(transport.with_source_port(source.port), "upstream")
        if not self._departure.leaves_in_pieces(ipv4):
            packet = self._departure.of_whole(ipv4, transport, source.address)
            return Outcome(Reason.TRANSLATED, (packet,))
        identification = self.choose_identification(ipv4.identification)
        packets = self._departure.of_cut(ipv4, transport, source.address, identification)
        return Outcome(Reason.TRANSLATED, packets)

    def _fragment_from_lan(self, ipv4: Ipv4) -> Outcome:
        ipv4.part.require_possible(IPV4_PAYLOAD_MAX)
        require_ports(ipv4.protocol, PROTO_ICMP)
        self._departure.refuse_too_big(ipv4)
        key = ("46", ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification)
        given = self._datagrams.followed(key, "upstream")
        # The checksum of ICMPv6 covers a length that no fragment tells (RFC 7915 section 1.2).
        waits = self._domain.mode.translates and ipv4.protocol == PROTO_ICMP
        if not waits and not self._datagrams.is_kept(key, "upstream"):
            if ipv4.part.offset == 0:
                return self._first_from_lan(ipv4, key, given)
            if given is not None:
                assert isinstance(given, Given46)
                return Outcome(Reason.TRANSLATED, self._departure.of_later(ipv4, given))
        head, payload = self._datagrams.keep(key, ipv4.part, ipv4, "upstream")
        assert isinstance(head, Ipv4)
        complete = permitted_fragments(head, payload)
        if self._departure.leaves_in_pieces(complete):
            return self._complete_from_lan(complete)
        return self._whole_from_lan(complete)

    def _first_from_lan(self, ipv4: Ipv4, key: Key, given: object | None) -> Outcome:
        transport, source = self._first_admitted(ipv4)
        if given is None:
            identification = self.choose_identification(ipv4.identification)
        else:  # the first fragment has come twice
            assert isinstance(given, Given46)
            identification = given.identification
        packets, given = self._departure.of_first(ipv4, transport, source, identification)
        self._datagrams.follow(key, given)
        return Outcome(Reason.TRANSLATED, packets)

    def _complete_from_lan(self, ipv4: Ipv4) -> Outcome:
        transport, source = self._first_admitted(ipv4)
        identification = self.choose_identification(ipv4.identification)
        packets = self._departure.of_complete(ipv4, transport, source, identification)
        return Outcome(Reason.TRANSLATED, packets)

    def _first_admitted(self, ipv4: Ipv4) -> tuple[Transport, bytes]:
        """The transport header of a first fragment as it leaves, and the source address."""
        transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        source = self._admitted_source(ipv4, transport)
        if self._is_hairpin(ipv4, transport):
            raise Refused(Reason.FRAGMENT_INVALID)
        transport = transport.with_source_port(source.port)
        return self._with_mss_clamped(transport, "upstream"), source.address

    def _admitted_source(self, ipv4: Ipv4, transport: Transport) -> Endpoint:
        if self._domain.mode.translates:
            rfc7915.refuse_udp_without_checksum(transport)
        self._departure.refuse_too_big(ipv4)
        return self._public_source(ipv4, transport)

    def _new_identification(self, old: int) -> int:
        """CEs that share an address must not choose the same one for datagrams to one host:
        each takes it from its own ports (RFC 7599 section 10.3)."""
        is_shared = self._domain.psid is not None and self._settings.translates_ports
        if not is_shared:
            return old
        return self._domain.port_set.port_at(secrets.randbelow(len(self._domain.port_set)))

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

    def _translated(self, packet: bytes) -> tuple[bytes, ...]:
        source, destination = map(IPv6Address, ipv6_addresses(packet))
        if self._domain.own_ipv4(destination) is None:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        dmr, rule = self._domain.dmr, self._domain.rule_of_source(source)
        assert dmr is not None  # by Domain
        error = icmpv6_error(packet)
        if error is not None:
            return (self._errors.from_domain(error),)
        if rule is None and source not in dmr:
            raise Refused(Reason.SOURCE_OUTSIDE_DOMAIN)
        ipv6 = read_ipv6(packet)
        if ipv6.next_header == PROTO_FRAGMENT:
            return self._fragment_from_domain(read_ipv6_fragment(packet))
        refuse_extension_headers(ipv6.next_header)
        transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
        return (rfc7915.whole(self._ipv4_from(ipv6, transport)),)

    def _ipv4_from(self, ipv6: Ipv6, transport: Transport) -> Ipv4:
        """The packet for the LAN, if it may enter."""
        rfc7915.refuse_udp_without_checksum(transport)
        source = IPv6Address(ipv6.source)
        own = self._domain.own_ipv4(IPv6Address(ipv6.destination))
        rule, dmr = self._domain.rule_of_source(source), self._domain.dmr
        assert own is not None and dmr is not None  # by the caller
        if rule is None:
            remote = rfc6052.extract(dmr.prefixlen, source)
        else:
            remote = self._domain.peer_ipv4(rule, source)
        self._check_ends(transport, remote.packed)
        self._check_source(rule, source, remote, transport)
        host = self._lan_destination(own.packed, transport, remote.packed)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        return rfc7915.ipv6_to_ipv4(ipv6, transport, remote.packed, host.address)

    def _fragment_from_domain(self, fragment: Ipv6Fragment) -> tuple[bytes, ...]:
        ipv6, part = fragment.ipv6, fragment.part
        if ipv6.next_header in EXTENSION_HEADERS | {PROTO_FRAGMENT}:
            raise Refused(Reason.EXTENSION_HEADER)
        require_ports(ipv6.next_header, PROTO_ICMPV6)
        part.require_possible(IPV4_PAYLOAD_MAX)
        if fragment.is_atomic:
            return self._reassembled(fragment, part.payload)
        key = ("64", ipv6.source, ipv6.destination, fragment.identification)
        given = self._datagrams.followed(key, "downstream")
        waits = ipv6.next_header == PROTO_ICMPV6
        if not waits and not self._datagrams.is_kept(key, "downstream"):
            if part.offset == 0:
                transport = read_first_transport(ipv6.next_header, part.payload, PROTO_ICMPV6)
                first = self._ipv4_from(ipv6, transport)
                self._datagrams.follow(key, first)
                return arrived(first, part, fragment.identification)
            if given is not None:
                assert isinstance(given, Ipv4)
                later = dataclasses.replace(following(given, ipv6), payload=part.payload)
                return arrived(later, part, fragment.identification)
        head, payload = self._datagrams.keep(key, part, fragment, "downstream")
        assert isinstance(head, Ipv6Fragment)
        return self._reassembled(head, payload)

    def _reassembled(self, head: Ipv6Fragment, payload: bytes) -> tuple[bytes, ...]:
        read = read_transport if fits_ingress(payload) else read_first_transport
        transport = read(head.ipv6.next_header, payload, PROTO_ICMPV6)
        ipv4 = self._ipv4_from(dataclasses.replace(head.ipv6, payload=payload), transport)
        return arrived(ipv4, Part(0, False, payload), head.identification)

    def _encapsulated(self, packet: bytes) -> tuple[bytes, ...]:
        source, destination = ipv6_addresses(packet)
        if destination != self._map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        assert self._domain.br is not None  # by Domain
        rule = self._domain.rule_of_source(IPv6Address(source))
        from_domain = rule is not None or source == self._domain.br.packed
        next_header = next_header_of(packet)
        error = icmpv6_error(packet)
        if error is not None:
            return (self._errors.about_tunnel(error),)
        if from_domain and next_header == PROTO_FRAGMENT:
            return self._decapsulated(self._outer_reassembled(read_ipv6_fragment(packet)))
        if next_header != PROTO_IPV4:
            if from_domain:
                refuse_extension_headers(next_header)
            raise Refused(Reason.NOT_ENCAPSULATED)
        if not from_domain:
            raise Refused(Reason.TUNNEL_SOURCE)
        return self._decapsulated(read_ipv6(packet))

    def _outer_reassembled(self, fragment: Ipv6Fragment) -> Ipv6:
        ipv6, part = fragment.ipv6, fragment.part
        if ipv6.next_header in EXTENSION_HEADERS | {PROTO_FRAGMENT}:
            raise Refused(Reason.EXTENSION_HEADER)
        if ipv6.next_header != PROTO_IPV4:
            raise Refused(Reason.NOT_ENCAPSULATED)
        part.require_possible(IPV6_PAYLOAD_MAX)
        if fragment.is_atomic:
            return dataclasses.replace(ipv6, payload=part.payload)
        key = ("64", ipv6.source, ipv6.destination, fragment.identification)
        self._datagrams.followed(key, "downstream")
        head, payload = self._datagrams.keep(key, part, ipv6, "downstream")
        assert isinstance(head, Ipv6)
        return dataclasses.replace(head, payload=payload)

    def _decapsulated(self, outer: Ipv6) -> tuple[bytes, ...]:
        if IPv4Address(ipv4_destination(outer.payload)) not in self._domain.ipv4:
            raise Refused(Reason.INNER_DESTINATION)
        ipv4 = read_ipv4(outer.payload)
        tos = encapsulation.decapsulated_tos(ipv4.tos, outer.traffic_class)
        source = IPv6Address(outer.source)
        if ipv4.is_fragment:
            return self._inner_fragment(ipv4, tos, source)
        return self._inner(ipv4, tos, source)

    def _inner(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            return (self._errors.from_tunnel(ipv4, tos),)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        return (self._inner_for_host(ipv4, transport, tos, source).as_it_is(),)

    def _inner_for_host(
        self, ipv4: Ipv4, transport: Transport, tos: int, outer_source: IPv6Address
    ) -> Ipv4:
        self._check_ends(transport, ipv4.source)
        rule = self._domain.rule_of_source(outer_source)
        self._check_source(rule, outer_source, IPv4Address(ipv4.source), transport)
        host = self._lan_destination(ipv4.destination, transport, ipv4.source)
        transport = self._with_mss_clamped(transport.with_destination_port(host.port), "downstream")
        return encapsulation.renumbered(ipv4, transport, ipv4.source, host.address, tos)

    def _inner_fragment(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        ipv4.part.require_possible(IPV4_PAYLOAD_MAX)
        require_ports(ipv4.protocol, PROTO_ICMP)
        key = ("inner", source, ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification)
        given = self._datagrams.followed(key, "downstream")
        if not self._datagrams.is_kept(key, "downstream"):
            if ipv4.part.offset == 0:
                transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
                first = self._inner_for_host(ipv4, transport, tos, source)
                self._datagrams.follow(key, first.destination)
                return (first.as_it_is(),)
            if given is not None:
                assert isinstance(given, bytes)
                return (encapsulation.readdressed(ipv4, ipv4.source, given, tos).as_it_is(),)
        head, payload = self._datagrams.keep(key, ipv4.part, (ipv4, tos), "downstream")
        assert isinstance(head, tuple)
        return self._inner_complete(permitted_fragments(head[0], payload), head[1], source)

    def _inner_complete(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        if fits_ingress(ipv4.payload):
            return self._inner(ipv4, tos, source)
        transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        made = self._inner_for_host(ipv4, transport, tos, source)
        return inner_arrived(made)

    def _check_ends(self, transport: Transport, remote: bytes) -> None:
        """RFC 7599 section 8.2: the port set first, then the source."""
        if is_martian(remote) or self._is_from_ourselves(transport, remote):
            raise Refused(Reason.SOURCE_MARTIAN)
        if transport.destination_port not in self._domain.port_set:
            raise Refused(Reason.PORT_OUTSIDE_SET)

    def _check_source(
        self, rule: MappingRule | None, ipv6: IPv6Address, ipv4: IPv4Address, transport: Transport
    ) -> None:
        """Under an FMR the addresses and the port have to belong together."""
        if rule is not None and not self._domain.is_source_of(
            rule, ipv6, ipv4, transport.source_port
        ):
            raise Refused(Reason.SOURCE_INCONSISTENT)

    def _lan_destination(self, destination: bytes, transport: Transport, remote: bytes) -> Endpoint:
        if not self._settings.translates_ports:
            return Endpoint(destination, transport.destination_port)
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
