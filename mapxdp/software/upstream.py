# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From the LAN to the domain (RFC 7599 section 8.1, RFC 7597 section 8)."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from mapxdp.model.domain import Domain
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, ipv4_options, rfc7915
from mapxdp.software.arrival import permitted_fragments
from mapxdp.software.ce_settings import CeSettings
from mapxdp.software.datagrams import IPV4_PAYLOAD_MAX, Datagrams, Key
from mapxdp.software.departure import Departure, Given46
from mapxdp.software.downstream import Downstream
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.martians import is_martian
from mapxdp.software.napt44 import Napt44
from mapxdp.software.transport import (
    Transport,
    is_icmp_error,
    read_first_transport,
    read_transport,
    require_ports,
)
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import PROTO_ICMP, Ipv4, ipv4_destination, read_ipv4

_FOR_THE_LINK = (IPv4Network("224.0.0.0/4"), IPv4Network("255.255.255.255/32"))


class Upstream:
    """Packets of the LAN. ``downstream`` knows whom a packet to a port of this CE is for."""

    def __init__(
        self,
        domain: Domain,
        settings: CeSettings,
        napt44: Napt44,
        datagrams: Datagrams,
        downstream: Downstream,
    ) -> None:
        self._domain = domain
        self._settings = settings
        self._napt44 = napt44
        self._datagrams = datagrams
        self._downstream = downstream
        self._ipv4 = domain.ipv4.network_address.packed
        self._departure = Departure(domain, settings, datagrams)
        self._events: Counter[Reason] = Counter()
        self.choose_identification: Callable[[int], int] = self._new_identification

    @property
    def events(self) -> Counter[Reason]:
        """What happened beside the verdicts."""
        return self._events + Counter({Reason.DATAGRAM_FRAGMENTED: self._departure.cut})

    def outcome(self, packet: bytes) -> Outcome:
        """What leaves; raises Refused where nothing does."""
        self.destination(packet)
        if self._domain.mode.translates:
            packet = ipv4_options.left_out(packet)
        ipv4 = read_ipv4(packet)
        try:
            return self._fragment(ipv4) if ipv4.is_fragment else self._whole(ipv4)
        except Refused as refused:
            raise Refused(refused.reason, refused.about or packet) from refused

    def destination(self, packet: bytes) -> IPv4Address:
        """Where a packet goes that is this CE's to send; raises Refused for another."""
        destination = IPv4Address(ipv4_destination(packet))
        if any(destination in network for network in _FOR_THE_LINK):
            raise Refused(Reason.DESTINATION_NOT_ROUTED)
        if any(destination in network for network in self._settings.on_link):
            raise Refused(Reason.DESTINATION_ON_LINK)
        if is_martian(destination.packed):
            raise Refused(Reason.DESTINATION_MARTIAN)
        if is_martian(packet[12:16]):
            raise Refused(Reason.SOURCE_MARTIAN)
        self._downstream.require_global(destination)
        return destination

    def _whole(self, ipv4: Ipv4) -> Outcome:
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            outcome = self._downstream.errors.from_lan(ipv4)
            self._events[Reason.ICMP_ERROR_CARRIED] += 1
            return outcome
        if self._downstream.others.have(ipv4.protocol, PROTO_ICMP):
            return Outcome(Reason.TRANSLATED, (self._downstream.others.from_lan(ipv4),))
        ipv4 = self._with_udp_checksum(ipv4)
        try:
            return self._sent(ipv4)
        except Refused as refused:
            raise Refused(refused.reason, ipv4.as_it_is()) from refused

    def _with_udp_checksum(self, ipv4: Ipv4) -> Ipv4:
        """The packet with the checksum that IPv6 asks for; Refused where it is not to have it."""
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        if not self._domain.mode.translates or not rfc7915.lacks_checksum(transport):
            return ipv4
        if not self._settings.translation.compute_udp_checksum:
            raise Refused(Reason.UDP_CHECKSUM_ZERO)
        self._events[Reason.UDP_CHECKSUM_COMPUTED] += 1
        data = rfc7915.with_udp_checksum(ipv4.source, ipv4.destination, ipv4.payload)
        return replace(ipv4, payload=data)

    def _sent(self, ipv4: Ipv4) -> Outcome:
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        self._departure.refuse_too_big(ipv4)
        source = self._public_source(ipv4, transport)
        if self._is_hairpin(ipv4, transport):
            return Outcome(Reason.HAIRPINNED, (self._hairpinned(ipv4, transport, source.port),))
        transport = transport.with_source_port(source.port)
        if not self._departure.leaves_in_pieces(ipv4):
            transport = self._with_mss_clamped(transport)
            packet = self._departure.of_whole(ipv4, transport, source.address)
            return Outcome(Reason.TRANSLATED, (packet,))
        identification = self.choose_identification(ipv4.identification)
        packets, _ = self._departure.of_first(ipv4, transport, source.address, identification)
        return Outcome(Reason.TRANSLATED, packets)

    def _fragment(self, ipv4: Ipv4) -> Outcome:
        if ipv4.options:  # not all of them belong into every fragment
            raise Refused(Reason.FRAGMENT_INVALID)
        key = ("46", ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification)
        self._datagrams.forget_expired(key, "upstream")
        ipv4.part.require_possible(IPV4_PAYLOAD_MAX)
        require_ports(ipv4.protocol, PROTO_ICMP)
        self._departure.refuse_too_big(ipv4)
        given = self._datagrams.followed(key, "upstream")
        # The checksum of ICMPv6 covers a length that no fragment tells (RFC 7915 section 1.2).
        waits = self._domain.mode.translates and ipv4.protocol == PROTO_ICMP
        if not waits and not self._datagrams.is_kept(key, "upstream"):
            if ipv4.part.offset == 0:
                return self._first(ipv4, key, given)
            if given is not None:
                assert isinstance(given, Given46)
                return Outcome(Reason.TRANSLATED, self._departure.of_later(ipv4, given))
        head, payload = self._datagrams.keep(key, ipv4.part, ipv4, "upstream")
        assert isinstance(head, Ipv4)
        complete = permitted_fragments(head, payload)
        try:
            return self._complete(complete)
        except Refused as refused:
            raise Refused(refused.reason, refused.about or complete.as_it_is()) from refused

    def _first(self, ipv4: Ipv4, key: Key, given: object | None) -> Outcome:
        transport, source = self._first_admitted(ipv4)
        if given is None:
            identification = self.choose_identification(ipv4.identification)
        else:  # the first fragment has come twice
            assert isinstance(given, Given46)
            identification = given.identification
        packets, given = self._departure.of_first(ipv4, transport, source, identification)
        self._datagrams.follow(key, given)
        return Outcome(Reason.TRANSLATED, packets)

    def _complete(self, ipv4: Ipv4) -> Outcome:
        if not self._departure.leaves_in_pieces(ipv4):
            return self._whole(ipv4)
        try:
            transport, source = self._first_admitted(ipv4)
        except Refused as refused:
            raise Refused(refused.reason, self._departure.head_of(ipv4)) from refused
        identification = self.choose_identification(ipv4.identification)
        packets = self._departure.of_complete(ipv4, transport, source, identification)
        return Outcome(Reason.TRANSLATED, packets)

    def _first_admitted(self, ipv4: Ipv4) -> tuple[Transport, bytes]:
        """The transport header of a first fragment as it leaves, and the source address."""
        transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        if self._domain.mode.translates:
            rfc7915.refuse_udp_without_checksum(transport)
        self._departure.refuse_too_big(ipv4)
        source = self._public_source(ipv4, transport)
        if self._is_hairpin(ipv4, transport):
            raise Refused(Reason.FRAGMENT_INVALID)
        return transport.with_source_port(source.port), source.address

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
        host = self._downstream.host_behind(transport, remote)
        transport = transport.with_source_port(port).with_destination_port(host.port)
        return encapsulation.renumbered(ipv4, transport, self._ipv4, host.address).as_it_is()

    def _with_mss_clamped(self, transport: Transport) -> Transport:
        clamped = transport.with_mss_at_most(self._settings.mss)
        self._events[Reason.MSS_CLAMPED] += clamped != transport
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
        port = self._napt44.from_lan(
            transport.protocol,
            endpoint,
            peer,
            transport.tcp_flags,
            is_echo_reply=transport.is_echo_reply,
        )
        return Endpoint(self._ipv4, port)
