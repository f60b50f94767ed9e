# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors as values: what is quoted, the extensions behind it (RFC 4884), the checksum."""

from __future__ import annotations

from dataclasses import dataclass

from mapxdp.reasons import Reason
from mapxdp.software.checksum import checksum, ones_complement_sum
from mapxdp.software.rfc7915_icmp import (
    ICMP_PARAMETER_PROBLEM,
    ICMP_TIME_EXCEEDED,
    ICMP_UNREACHABLE,
    ICMPV6_TIME_EXCEEDED,
    ICMPV6_UNREACHABLE,
    Kind,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import Ipv4, Ipv6, icmpv6_pseudo_header

HEADER = 8
#: The longest errors (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4), without IP header.
LONGEST_ICMP, LONGEST_ICMPV6 = 576 - 20, 1280 - 40
#: RFC 4884 section 4: a quote before extensions is padded to this much.
_LEAST_BEFORE_EXTENSIONS = 128


@dataclass(frozen=True, slots=True)
class LengthField:
    """Where RFC 4884 puts the length of the quote: in octet ``at``, in ``unit`` octets."""

    types: frozenset[int]
    at: int
    unit: int


ICMP_LENGTH = LengthField(
    frozenset({ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM}), 5, 4
)
ICMPV6_LENGTH = LengthField(frozenset({ICMPV6_UNREACHABLE, ICMPV6_TIME_EXCEEDED}), 4, 8)


@dataclass(frozen=True, slots=True)
class IcmpMessage:
    """An ICMP or ICMPv6 message with a sound checksum, unless it was taken for granted."""

    data: bytes

    @property
    def kind(self) -> Kind:
        """Type and code."""
        return Kind(self.data[0], self.data[1])

    @property
    def word(self) -> bytes:
        """The four octets after the checksum."""
        return self.data[4:HEADER]

    def parts(self, field: LengthField) -> tuple[bytes, bytes]:
        """What is quoted, and the extensions."""
        body = self.data[HEADER:]
        length = self.data[field.at] * field.unit if self.data[0] in field.types else 0
        if 0 < length < len(body):
            return body[:length], body[length:]
        return body, b""


def read_icmp(ipv4: Ipv4) -> IcmpMessage:
    """The message, its checksum checked (RFC 5508 REQ-3)."""
    return _sound(ipv4.payload, b"")


def read_icmpv6(ipv6: Ipv6) -> IcmpMessage:
    """The message, its checksum checked."""
    payload = ipv6.payload
    return _sound(payload, icmpv6_pseudo_header(ipv6.source, ipv6.destination, len(payload)))


def _sound(data: bytes, pseudo: bytes) -> IcmpMessage:
    if ones_complement_sum(pseudo + data) != 0xFFFF:
        raise Refused(Reason.ICMP_CHECKSUM)
    return IcmpMessage(data)


def composed(
    kind: Kind, word: bytes, quote: bytes, extensions: bytes, field: LengthField, longest: int
) -> bytes:
    """An error without its checksum. What does not fit is left out: extensions, then quote."""
    if kind.type in field.types and extensions:
        padded = quote.ljust(_LEAST_BEFORE_EXTENSIONS, b"\0")
        padded = padded.ljust(-(-len(padded) // field.unit) * field.unit, b"\0")
        if HEADER + len(padded) + len(extensions) <= longest:
            header = bytearray(bytes(kind) + bytes(2) + word)
            header[field.at] = len(padded) // field.unit
            return bytes(header) + padded + extensions
    return bytes(kind) + bytes(2) + word + quote[: longest - HEADER]


def with_icmp_checksum(message: bytes) -> bytes:
    """The message, its checksum computed."""
    return _with(message, checksum(message))


def with_icmpv6_checksum(message: bytes, source: bytes, destination: bytes) -> bytes:
    """The message as it goes from ``source`` to ``destination``, its checksum computed."""
    pseudo = icmpv6_pseudo_header(source, destination, len(message))
    return _with(message, checksum(pseudo + message))


def _with(message: bytes, field: int) -> bytes:
    return message[:2] + field.to_bytes(2, "big") + message[4:]
