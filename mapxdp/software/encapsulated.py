# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""MAP-E and lw4o6 from the domain to the LAN (RFC 7597 section 8.1, RFC 7596 section 5.2)."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv6Address

from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, ipv6_extension
from mapxdp.software.arrival import (
    fits_ingress,
    inner_arrived,
    is_too_long,
    numbered,
    permitted_fragments,
)
from mapxdp.software.datagrams import IPV4_PAYLOAD_MAX, IPV6_PAYLOAD_MAX
from mapxdp.software.downstream import Downstream
from mapxdp.software.transport import (
    Transport,
    is_icmp_error,
    read_first_transport,
    read_transport,
    require_ports,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    EXTENSION_HEADERS,
    PROTO_FRAGMENT,
    PROTO_ICMP,
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


class Encapsulated(Downstream):
    """IPv4 packets in a tunnel from the BR, or from the CE of an FMR."""

    def arrive(self, packet: bytes) -> tuple[bytes, ...]:
        """As Downstream says."""
        source, destination = map(IPv6Address, ipv6_addresses(packet))
        if destination != self._domain.map_address:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        is_of_domain = source == self._domain.br or self._domain.rule_of_source(source) is not None
        if ipv6_extension.are_in(packet):
            packet = ipv6_extension.taken_out_of_tunnel(packet, is_of_domain)
        next_header = next_header_of(packet)
        error = icmpv6_error(packet)
        if error is not None:
            carried = self.errors.about_tunnel(error)
            self.events[Reason.ICMP_ERROR_CARRIED] += 1
            return (carried,)
        if is_of_domain and next_header == PROTO_FRAGMENT:
            outer = self._outer_reassembled(read_ipv6_fragment(packet))
            return self._opened(outer) if is_too_long(outer) else self._decapsulated(outer)
        if next_header != PROTO_IPV4:
            if is_of_domain:
                refuse_extension_headers(next_header)
            raise Refused(Reason.NOT_ENCAPSULATED)
        if not is_of_domain:
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

    def _opened(self, outer: Ipv6) -> tuple[bytes, ...]:
        """What was cut outside, and is too long for one packet: its inner packet is cut. DF stays:
        the kernel tells the sender, if it does not fit the LAN either."""
        inner = read_ipv4(outer.payload)
        if inner.is_fragment:
            raise Refused(Reason.MALFORMED_IPV4)
        if IPv4Address(inner.destination) not in self._domain.ipv4:
            raise Refused(Reason.INNER_DESTINATION)
        if inner.options:
            raise Refused(Reason.FRAGMENT_INVALID)
        tos = encapsulation.decapsulated_tos(inner.tos, outer.traffic_class)
        if inner.forbids_fragments:
            inner = numbered(inner)
        return self._complete(inner, tos, IPv6Address(outer.source))

    def _decapsulated(self, outer: Ipv6) -> tuple[bytes, ...]:
        if IPv4Address(ipv4_destination(outer.payload)) not in self._domain.ipv4:
            raise Refused(Reason.INNER_DESTINATION)
        inner = read_ipv4(outer.payload)
        if inner.is_fragment and inner.options:  # not all of them belong into every fragment
            raise Refused(Reason.FRAGMENT_INVALID)
        tos = encapsulation.decapsulated_tos(inner.tos, outer.traffic_class)
        source = IPv6Address(outer.source)
        if inner.is_fragment:
            return self._fragment(inner, tos, source)
        return self._whole(inner, tos, source)

    def _whole(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            carried = self.errors.from_tunnel(ipv4, tos, source)
            self.events[Reason.ICMP_ERROR_CARRIED] += 1
            return (carried,)
        if self.others.have(ipv4.protocol, PROTO_ICMP):
            return (self.others.from_tunnel(ipv4, tos, source),)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        return (self._for_host(ipv4, transport, tos, source).as_it_is(),)

    def _for_host(self, ipv4: Ipv4, transport: Transport, tos: int, source: IPv6Address) -> Ipv4:
        transport, host = self._addressed(ipv4.destination, transport, ipv4.source, source)
        if not ipv4.is_fragment:
            transport = self._with_mss_clamped(transport)
        return encapsulation.renumbered(ipv4, transport, ipv4.source, host.address, tos)

    def _fragment(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        ipv4.part.require_possible(IPV4_PAYLOAD_MAX)
        require_ports(ipv4.protocol, PROTO_ICMP)
        key = ("inner", ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification)
        given = self._datagrams.followed(key, "downstream")
        if not self._datagrams.is_kept(key, "downstream"):
            if ipv4.part.offset == 0:
                transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
                first = self._for_host(ipv4, transport, tos, source)
                self._datagrams.follow(key, first.destination)
                return (first.as_it_is(),)
            if given is not None:
                assert isinstance(given, bytes)
                return (encapsulation.readdressed(ipv4, ipv4.source, given, tos).as_it_is(),)
        head, payload = self._datagrams.keep(key, ipv4.part, (ipv4, tos), "downstream")
        assert isinstance(head, tuple)
        return self._complete(permitted_fragments(head[0], payload), head[1], source)

    def _complete(self, ipv4: Ipv4, tos: int, source: IPv6Address) -> tuple[bytes, ...]:
        if fits_ingress(ipv4.payload):
            return self._whole(ipv4, tos, source)
        transport = read_first_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        return inner_arrived(self._for_host(ipv4, transport, tos, source))
