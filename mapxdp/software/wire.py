# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4 and IPv6 packets as values: bytes to fields and back.

Reading raises Refused with the reason why the packet is none that can be handled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mapxdp.reasons import Reason
from mapxdp.software.checksum import checksum
from mapxdp.software.datagrams import IPV4_PAYLOAD_MAX, Part
from mapxdp.software.verdict import Refused

PROTO_HOP_BY_HOP = 0
PROTO_ICMP = 1
PROTO_IPV4 = 4
PROTO_TCP = 6
PROTO_UDP = 17
PROTO_ROUTING = 43
PROTO_FRAGMENT = 44
PROTO_AUTHENTICATION = 51
PROTO_ICMPV6 = 58
PROTO_DESTINATION = 60

EXTENSION_HEADERS = frozenset(
    {PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_AUTHENTICATION, PROTO_DESTINATION}
)

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
#: RFC 4443 section 2.1: the types below are errors.
ICMPV6_INFORMATIONAL = 128
IPV4_HEADER, IPV6_HEADER, FRAGMENT_HEADER = 20, 40, 8
DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
_FRAGMENT_OFFSET = 0x1FFF


@dataclass(frozen=True, slots=True)
class Ipv4:
    """An IPv4 packet, or a fragment of one. Addresses are 4 octets.

    ``flags`` is their 16-bit word with the fragment's offset: DONT_FRAGMENT, MORE_FRAGMENTS, and
    the reserved bit, which a tunnel carries.
    """

    tos: int
    identification: int
    flags: int
    ttl: int
    protocol: int
    checksum: int
    source: bytes
    destination: bytes
    payload: bytes
    options: bytes = b""

    @property
    def total_length(self) -> int:
        """Of the packet."""
        return _IPV4.size + len(self.options) + len(self.payload)

    @property
    def is_fragment(self) -> bool:
        """Whether the rest of the datagram is in other packets."""
        return bool(self.flags & (MORE_FRAGMENTS | _FRAGMENT_OFFSET))

    @property
    def forbids_fragments(self) -> bool:
        """DF."""
        return bool(self.flags & DONT_FRAGMENT)

    @property
    def part(self) -> Part:
        """Which part of its datagram it is."""
        offset = (self.flags & _FRAGMENT_OFFSET) * 8
        return Part(offset, bool(self.flags & MORE_FRAGMENTS), self.payload)

    def header(self, checksum_field: int) -> bytes:
        """The octets of the header, options among them."""
        fixed = _IPV4.pack(
            0x45 + len(self.options) // 4,
            self.tos,
            self.total_length,
            self.identification,
            self.flags,
            self.ttl,
            self.protocol,
            checksum_field,
            self.source,
            self.destination,
        )
        return fixed + self.options

    def with_checksum(self) -> bytes:
        """The packet, its header checksum computed."""
        return self.header(checksum(self.header(0))) + self.payload

    def as_it_is(self) -> bytes:
        """The packet with the header checksum it has, right or wrong."""
        return self.header(self.checksum) + self.payload


@dataclass(frozen=True, slots=True)
class Ipv6:
    """An IPv6 packet. Addresses are 16 octets; ``payload`` begins after the fixed header."""

    traffic_class: int
    hop_limit: int
    next_header: int
    source: bytes
    destination: bytes
    payload: bytes

    def to_bytes(self) -> bytes:
        """The packet, with flow label 0."""
        return (
            _IPV6.pack(
                6 << 28 | self.traffic_class << 20,
                len(self.payload),
                self.next_header,
                self.hop_limit,
                self.source,
                self.destination,
            )
            + self.payload
        )


def icmpv6_pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    """What the checksum of an ICMPv6 message of ``length`` octets covers besides it (RFC 8200
    section 8.1)."""
    return source + destination + struct.pack("!II", length, PROTO_ICMPV6)


def ipv4_destination(packet: bytes) -> bytes:
    """The destination of a sound IPv4 header, whatever options and fragments it has."""
    if len(packet) < _IPV4.size:
        raise Refused(Reason.MALFORMED_IPV4)
    version, header_words = packet[0] >> 4, packet[0] & 0xF
    total_length = int.from_bytes(packet[2:4], "big")
    if version != 4 or header_words < 5:
        raise Refused(Reason.MALFORMED_IPV4)
    if not header_words * 4 <= total_length <= len(packet):
        raise Refused(Reason.MALFORMED_IPV4)
    return packet[16:20]


def read_ipv4(packet: bytes) -> Ipv4:
    """The packet; trailing octets that do not belong to it are left out."""
    ipv4_destination(packet)
    first, tos, total, identification, fragment, ttl, protocol, field, source, destination = (
        _IPV4.unpack_from(packet)
    )
    length = (first & 0xF) * 4
    return Ipv4(
        tos=tos,
        identification=identification,
        flags=fragment,
        ttl=ttl,
        protocol=protocol,
        checksum=field,
        source=source,
        destination=destination,
        payload=packet[length:total],
        options=packet[_IPV4.size : length],
    )


def ipv6_addresses(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of a whole IPv6 header."""
    if len(packet) < _IPV6.size or packet[0] >> 4 != 6:
        raise Refused(Reason.IPV6_HEADER_CUT)
    return packet[8:24], packet[24:40]


def next_header_of(packet: bytes) -> int:
    """The Next Header field of a whole IPv6 header."""
    return packet[6]


def read_ipv6(packet: bytes, longest: int = IPV4_PAYLOAD_MAX) -> Ipv6:
    """The packet; trailing octets that do not belong to it are left out. At most ``longest``
    octets may follow its header: as many as follow one of IPv4, or a tunnel's, which are more."""
    ipv6_addresses(packet)
    first, length, next_header, hop_limit, source, destination = _IPV6.unpack_from(packet)
    if not 0 < length <= min(len(packet) - _IPV6.size, longest):
        raise Refused(Reason.MALFORMED_IPV6)
    return Ipv6(
        traffic_class=first >> 20 & 0xFF,
        hop_limit=hop_limit,
        next_header=next_header,
        source=source,
        destination=destination,
        payload=packet[_IPV6.size : _IPV6.size + length],
    )


@dataclass(frozen=True, slots=True)
class Ipv6Fragment:
    """An IPv6 packet with a Fragment header (RFC 8200 section 4.5), and what that says.

    ``ipv6`` has the Next Header of the Fragment header, and no payload.
    """

    ipv6: Ipv6
    identification: int
    part: Part

    @property
    def is_atomic(self) -> bool:
        """Whether it is all of its datagram (RFC 6946)."""
        return self.part.offset == 0 and not self.part.more


def read_ipv6_fragment(packet: bytes) -> Ipv6Fragment:
    """The packet, whose IPv6 header is followed by a Fragment header."""
    first, length, _, hop_limit, source, destination = _IPV6.unpack_from(packet)
    if not FRAGMENT_HEADER <= length <= len(packet) - _IPV6.size:
        raise Refused(Reason.MALFORMED_IPV6)
    start = _IPV6.size
    next_header, _, offset_and_more, identification = struct.unpack_from("!BBHI", packet, start)
    payload = packet[start + FRAGMENT_HEADER : start + length]
    ipv6 = Ipv6(first >> 20 & 0xFF, hop_limit, next_header, source, destination, b"")
    part = Part(offset_and_more & 0xFFF8, bool(offset_and_more & 1), payload)
    return Ipv6Fragment(ipv6, identification, part)


def refuse_extension_headers(next_header: int) -> None:
    """Raises Refused for a header that stands between IPv6 and its payload."""
    if next_header == PROTO_FRAGMENT:
        raise Refused(Reason.FRAGMENT_INVALID)
    if next_header in EXTENSION_HEADERS:
        raise Refused(Reason.EXTENSION_HEADER)


def icmpv6_error(packet: bytes) -> Ipv6 | None:
    """The packet, if it is an ICMPv6 error (RFC 4443 section 2.1) with a whole header."""
    if next_header_of(packet) != PROTO_ICMPV6:
        return None
    try:
        ipv6 = read_ipv6(packet)
    except Refused:
        return None
    payload = ipv6.payload
    return ipv6 if len(payload) >= 8 and payload[0] < ICMPV6_INFORMATIONAL else None
