# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A border relay in Python (RFC 7597 section 8, RFC 7599 section 8.3 and 8.4, RFC 7596).

Stateless: it knows rules, not connections. It checks each CE's source address and port, and
answers nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from mapxdp.errors import InvalidValue
from mapxdp.model import rfc6052
from mapxdp.model.domain import Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.map_address import (
    forwarding_destination,
    source_is_map_address,
    translated_destination,
    translated_source,
)
from mapxdp.model.mtu import MAXIMUM_MTU
from mapxdp.model.rule import MappingRule, select_forwarding_rule
from mapxdp.model.translation import DUMMY_ADDRESS
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, icmp_errors, rfc7915
from mapxdp.software.datagrams import IPV6_PAYLOAD_MAX
from mapxdp.software.icmp_message import (
    ICMP_LENGTH,
    ICMPV6_LENGTH,
    IcmpMessage,
    read_icmp,
    read_icmpv6,
)
from mapxdp.software.quote import Quote4, read_quote4, read_quote6
from mapxdp.software.transport import is_icmp_error, read_transport
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IPV4,
    Ipv4,
    Ipv6,
    read_ipv4,
    read_ipv6,
)


class BrReason(StrEnum):
    """What a BR refuses for reasons that a CE does not have."""

    NO_RULE = "no rule leads to the IPv4 destination and port"
    SOURCE_INCONSISTENT = "IPv6 source, IPv4 source and port do not belong together"
    NOT_FOR_BR = "IPv6 destination is not the BR's"


class _BrRefused(Exception):
    def __init__(self, reason: BrReason) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(frozen=True)
class BrSettings:
    """What the BR of a domain knows. ``dmr`` in MAP-T, ``address`` in MAP-E and lw4o6."""

    mode: Mode
    rules: tuple[MappingRule, ...]
    dmr: IPv6Network | None = None
    address: IPv6Address | None = None
    interface_id: InterfaceIdFormat = InterfaceIdFormat.RFC7597


class BorderRelay:
    """``counts`` has how many packets crossed, by ``from_domain`` and ``to_domain``, and how
    many were refused, by reason."""

    def __init__(self, settings: BrSettings) -> None:
        self._settings = settings
        self.counts: Counter[str] = Counter()
        self._ce_address = lru_cache(maxsize=65536)(self._find_ce_address)
        self._is_consistent = lru_cache(maxsize=65536)(self._check_source)

    def from_domain(self, packet: bytes) -> bytes | None:
        """An IPv6 packet from a CE: the IPv4 packet for the Internet, or None."""
        mode = self._settings.mode
        return self._counted(
            "from_domain", self._untranslate if mode.translates else self._decapsulate, packet
        )

    def to_domain(self, packet: bytes) -> bytes | None:
        """An IPv4 packet from the Internet: the IPv6 packet for its CE, or None."""
        return self._counted("to_domain", self._towards_ce, packet)

    def _counted(self, name: str, handle: Callable[[bytes], bytes], packet: bytes) -> bytes | None:
        try:
            result = handle(packet)
        except (Refused, _BrRefused) as refused:
            self.counts[refused.reason.name] += 1
            return None
        self.counts[name] += 1
        return result

    def _untranslate(self, packet: bytes) -> bytes:
        ipv6 = read_ipv6(packet)
        dmr = self._settings.dmr
        assert dmr is not None
        if IPv6Address(ipv6.destination) not in dmr:
            raise _BrRefused(BrReason.NOT_FOR_BR)
        if is_icmp_error(ipv6.next_header, ipv6.payload, PROTO_ICMPV6):
            return self._error_from_ce(ipv6, dmr)
        transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
        source = self._ipv4_source(ipv6.source, transport.source_port)
        destination = rfc6052.extract(dmr.prefixlen, IPv6Address(ipv6.destination)).packed
        return rfc7915.whole(rfc7915.ipv6_to_ipv4(ipv6, transport, source, destination))

    def _error_from_ce(self, ipv6: Ipv6, dmr: IPv6Network) -> bytes:
        """An ICMPv6 error of a CE about a packet to it, or of a router on the way."""
        message = read_icmpv6(ipv6)
        quote = read_quote6(message.parts(ICMPV6_LENGTH)[0])
        if IPv6Address(quote.ipv6.source) not in dmr:
            raise Refused(Reason.QUOTE_INVALID)
        host = self._ipv4_source(quote.ipv6.destination, quote.transport.header.destination_port)
        remote = rfc6052.extract(dmr.prefixlen, IPv6Address(quote.ipv6.source)).packed
        to = rfc6052.extract(dmr.prefixlen, IPv6Address(ipv6.destination)).packed
        identification = random.getrandbits(16)
        source = host if ipv6.source == quote.ipv6.destination else DUMMY_ADDRESS.packed
        header = Ipv4(
            ipv6.traffic_class, identification, 0, ipv6.hop_limit, PROTO_ICMP, 0, source, to, b""
        )
        return icmp_errors.to_icmp(message, quote, (remote, host), header, MAXIMUM_MTU)

    def _ipv4_source(self, ipv6: bytes, port: int) -> bytes:
        """The CE's address: its MAP address holds it, and has to agree with the port."""
        address = IPv6Address(ipv6)
        for rule in self._settings.rules:
            if address in rule.ipv6:
                host = translated_source(rule, address, self._settings.interface_id)
                if self._is_consistent(rule, address, host, port):
                    return host.packed
        raise _BrRefused(BrReason.SOURCE_INCONSISTENT)

    def _decapsulate(self, packet: bytes) -> bytes:
        outer = read_ipv6(packet, IPV6_PAYLOAD_MAX)
        address = self._settings.address
        assert address is not None
        if outer.destination != address.packed:
            raise _BrRefused(BrReason.NOT_FOR_BR)
        if is_icmp_error(outer.next_header, outer.payload, PROTO_ICMPV6):
            return self._error_about_tunnel(outer, address)
        if outer.next_header != PROTO_IPV4:
            raise _BrRefused(BrReason.NOT_FOR_BR)
        inner = read_ipv4(outer.payload)
        tos = encapsulation.decapsulated_tos(inner.tos, outer.traffic_class)
        if is_icmp_error(inner.protocol, inner.payload, PROTO_ICMP):
            quote = _error(inner)[1]
            port = quote.transport.header.destination_port
            for host in (inner.source, quote.ipv4.destination):
                self._require_consistent(outer.source, host, port)
            return icmp_errors.renumbered(
                inner, quote, inner.source, inner.destination, tos
            ).as_it_is()
        transport = read_transport(inner.protocol, inner.payload, PROTO_ICMP)
        self._require_consistent(outer.source, inner.source, transport.source_port)
        return encapsulation.renumbered(
            inner, transport, inner.source, inner.destination, tos
        ).as_it_is()

    def _error_about_tunnel(self, ipv6: Ipv6, address: IPv6Address) -> bytes:
        """RFC 2473 section 8: for whom sent the packet inside, whichever router complains."""
        message = read_icmpv6(ipv6)
        icmp_errors.require_tunnel_error(message.kind)
        far_end, quote, about_limit = icmp_errors.read_tunnel_quote(message, address.packed)
        port = quote.transport.header.destination_port
        if far_end != self._require_ce(quote.ipv4.destination, port).packed:
            raise Refused(Reason.QUOTE_INVALID)
        icmp_errors.require_relayed(message, quote, about_limit=about_limit)
        return icmp_errors.about_tunnel(
            message, quote, DUMMY_ADDRESS.packed, quote.ipv4.source, MAXIMUM_MTU
        )

    def _require_consistent(self, source: bytes, host: bytes, port: int) -> None:
        if not any(
            self._is_consistent(rule, IPv6Address(source), IPv4Address(host), port)
            for rule in self._settings.rules
        ):
            raise _BrRefused(BrReason.SOURCE_INCONSISTENT)

    def _check_source(
        self, rule: MappingRule, ipv6: IPv6Address, ipv4: IPv4Address, port: int
    ) -> bool:
        layout = self._settings.interface_id
        if not self._settings.mode.translates:
            return source_is_map_address(rule, ipv6, ipv4, port, layout)
        try:
            return translated_destination(rule, ipv4, port, layout) == ipv6
        except InvalidValue:
            return False

    def _towards_ce(self, packet: bytes) -> bytes:
        ipv4 = read_ipv4(packet)
        if is_icmp_error(ipv4.protocol, ipv4.payload, PROTO_ICMP):
            return self._error_towards_ce(ipv4)
        transport = read_transport(ipv4.protocol, ipv4.payload, PROTO_ICMP)
        destination = self._require_ce(ipv4.destination, transport.destination_port)
        if self._settings.dmr is not None:
            rfc7915.refuse_udp_without_checksum(transport)
            source = rfc6052.embed(self._settings.dmr, IPv4Address(ipv4.source)).packed
            return rfc7915.ipv4_to_ipv6(ipv4, transport, source, destination.packed).to_bytes()
        assert self._settings.address is not None
        return encapsulation.encapsulate(ipv4, self._settings.address.packed, destination.packed)

    def _error_towards_ce(self, ipv4: Ipv4) -> bytes:
        """RFC 7596 section 8.1: the port of the packet in error leads to the CE."""
        message, quote = _error(ipv4)
        if quote.ipv4.source != ipv4.destination:
            raise Refused(Reason.QUOTE_INVALID)
        ce = self._require_ce(ipv4.destination, quote.transport.header.source_port).packed
        dmr = self._settings.dmr
        if dmr is None:
            assert self._settings.address is not None
            return encapsulation.encapsulate(ipv4, self._settings.address.packed, ce)
        source = rfc6052.embed(dmr, IPv4Address(ipv4.source)).packed
        remote = rfc6052.embed(dmr, IPv4Address(quote.ipv4.destination)).packed
        header = Ipv6(ipv4.tos, ipv4.ttl, PROTO_ICMPV6, source, ce, b"")
        return icmp_errors.to_icmpv6(message, quote, (ce, remote), header, MAXIMUM_MTU)

    def _require_ce(self, ipv4: bytes, port: int) -> IPv6Address:
        destination = self._ce_address(ipv4, port)
        if destination is None:
            raise _BrRefused(BrReason.NO_RULE)
        return destination

    def _find_ce_address(self, ipv4: bytes, port: int) -> IPv6Address | None:
        address = IPv4Address(ipv4)
        rule = select_forwarding_rule(self._settings.rules, address, port)
        if rule is None:
            return None
        translates = self._settings.mode.translates
        destination = translated_destination if translates else forwarding_destination
        try:
            return destination(rule, address, port, self._settings.interface_id)
        except InvalidValue:
            return None


def _error(ipv4: Ipv4) -> tuple[IcmpMessage, Quote4]:
    """An ICMP error and the packet it is about; raises Refused for other ICMP."""
    message = read_icmp(ipv4)
    icmp_errors.require_error(message.kind)
    return message, read_quote4(message.parts(ICMP_LENGTH)[0])
