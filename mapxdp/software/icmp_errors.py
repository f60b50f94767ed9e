# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors in the other family (RFC 7915 sections 4.2, 4.3, 5.2, 5.3), or through a tunnel.

Who sent the quoted packet and with which port is for the caller to find out.
"""

from __future__ import annotations

import random
from dataclasses import replace

from mapxdp.model.mtu import ENCAPSULATION_OVERHEAD, MINIMUM_IPV6_MTU
from mapxdp.reasons import Reason
from mapxdp.software import checksum
from mapxdp.software.icmp_message import (
    HEADER,
    ICMP_LENGTH,
    ICMPV6_LENGTH,
    LONGEST_ICMP,
    LONGEST_ICMPV6,
    IcmpMessage,
    composed,
    with_icmp_checksum,
    with_icmpv6_checksum,
)
from mapxdp.software.quote import Quote4, Quote6, read_quote4
from mapxdp.software.rfc7915_icmp import (
    FRAGMENTATION_NEEDED,
    ICMP_PARAMETER_PROBLEM,
    ICMP_TIME_EXCEEDED,
    ICMP_UNREACHABLE,
    ICMPV6_PARAMETER_PROBLEM,
    ICMPV6_TIME_EXCEEDED,
    ICMPV6_TOO_BIG,
    ICMPV6_UNREACHABLE,
    Kind,
    icmp_kind,
    icmpv6_kind,
    word_46,
    word_64,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    DONT_FRAGMENT,
    PROTO_DESTINATION,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IPV4,
    Ipv4,
    Ipv6,
)

_ERRORS = frozenset({ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM})
_TTL = 64
_IPV6 = 40
_LIMIT_OPTION, _LIMIT_LENGTH = 4, 8
#: Of the limit itself: behind the IPv6 header and the header and option it lies in.
_LIMIT_POINTER = _IPV6 + 4


def require_error(kind: Kind) -> None:
    """Raises Refused for ICMP that is no error NAPT44 knows (RFC 5508 REQ-10, 11)."""
    if kind.type not in _ERRORS:
        raise Refused(Reason.ICMP_NOT_CARRIED)


def to_icmpv6(
    message: IcmpMessage,
    quote: Quote4,
    quoted_ends: tuple[bytes, bytes],
    header: Ipv6,
    ipv6_mtu: int,
) -> bytes:
    """Section 4: the ICMPv6 error. ``header`` is that of the packet it comes in, which is made;
    ``quoted_ends`` are the quoted packet's IPv6 addresses."""
    word = word_46(message.kind, message.word, quote.length, ipv6_mtu)
    _, extensions = message.parts(ICMP_LENGTH)
    made = composed(
        icmpv6_kind(message.kind),
        word,
        quote.to_ipv6(*quoted_ends),
        extensions,
        ICMPV6_LENGTH,
        LONGEST_ICMPV6,
    )
    payload = with_icmpv6_checksum(made, header.source, header.destination)
    return replace(header, next_header=PROTO_ICMPV6, payload=payload).to_bytes()


def to_icmp(
    message: IcmpMessage,
    quote: Quote6,
    quoted_ends: tuple[bytes, bytes],
    header: Ipv4,
    ipv6_mtu: int,
) -> bytes:
    """Section 5: the ICMP error, as above."""
    word = word_64(message.kind, message.word, ipv6_mtu, fragmented=quote.is_fragment)
    _, extensions = message.parts(ICMPV6_LENGTH)
    made = composed(
        icmp_kind(message.kind),
        word,
        quote.to_ipv4(*quoted_ends),
        extensions,
        ICMP_LENGTH,
        LONGEST_ICMP,
    )
    return _ipv4(header, made)


def renumbered(ipv4: Ipv4, quote: Quote4, source: bytes, destination: bytes, tos: int) -> Ipv4:
    """The same error between other addresses, about the same packet seen from there."""
    _, extensions = IcmpMessage(ipv4.payload).parts(ICMP_LENGTH)
    start, word = ipv4.payload[:2], ipv4.payload[4:HEADER]
    payload = with_icmp_checksum(start + bytes(2) + word + quote.to_bytes() + extensions)
    changed = replace(ipv4, tos=tos, source=source, destination=destination, payload=payload)
    field = checksum.updated(ipv4.checksum, ipv4.header(0), changed.header(0))
    return replace(changed, checksum=field)


def about_tunnel(
    message: IcmpMessage, quote: Quote4, source: bytes, destination: bytes, ipv6_mtu: int
) -> bytes:
    """RFC 2473 section 8: the error for the sender of the packet inside the tunnel."""
    word = bytes(4)
    code = 1
    if message.kind == Kind(ICMPV6_TOO_BIG, 0):
        mtu = min(int.from_bytes(message.word, "big"), ipv6_mtu) - ENCAPSULATION_OVERHEAD
        word, code = bytes(2) + mtu.to_bytes(2, "big"), FRAGMENTATION_NEEDED
    made = composed(
        Kind(ICMP_UNREACHABLE, code), word, quote.to_bytes(), b"", ICMP_LENGTH, LONGEST_ICMP
    )
    header = Ipv4(0, random.getrandbits(16), 0, _TTL, PROTO_ICMP, 0, source, destination, b"")
    return _ipv4(header, made)


def require_tunnel_error(kind: Kind) -> None:
    """Raises Refused for what says nothing about the packet inside (RFC 2473 section 8.1)."""
    told = kind.type == ICMPV6_UNREACHABLE or kind in (
        Kind(ICMPV6_TOO_BIG, 0),
        Kind(ICMPV6_TIME_EXCEEDED, 0),
        Kind(ICMPV6_PARAMETER_PROBLEM, 0),
    )
    if not told:
        raise Refused(Reason.ICMP_NOT_CARRIED)


def require_relayed(message: IcmpMessage, quote: Quote4, *, about_limit: bool) -> None:
    """Raises Refused for an error that is no matter of the packet inside (section 8.1)."""
    kind = message.kind
    if kind.type == ICMPV6_PARAMETER_PROBLEM and not about_limit:
        raise Refused(Reason.ICMP_NOT_CARRIED)
    if kind.type == ICMPV6_TOO_BIG:
        mtu = int.from_bytes(message.word, "big")
        if mtu < MINIMUM_IPV6_MTU or not quote.ipv4.flags & DONT_FRAGMENT:
            raise Refused(Reason.ICMP_NOT_CARRIED)


def read_tunnel_quote(message: IcmpMessage, own: bytes) -> tuple[bytes, Quote4, bool]:
    """The far end of the quoted tunnel packet, which ``own`` has to have sent; the packet inside;
    and whether the error is about the Tunnel Encapsulation Limit before that."""
    quote, _ = message.parts(ICMPV6_LENGTH)
    if len(quote) < _IPV6 or quote[0] >> 4 != 6 or quote[8:24] != own:
        raise Refused(Reason.QUOTE_INVALID)
    far_end = quote[24:40]
    if quote[6] == PROTO_IPV4:
        return far_end, read_quote4(quote[_IPV6:]), False
    limit = quote[_IPV6 : _IPV6 + _LIMIT_LENGTH]
    if quote[6] != PROTO_DESTINATION or limit[:3] != bytes([PROTO_IPV4, 0, _LIMIT_OPTION]):
        raise Refused(Reason.QUOTE_INVALID)
    inner = read_quote4(quote[_IPV6 + _LIMIT_LENGTH :])
    return far_end, inner, int.from_bytes(message.word, "big") == _LIMIT_POINTER


def _ipv4(header: Ipv4, message: bytes) -> bytes:
    return replace(header, payload=with_icmp_checksum(message)).with_checksum()
