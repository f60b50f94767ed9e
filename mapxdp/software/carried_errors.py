# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors through the CE: whose they are, by the packet they quote (RFC 5508 section 4).

They change no mapping and are not filtered by who sent them (REQ-6, RFC 4787 REQ-12).
"""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, icmp_errors, rfc7915
from mapxdp.software.icmp_message import ICMP_LENGTH, ICMPV6_LENGTH, read_icmp, read_icmpv6
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.martians import is_martian
from mapxdp.software.napt44 import Napt44
from mapxdp.software.quote import Quote4, Quote6, QuotedTransport, read_quote4, read_quote6
from mapxdp.software.rfc7915_icmp import (
    ICMPV6_POLICY,
    ICMPV6_REJECT_ROUTE,
    ICMPV6_UNREACHABLE,
    Kind,
    icmp_kind,
    icmpv6_kind,
)
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import PROTO_ICMP, Ipv4, Ipv6


class CarriedErrors:
    """The errors of one CE. ``translates_ports`` False: hosts have public addresses and ports."""

    def __init__(
        self,
        domain: Domain,
        napt44: Napt44,
        translation: TranslationPolicy,
        ipv6_mtu: int,
        *,
        translates_ports: bool,
    ) -> None:
        self._domain = domain
        self._napt44 = napt44
        self._source = translation.icmp_error_source.packed
        self._traffic_class = translation.traffic_class
        self._ipv6_mtu = ipv6_mtu
        self._translates_ports = translates_ports
        self._ipv4 = domain.ipv4.network_address.packed
        self._map_address = domain.map_address.packed

    def from_lan(self, ipv4: Ipv4) -> Outcome:
        """An ICMP message of the LAN that is no echo."""
        if self._domain.mode.translates:
            icmpv6_kind(Kind(ipv4.payload[0], ipv4.payload[1]))
        else:
            if ipv4.total_length > self._ipv4_mtu:
                raise Refused(Reason.TOO_BIG)
            icmp_errors.require_error(Kind(ipv4.payload[0], ipv4.payload[1]))
        quote = read_quote4(read_icmp(ipv4).parts(ICMP_LENGTH)[0])
        public, port = self._public_destination(quote)
        if self._is_hairpin(ipv4, quote):
            packet = self._turned_around(ipv4, quote, port)
            return Outcome(Reason.HAIRPINNED, (packet,))
        seen = replace(quote, transport=_with_destination_port(quote.transport, port))
        packet = self._out(ipv4, seen, public)
        return Outcome(Reason.TRANSLATED, (packet,))

    def from_domain(self, ipv6: Ipv6) -> bytes:
        """MAP-T: an ICMPv6 error from the DMR or from a router before it."""
        kind = Kind(ipv6.payload[0], ipv6.payload[1])
        is_refusal = kind in (
            Kind(ICMPV6_UNREACHABLE, ICMPV6_POLICY),
            Kind(ICMPV6_UNREACHABLE, ICMPV6_REJECT_ROUTE),
        )
        if not is_refusal:
            icmp_kind(kind)
        message = read_icmpv6(ipv6)
        quote = read_quote6(message.parts(ICMPV6_LENGTH)[0])
        own = self._domain.own_ipv4(IPv6Address(quote.ipv6.source))
        if own is None:
            raise Refused(Reason.QUOTE_INVALID)
        remote = self._quoted_remote(quote)
        self._require_own_port(quote.transport)
        if is_refusal:
            raise Refused(Reason.BR_REFUSED)
        host = self._host_behind(own.packed, quote.transport, remote)
        seen = replace(quote, transport=_with_source_port(quote.transport, host.port))
        header = Ipv4(
            tos=ipv6.traffic_class,
            identification=random.getrandbits(16),
            flags=0,
            ttl=ipv6.hop_limit,
            protocol=PROTO_ICMP,
            checksum=0,
            source=self._ipv4_source(ipv6, quote, remote),
            destination=host.address,
            payload=b"",
        )
        return icmp_errors.to_icmp(message, seen, (host.address, remote), header, self._ipv6_mtu)

    def from_tunnel(self, ipv4: Ipv4, tos: int, outer_source: IPv6Address) -> bytes:
        """MAP-E: an ICMP error of the Internet, from the BR, or of another CE."""
        icmp_errors.require_error(Kind(ipv4.payload[0], ipv4.payload[1]))
        message = read_icmp(ipv4)
        if is_martian(ipv4.source):
            raise Refused(Reason.SOURCE_MARTIAN)
        quote = read_quote4(message.parts(ICMP_LENGTH)[0])
        self._require_sent_by_us(quote)
        self._require_own_source(outer_source, ipv4, quote.transport)
        host = self._sender(quote)
        seen = self._seen_by(quote, host)
        return icmp_errors.renumbered(ipv4, seen, ipv4.source, host.address, tos).as_it_is()

    def about_tunnel(self, ipv6: Ipv6) -> bytes:
        """MAP-E: an ICMPv6 error about a packet of ours, from any router or the BR."""
        br = self._domain.br
        assert br is not None  # by Domain
        kind = Kind(ipv6.payload[0], ipv6.payload[1])
        icmp_errors.require_tunnel_error(kind)
        is_refusal = kind == Kind(ICMPV6_UNREACHABLE, ICMPV6_POLICY)
        if is_refusal and ipv6.source != br.packed:
            raise Refused(Reason.ICMP_NOT_CARRIED)
        message = read_icmpv6(ipv6)
        far_end, quote, about_limit = icmp_errors.read_tunnel_quote(message, self._map_address)
        self._require_sent_by_us(quote)
        self._require_far_end(far_end, quote)
        if is_refusal:
            raise Refused(Reason.BR_REFUSED)
        icmp_errors.require_relayed(message, quote, about_limit=about_limit)
        host = self._sender(quote)
        return icmp_errors.about_tunnel(
            message, self._seen_by(quote, host), self._source, host.address, self._ipv6_mtu
        )

    def _quoted_remote(self, quote: Quote6) -> bytes:
        """Whom the quoted packet was for: the far end and the port have to belong together."""
        ipv6, transport = IPv6Address(quote.ipv6.destination), quote.transport.header
        rule, dmr = self._domain.rule_of_source(ipv6), self._domain.dmr
        assert dmr is not None  # by Domain
        if rule is not None:
            ipv4 = self._domain.peer_ipv4(rule, ipv6)
            if self._domain.is_source_of(rule, ipv6, ipv4, transport.destination_port):
                return ipv4.packed
        elif rfc6052.is_from(dmr, ipv6):
            return rfc6052.extract(dmr.prefixlen, ipv6).packed
        raise Refused(Reason.QUOTE_INVALID)

    @property
    def _ipv4_mtu(self) -> int:
        return self._ipv6_mtu - self._domain.mode.overhead

    def _public_destination(self, quote: Quote4) -> tuple[bytes, int]:
        """Address and port that the remote knows the quoted packet's receiver by."""
        transport = quote.transport.header
        if not self._translates_ports:
            if IPv4Address(quote.ipv4.destination) not in self._domain.ipv4:
                raise Refused(Reason.SOURCE_NOT_OURS)
            if transport.destination_port not in self._domain.port_set:
                raise Refused(Reason.PORT_OUTSIDE_SET)
            return quote.ipv4.destination, transport.destination_port
        endpoint = Endpoint(quote.ipv4.destination, transport.destination_port)
        remote = Endpoint(quote.ipv4.source, transport.peer_port_of_source)
        return self._ipv4, self._napt44.port_of(transport.protocol, endpoint, remote)

    def _out(self, ipv4: Ipv4, quote: Quote4, public: bytes) -> bytes:
        remote = quote.ipv4.source
        transport = quote.transport.header
        port = transport.source_port
        far_end = self._domain.destination_ipv6(IPv4Address(ipv4.destination), port).packed
        if self._domain.dmr is None:
            seen = quote.renumbered(remote, public)
            inner = icmp_errors.renumbered(
                ipv4, seen, self._outer_source(ipv4), ipv4.destination, ipv4.tos
            )
            return encapsulation.encapsulate(inner, self._map_address, far_end, self._traffic_class)
        own = self._domain.source_ipv6(IPv4Address(public)).packed
        header = Ipv6(
            traffic_class=rfc7915.class_of(ipv4, self._traffic_class),
            hop_limit=ipv4.ttl,
            next_header=0,
            source=own,
            destination=far_end,
            payload=b"",
        )
        quoted_far_end = self._domain.destination_ipv6(IPv4Address(remote), port).packed
        quoted_ends = quoted_far_end, own
        return icmp_errors.to_icmpv6(read_icmp(ipv4), quote, quoted_ends, header, self._ipv6_mtu)

    def _outer_source(self, ipv4: Ipv4) -> bytes:
        """REQ-5: the public address, whichever host of the LAN has something to say."""
        if not self._translates_ports and IPv4Address(ipv4.source) in self._domain.ipv4:
            return ipv4.source
        return self._ipv4

    def _is_hairpin(self, ipv4: Ipv4, quote: Quote4) -> bool:
        transport = quote.transport.header
        return (
            self._translates_ports
            and transport.protocol is not Protocol.ICMP
            and ipv4.destination == quote.ipv4.source == self._ipv4
            and transport.source_port in self._domain.port_set
        )

    def _turned_around(self, ipv4: Ipv4, quote: Quote4, port: int) -> bytes:
        """REQ-7: to the host of the LAN that sent the quoted packet to ``port``, ours."""
        transport = quote.transport.header
        remote = Endpoint(self._ipv4, port)
        host = self._napt44.endpoint_of(transport.protocol, transport.source_port, remote)
        seen = replace(quote, transport=quote.transport.with_ports(host.port, port))
        seen = seen.renumbered(host.address, self._ipv4)
        return icmp_errors.renumbered(ipv4, seen, self._ipv4, host.address, ipv4.tos).as_it_is()

    def _ipv4_source(self, ipv6: Ipv6, quote: Quote6, remote: bytes) -> bytes:
        """RFC 6791: a router's address means nothing in IPv4, even under a rule's prefix."""
        dmr, source = self._domain.dmr, IPv6Address(ipv6.source)
        assert dmr is not None  # by Domain
        if ipv6.source == quote.ipv6.destination:
            address = remote
        elif rfc6052.is_from(dmr, source) and self._domain.rule_of_source(source) is None:
            address = rfc6052.extract(dmr.prefixlen, source).packed
        else:
            return self._source
        return self._source if is_martian(address) else address

    def _require_sent_by_us(self, quote: Quote4) -> None:
        if IPv4Address(quote.ipv4.source) not in self._domain.ipv4:
            raise Refused(Reason.QUOTE_INVALID)
        self._require_own_port(quote.transport)

    def _require_own_source(
        self, outer_source: IPv6Address, ipv4: Ipv4, quoted: QuotedTransport
    ) -> None:
        """Another CE says something of packets to its own port, from its own address."""
        rule = self._domain.rule_of_source(outer_source)
        source, port = IPv4Address(ipv4.source), quoted.header.destination_port
        if rule is not None and not self._domain.is_source_of(rule, outer_source, source, port):
            raise Refused(Reason.SOURCE_INCONSISTENT)

    def _require_far_end(self, far_end: bytes, quote: Quote4) -> None:
        port = quote.transport.header.destination_port
        destination = IPv4Address(quote.ipv4.destination)
        if far_end != self._domain.destination_ipv6(destination, port).packed:
            raise Refused(Reason.QUOTE_INVALID)

    def _require_own_port(self, transport: QuotedTransport) -> None:
        if transport.header.source_port not in self._domain.port_set:
            raise Refused(Reason.PORT_OUTSIDE_SET)

    def _sender(self, quote: Quote4) -> Endpoint:
        """The endpoint of the LAN that sent the quoted packet of our address."""
        return self._host_behind(quote.ipv4.source, quote.transport, quote.ipv4.destination)

    def _host_behind(self, own: bytes, quoted: QuotedTransport, remote: bytes) -> Endpoint:
        transport = quoted.header
        if not self._translates_ports:
            return Endpoint(own, transport.source_port)
        peer = Endpoint(remote, transport.peer_port_of_destination)
        return self._napt44.endpoint_of(transport.protocol, transport.source_port, peer)

    def _seen_by(self, quote: Quote4, host: Endpoint) -> Quote4:
        seen = replace(quote, transport=_with_source_port(quote.transport, host.port))
        return seen.renumbered(host.address, quote.ipv4.destination)


def _with_source_port(transport: QuotedTransport, port: int) -> QuotedTransport:
    return transport.with_ports(port, None)


def _with_destination_port(transport: QuotedTransport, port: int) -> QuotedTransport:
    return transport.with_ports(None, port)
