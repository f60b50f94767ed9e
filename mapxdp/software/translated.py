# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""MAP-T from the domain to the LAN (RFC 7599 section 8.2, RFC 7915 section 5)."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv6Address

from mapxdp.model import rfc6052
from mapxdp.reasons import Reason
from mapxdp.software import ipv6_extension, rfc7915
from mapxdp.software.arrival import arrived, fits_ingress, following
from mapxdp.software.datagrams import IPV4_PAYLOAD_MAX, Part
from mapxdp.software.downstream import Downstream
from mapxdp.software.transport import (
    Transport,
    read_first_transport,
    read_transport,
    require_ports,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    EXTENSION_HEADERS,
    PROTO_FRAGMENT,
    PROTO_ICMPV6,
    Ipv4,
    Ipv6,
    Ipv6Fragment,
    icmpv6_error,
    ipv6_addresses,
    read_ipv6,
    read_ipv6_fragment,
    refuse_extension_headers,
)


class Translated(Downstream):
    """IPv6 packets that were IPv4 before the domain."""

    def arrive(self, packet: bytes) -> tuple[bytes, ...]:
        """As Downstream says."""
        source, destination = map(IPv6Address, ipv6_addresses(packet))
        if self._domain.own_ipv4(destination) is None:
            raise Refused(Reason.NOT_MAP_ADDRESS)
        is_of_domain = self._is_of_domain(source)
        if is_of_domain and ipv6_extension.are_in(packet):
            packet = ipv6_extension.taken_out(packet)
        error = icmpv6_error(packet)
        if error is not None:
            carried = self.errors.from_domain(error)
            self.events[Reason.ICMP_ERROR_CARRIED] += 1
            return (carried,)
        if not is_of_domain:
            raise Refused(Reason.SOURCE_OUTSIDE_DOMAIN)
        ipv6 = read_ipv6(packet)
        if ipv6.next_header == PROTO_FRAGMENT:
            return self._fragment(read_ipv6_fragment(packet))
        refuse_extension_headers(ipv6.next_header)
        return self._whole(ipv6)

    def _whole(self, ipv6: Ipv6) -> tuple[bytes, ...]:
        if self.others.have(ipv6.next_header, PROTO_ICMPV6):
            return (rfc7915.whole(self.others.from_domain(ipv6, self._remote_of(ipv6))),)
        transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
        made = self._ipv4_from(ipv6, transport, clamped=True)
        self.events[Reason.UDP_CHECKSUM_ABSENT] += rfc7915.lacks_checksum(transport)
        return (rfc7915.whole(made),)

    def _is_of_domain(self, source: IPv6Address) -> bool:
        assert self._domain.dmr is not None  # by Domain
        is_from_dmr = rfc6052.is_from(self._domain.dmr, source)
        return is_from_dmr or self._domain.rule_of_source(source) is not None

    def _remote_of(self, ipv6: Ipv6) -> bytes:
        source, dmr = IPv6Address(ipv6.source), self._domain.dmr
        assert dmr is not None  # by Domain
        rule = self._domain.rule_of_source(source)
        if rule is not None:
            return self._domain.peer_ipv4(rule, source).packed
        remote = rfc6052.extract(dmr.prefixlen, source)
        self.require_global(remote)
        return remote.packed

    def _own_of(self, ipv6: Ipv6) -> bytes:
        own = self._domain.own_ipv4(IPv6Address(ipv6.destination))
        assert own is not None  # as was asked first of all
        return own.packed

    def _ipv4_from(self, ipv6: Ipv6, transport: Transport, *, clamped: bool = False) -> Ipv4:
        """The packet for the LAN, if it may enter."""
        remote, source = self._remote_of(ipv6), IPv6Address(ipv6.source)
        transport, host = self._addressed(self._own_of(ipv6), transport, remote, source)
        if clamped:
            transport = self._with_mss_clamped(transport)
        return rfc7915.ipv6_to_ipv4(ipv6, transport, remote, host.address)

    def _fragment(self, fragment: Ipv6Fragment) -> tuple[bytes, ...]:
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
                rfc7915.refuse_udp_without_checksum(transport)
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
        rfc7915.refuse_udp_without_checksum(transport)
        ipv4 = self._ipv4_from(dataclasses.replace(head.ipv6, payload=payload), transport)
        return arrived(ipv4, Part(0, False, payload), head.identification)
