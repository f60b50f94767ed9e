# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packet that an ICMP error quotes: read, and given other addresses, ports and headers.

A quote may end after 8 octets of the transport header (RFC 792). Its TTL stays as it is
(RFC 7915 sections 4.3 and 5.3), and a checksum that was wrong stays wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software.checksum import checksum, ones_complement_sum
from mapxdp.software.rfc7915 import ECHO_46, ECHO_64, flags_of
from mapxdp.software.transport import (
    Transport,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    PROTO_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    Ipv4,
    Ipv6,
    icmpv6_pseudo_header,
)

_IPV4, _IPV6, _FRAGMENT = 20, 40, 8
_LEAST_TRANSPORT = 8
_WHOLE_TCP, _TCP_CHECKSUM = 20, 16
_MORE_FRAGMENTS, _OFFSET = 0x2000, 0x1FFF
_LONGEST_PAYLOAD = 65535 - _IPV4


@dataclass(frozen=True, slots=True)
class QuotedTransport:
    """As much of a transport header and its payload as is quoted: at least 8 octets."""

    header: Transport
    length: int
    half_checksum: bytes = b""  # of TCP, where the quote ends in the middle of it

    @classmethod
    def read(cls, protocol: int, data: bytes, icmp: int) -> QuotedTransport:
        """``icmp`` is the protocol number of the ICMP that belongs here."""
        if len(data) < _LEAST_TRANSPORT:
            raise Refused(Reason.QUOTE_INVALID)
        if protocol == PROTO_TCP:
            # What is not there is taken for zeros, and cut off again.
            whole = data.ljust(_WHOLE_TCP, b"\0")
            half = data[_TCP_CHECKSUM:] if len(data) == _TCP_CHECKSUM + 1 else b""
            return cls(Transport(Protocol.TCP, whole, _TCP_CHECKSUM, 0, 2), len(data), half)
        if protocol == PROTO_UDP:
            return cls(Transport(Protocol.UDP, data, 6, 0, 2), len(data))
        if protocol == icmp and data[0] in (ECHO_46 if icmp == PROTO_ICMP else ECHO_64):
            return cls(Transport(Protocol.ICMP, data, 2, 4, 4), len(data))
        raise Refused(Reason.QUOTE_INVALID)

    @property
    def data(self) -> bytes:
        """The octets that are quoted."""
        return self.header.data[: self.length - len(self.half_checksum)] + self.half_checksum

    def with_ports(self, source: int | None, destination: int | None) -> QuotedTransport:
        """With other ports; None leaves one alone. An echo message has one identifier."""
        header = self.header
        if source is not None:
            header = header.with_source_port(source)
        if destination is not None:
            header = header.with_destination_port(destination)
        return replace(self, header=header)

    def with_pseudo_header(self, old: bytes, new: bytes) -> QuotedTransport:
        """Under other addresses."""
        return replace(self, header=self.header.with_pseudo_header(old, new))

    def with_type(self, icmp_type: int) -> QuotedTransport:
        """An echo message of another type."""
        return replace(self, header=self.header.replaced(0, bytes([icmp_type])))


@dataclass(frozen=True, slots=True)
class Quote4:
    """A quoted IPv4 packet. ``length`` is what its header says, ``options`` follow the header."""

    ipv4: Ipv4
    length: int
    options: bytes
    transport: QuotedTransport

    @property
    def is_fragment(self) -> bool:
        """The first of several; others are not read."""
        return bool(self.ipv4.flags & _MORE_FRAGMENTS)

    @property
    def _header_length(self) -> int:
        return _IPV4 + len(self.options)

    def renumbered(self, source: bytes, destination: bytes) -> Quote4:
        """From and to other addresses."""
        transport = self.transport
        if transport.header.protocol is not Protocol.ICMP:  # which has no pseudo header
            transport = transport.with_pseudo_header(
                self.ipv4.source + self.ipv4.destination, source + destination
            )
        ipv4 = replace(self.ipv4, source=source, destination=destination)
        return replace(self, ipv4=ipv4, transport=transport)

    def to_bytes(self) -> bytes:
        """The quote, its header checksum computed."""
        header = bytearray(self.ipv4.header(0))
        header[0] = 0x40 | self._header_length // 4
        header[2:4] = self.length.to_bytes(2, "big")
        header[10:12] = checksum(bytes(header) + self.options).to_bytes(2, "big")
        return bytes(header) + self.options + self.transport.data

    def to_ipv6(self, source: bytes, destination: bytes) -> bytes:
        """The quote as it was in IPv6, or would have been (RFC 7915 section 4.3)."""
        payload_length = self.length - self._header_length
        transport, ipv4 = self.transport, self.ipv4
        if transport.header.protocol is Protocol.ICMP:
            next_header = PROTO_ICMPV6
            transport = transport.with_type(ECHO_46[transport.header.icmp_type])
            transport = transport.with_pseudo_header(
                b"", icmpv6_pseudo_header(source, destination, payload_length)
            )
        else:
            next_header = ipv4.protocol
            transport = transport.with_pseudo_header(
                ipv4.source + ipv4.destination, source + destination
            )
        extension = b""
        if self.is_fragment:
            extension = struct.pack("!BBHI", next_header, 0, 1, ipv4.identification)
            next_header = PROTO_FRAGMENT
        header = bytearray(
            Ipv6(ipv4.tos, ipv4.ttl, next_header, source, destination, b"").to_bytes()
        )
        header[4:6] = (payload_length + len(extension)).to_bytes(2, "big")
        return bytes(header) + extension + transport.data


@dataclass(frozen=True, slots=True)
class Quote6:
    """A quoted IPv6 packet, without its Fragment header but with that header's fields.

    ``length`` counts what the packet carried after its headers.
    """

    ipv6: Ipv6
    length: int
    fragment: tuple[int, int] | None  # flags as of IPv4, identification
    transport: QuotedTransport

    @property
    def is_fragment(self) -> bool:
        """It had a Fragment header."""
        return self.fragment is not None

    def to_ipv4(self, source: bytes, destination: bytes) -> bytes:
        """The quote as it was in IPv4 (RFC 7915 section 5.3)."""
        transport, ipv6 = self.transport, self.ipv6
        if transport.header.protocol is Protocol.ICMP:
            protocol = PROTO_ICMP
            transport = transport.with_type(ECHO_64[transport.header.icmp_type])
            transport = transport.with_pseudo_header(
                icmpv6_pseudo_header(ipv6.source, ipv6.destination, self.length), b""
            )
        else:
            protocol = ipv6.next_header
            transport = transport.with_pseudo_header(
                ipv6.source + ipv6.destination, source + destination
            )
        total = self.length + _IPV4
        flags, identification = self.fragment or (
            flags_of(self.length),
            0,
        )
        ipv4 = Ipv4(
            tos=ipv6.traffic_class,
            identification=identification,
            flags=flags,
            ttl=ipv6.hop_limit,
            protocol=protocol,
            checksum=0,
            source=source,
            destination=destination,
            payload=b"",
        )
        return Quote4(ipv4, total, b"", transport).to_bytes()


def read_quote4(data: bytes) -> Quote4:
    """The IPv4 packet that ``data`` begins with; Refused with QUOTE_INVALID for none of ours."""
    if len(data) < _IPV4:
        raise Refused(Reason.QUOTE_INVALID)
    first, tos, length, identification, fragment, ttl, protocol, field = struct.unpack_from(
        "!BBHHHBBH", data
    )
    header_length = (first & 0xF) * 4
    if (
        first >> 4 != 4
        or not _IPV4 <= header_length <= min(length, len(data))
        or ones_complement_sum(data[:header_length]) != 0xFFFF
        or fragment & _OFFSET
    ):
        raise Refused(Reason.QUOTE_INVALID)
    transport = QuotedTransport.read(protocol, data[header_length:], PROTO_ICMP)
    ipv4 = Ipv4(tos, identification, fragment, ttl, protocol, field, data[12:16], data[16:20], b"")
    return Quote4(ipv4, length, data[_IPV4:header_length], transport)


def read_quote6(data: bytes) -> Quote6:
    """The IPv6 packet that ``data`` begins with; Refused with QUOTE_INVALID for none of ours."""
    if len(data) < _IPV6 or data[0] >> 4 != 6:
        raise Refused(Reason.QUOTE_INVALID)
    first, length, next_header, hop_limit = struct.unpack_from("!IHBB", data)
    rest, fragment = data[_IPV6:], None
    if next_header == PROTO_FRAGMENT:
        if len(rest) < _FRAGMENT or length < _FRAGMENT:
            raise Refused(Reason.QUOTE_INVALID)
        next_header, _, offset_and_more, identification = struct.unpack_from("!BBHI", rest)
        if offset_and_more & 0xFFF8:
            raise Refused(Reason.QUOTE_INVALID)
        fragment = (_MORE_FRAGMENTS * (offset_and_more & 1), identification & 0xFFFF)
        rest, length = rest[_FRAGMENT:], length - _FRAGMENT
    if length > _LONGEST_PAYLOAD:
        raise Refused(Reason.QUOTE_INVALID)
    transport = QuotedTransport.read(next_header, rest, PROTO_ICMPV6)
    ipv6 = Ipv6(first >> 20 & 0xFF, hop_limit, next_header, data[8:24], data[24:40], b"")
    return Quote6(ipv6, length, fragment, transport)
