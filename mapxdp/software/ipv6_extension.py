# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv6 extension headers (RFC 8200 section 4), which packets are taken out of.

RFC 7915 section 5.1 and RFC 2473 section 5.3 skip options, and routes that have come to their
end.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapxdp.reasons import Reason
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    EXTENSION_HEADERS,
    PROTO_DESTINATION,
    PROTO_FRAGMENT,
    PROTO_HOP_BY_HOP,
    PROTO_IPV4,
    PROTO_ROUTING,
    next_header_of,
    read_ipv6,
)

_SKIPPED = frozenset({PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_DESTINATION})
_MOST_HEADERS, _MOST_OCTETS = 8, 256
_IPV6_HEADER = 40
_SEGMENTS_LEFT = 3
_READ = 4  # octets of each header


@dataclass(frozen=True, slots=True)
class Extensions:
    """The headers of a packet between IPv6 and what they carry, as far as they can be followed.

    ``pointer`` is where Segments Left of a route is that has not come to its end.
    """

    octets: int
    next_header: int
    pointer: int | None

    @property
    def can_be_followed(self) -> bool:
        """True if ``next_header`` is what they carry."""
        return self.next_header not in _SKIPPED


def are_in(packet: bytes) -> bool:
    """True if a whole IPv6 header is followed by one of them; a Fragment header is none here."""
    return next_header_of(packet) in EXTENSION_HEADERS


def of(packet: bytes) -> Extensions:
    """Those of a packet whose IPv6 header is whole."""
    octets, next_header, pointer = 0, next_header_of(packet), None
    for _ in range(_MOST_HEADERS):
        header = packet[_IPV6_HEADER + octets :][:_READ]
        if next_header not in _SKIPPED or len(header) < _READ:
            break
        if next_header == PROTO_ROUTING and header[_SEGMENTS_LEFT] and pointer is None:
            pointer = _IPV6_HEADER + octets + _SEGMENTS_LEFT
        octets += 8 * (header[1] + 1)
        next_header = header[0]
    return Extensions(octets, next_header, pointer)


def taken_out(packet: bytes) -> bytes:
    """The packet without them; raises Refused for what cannot be skipped."""
    payload, extensions = read_ipv6(packet).payload, of(packet)
    if (
        extensions.next_header in EXTENSION_HEADERS
        or extensions.octets > _MOST_OCTETS
        or extensions.octets >= len(payload)
    ):
        raise Refused(Reason.EXTENSION_HEADER)
    if extensions.pointer is not None:
        raise Refused(Reason.ROUTING_HEADER)
    carried = payload[extensions.octets :]
    start = packet[:4] + len(carried).to_bytes(2, "big") + bytes([extensions.next_header])
    return start + packet[7:_IPV6_HEADER] + carried


def taken_out_of_tunnel(packet: bytes, from_domain: bool) -> bytes:
    """The same for a packet that may be IPv4 in IPv6.

    What carries no IPv4, or no part of it, is for the kernel; what others than the BR and
    the CEs of FMRs make of their headers is, too.
    """
    try:
        without = taken_out(packet)
    except Refused:
        if from_domain:
            raise
        raise Refused(Reason.NOT_ENCAPSULATED) from None
    carried = (PROTO_IPV4, PROTO_FRAGMENT) if from_domain else (PROTO_IPV4,)
    if next_header_of(without) not in carried:
        raise Refused(Reason.NOT_ENCAPSULATED)
    return without
