# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors in the other family (RFC 7915 sections 4.2 and 5.2): types, codes, MTU, pointer."""

from __future__ import annotations

from typing import NamedTuple

from mapxdp.model.mtu import MINIMUM_IPV6_MTU
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Refused

ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM = 3, 11, 12
ICMPV6_UNREACHABLE, ICMPV6_TOO_BIG, ICMPV6_TIME_EXCEEDED, ICMPV6_PARAMETER_PROBLEM = 1, 2, 3, 4
FRAGMENTATION_NEEDED = 4
#: The source address failed a policy, or the route to the destination is one to reject.
ICMPV6_POLICY, ICMPV6_REJECT_ROUTE = 5, 6

_HEADERS_DIFFER_BY = 20
_FRAGMENT_HEADER = 8
#: RFC 1191 section 7.
_PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492)


class Kind(NamedTuple):
    """Type and code of an ICMP or ICMPv6 message."""

    type: int
    code: int


_NO_ROUTE = Kind(ICMPV6_UNREACHABLE, 0)
_PROHIBITED = Kind(ICMPV6_UNREACHABLE, 1)
_POINTER_46 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, **dict.fromkeys(range(12, 16), 8)}
_POINTER_46 |= dict.fromkeys(range(16, 20), 24)
_POINTER_64 = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8, **dict.fromkeys(range(8, 24), 12)}
_POINTER_64 |= dict.fromkeys(range(24, 40), 16)

_KIND_46 = {
    **{Kind(ICMP_UNREACHABLE, code): _NO_ROUTE for code in (0, 1, 5, 6, 7, 8, 11, 12)},
    **{Kind(ICMP_UNREACHABLE, code): _PROHIBITED for code in (9, 10, 13, 15)},
    Kind(ICMP_UNREACHABLE, 2): Kind(ICMPV6_PARAMETER_PROBLEM, 1),
    Kind(ICMP_UNREACHABLE, 3): Kind(ICMPV6_UNREACHABLE, 4),
    Kind(ICMP_UNREACHABLE, FRAGMENTATION_NEEDED): Kind(ICMPV6_TOO_BIG, 0),
    Kind(ICMP_TIME_EXCEEDED, 0): Kind(ICMPV6_TIME_EXCEEDED, 0),
    Kind(ICMP_TIME_EXCEEDED, 1): Kind(ICMPV6_TIME_EXCEEDED, 1),
    Kind(ICMP_PARAMETER_PROBLEM, 0): Kind(ICMPV6_PARAMETER_PROBLEM, 0),
    Kind(ICMP_PARAMETER_PROBLEM, 2): Kind(ICMPV6_PARAMETER_PROBLEM, 0),
}
_KIND_64 = {
    **{Kind(ICMPV6_UNREACHABLE, code): Kind(ICMP_UNREACHABLE, 1) for code in (0, 2, 3)},
    Kind(ICMPV6_UNREACHABLE, 1): Kind(ICMP_UNREACHABLE, 10),
    Kind(ICMPV6_UNREACHABLE, 4): Kind(ICMP_UNREACHABLE, 3),
    Kind(ICMPV6_TOO_BIG, 0): Kind(ICMP_UNREACHABLE, FRAGMENTATION_NEEDED),
    Kind(ICMPV6_TIME_EXCEEDED, 0): Kind(ICMP_TIME_EXCEEDED, 0),
    Kind(ICMPV6_TIME_EXCEEDED, 1): Kind(ICMP_TIME_EXCEEDED, 1),
    Kind(ICMPV6_PARAMETER_PROBLEM, 0): Kind(ICMP_PARAMETER_PROBLEM, 0),
    Kind(ICMPV6_PARAMETER_PROBLEM, 1): Kind(ICMP_UNREACHABLE, 2),
}
#: The next header of a packet, which a "protocol unreachable" complains of.
_NEXT_HEADER_POINTER = 6


def icmpv6_kind(kind: Kind) -> Kind:
    """The ICMPv6 error for an ICMP one; raises Refused where there is none."""
    return _translated(_KIND_46, kind)


def icmp_kind(kind: Kind) -> Kind:
    """The ICMP error for an ICMPv6 one; raises Refused where there is none."""
    return _translated(_KIND_64, kind)


def _translated(table: dict[Kind, Kind], kind: Kind) -> Kind:
    if kind not in table:
        raise Refused(Reason.ICMP_NOT_CARRIED)
    return table[kind]


def pointer_46(pointer: int) -> int:
    """Figure 3; raises Refused for a field that IPv6 has not."""
    return _pointed(_POINTER_46, pointer)


def pointer_64(pointer: int) -> int:
    """Figure 6; raises Refused for a field that IPv4 has not."""
    return _pointed(_POINTER_64, pointer)


def _pointed(table: dict[int, int], pointer: int) -> int:
    if pointer not in table:
        raise Refused(Reason.ICMP_NOT_CARRIED)
    return table[pointer]


def too_big_mtu(reported: int, quoted_length: int, ipv6_mtu: int, ipv4_mtu: int) -> int:
    """The MTU of a Packet Too Big; ``quoted_length`` is the Total Length of the packet it is about.

    ``ipv6_mtu`` and ``ipv4_mtu`` are those of the next hops. Routers older than RFC 1191 report 0.
    """
    if reported == 0:
        reported = next(
            (plateau for plateau in _PLATEAUS if MINIMUM_IPV6_MTU <= plateau < quoted_length),
            0,
        )
    grown = min(reported + _HEADERS_DIFFER_BY, ipv6_mtu, ipv4_mtu + _HEADERS_DIFFER_BY)
    return max(MINIMUM_IPV6_MTU, grown)


def fragmentation_needed_mtu(
    reported: int, ipv4_mtu: int, ipv6_mtu: int, *, fragmented: bool
) -> int:
    """The MTU of a "fragmentation needed"; ``fragmented``: the packet had a Fragment header."""
    less = _HEADERS_DIFFER_BY + (_FRAGMENT_HEADER if fragmented else 0)
    return max(0, min(reported - less, ipv4_mtu, ipv6_mtu - less))


def word_46(kind: Kind, word: bytes, quoted_length: int, ipv6_mtu: int) -> bytes:
    """The four octets after the checksum, for the ICMPv6 error that ``kind`` becomes.

    Without RFC 4884's length, which depends on what is quoted.
    """
    target = icmpv6_kind(kind)
    if target == Kind(ICMPV6_TOO_BIG, 0):
        reported = int.from_bytes(word[2:], "big")
        return too_big_mtu(reported, quoted_length, ipv6_mtu, ipv6_mtu).to_bytes(4, "big")
    if kind.type == ICMP_PARAMETER_PROBLEM:
        return pointer_46(word[0]).to_bytes(4, "big")
    if target.type == ICMPV6_PARAMETER_PROBLEM:
        return _NEXT_HEADER_POINTER.to_bytes(4, "big")
    return bytes(4)


def word_64(kind: Kind, word: bytes, ipv6_mtu: int, *, fragmented: bool) -> bytes:
    """The four octets after the checksum, for the ICMP error that ``kind`` becomes."""
    number = int.from_bytes(word, "big")
    if kind == Kind(ICMPV6_TOO_BIG, 0):
        mtu = fragmentation_needed_mtu(number, ipv6_mtu, ipv6_mtu, fragmented=fragmented)
        return bytes(2) + mtu.to_bytes(2, "big")
    if kind == Kind(ICMPV6_PARAMETER_PROBLEM, 0):
        return bytes([pointer_64(number), 0, 0, 0])
    return bytes(4)
