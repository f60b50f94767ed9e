# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Packets in pieces: IPv6 fragments (RFC 8200 section 4.5) and IPv4 fragments (RFC 791)."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from mapxdp.software import checksum
from mapxdp.software.datagrams import Part
from mapxdp.software.wire import (
    FRAGMENT_HEADER,
    IPV4_HEADER,
    IPV6_HEADER,
    MORE_FRAGMENTS,
    PROTO_FRAGMENT,
    Ipv4,
    Ipv6,
)

_OFFSET_BITS = 0x3FFF


def pieces(part: Part, limit: int) -> Iterator[Part]:
    """The part cut into parts of at most ``limit`` octets, the last one of any length."""
    if len(part.payload) <= limit:
        yield part
        return
    step = limit & ~7
    start = 0
    while len(part.payload) - start > limit:
        yield Part(part.offset + start, True, part.payload[start : start + step])
        start += step
    yield Part(part.offset + start, part.more, part.payload[start:])


def ipv6_fragments(header: Ipv6, part: Part, identification: int, mtu: int) -> tuple[bytes, ...]:
    """The part behind Fragment headers, in packets of at most ``mtu`` octets."""
    limit = mtu - IPV6_HEADER - FRAGMENT_HEADER
    return tuple(_ipv6_fragment(header, piece, identification) for piece in pieces(part, limit))


def _ipv6_fragment(header: Ipv6, piece: Part, identification: int) -> bytes:
    extension = struct.pack(
        "!BBHI", header.next_header, 0, piece.offset | piece.more, identification
    )
    return dataclasses.replace(
        header, next_header=PROTO_FRAGMENT, payload=extension + piece.payload
    ).to_bytes()


def ipv4_fragments(header: Ipv4, part: Part, identification: int, mtu: int) -> tuple[Ipv4, ...]:
    """The part behind copies of the header, in packets of at most ``mtu`` octets. The header's
    checksum is brought up to date."""
    return tuple(
        _ipv4_fragment(header, piece, identification) for piece in pieces(part, mtu - IPV4_HEADER)
    )


def _ipv4_fragment(header: Ipv4, piece: Part, identification: int) -> Ipv4:
    flags = header.flags & ~_OFFSET_BITS | MORE_FRAGMENTS * piece.more | piece.offset // 8
    changed = dataclasses.replace(
        header, flags=flags, identification=identification, payload=piece.payload
    )
    field = checksum.updated(header.checksum, header.header(0), changed.header(0))
    return dataclasses.replace(changed, checksum=field)
