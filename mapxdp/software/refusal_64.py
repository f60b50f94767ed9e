# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the sender of a packet from the domain is told that translation refuses: an ICMPv6 error
(RFC 4443; RFC 7915 section 5.1, RFC 7599 section 8.2)."""

from __future__ import annotations

from mapxdp.reasons import Reason
from mapxdp.software import ipv6_extension
from mapxdp.software.budget import Budget
from mapxdp.software.icmp_message import HEADER, LONGEST_ICMPV6, with_icmpv6_checksum
from mapxdp.software.rfc7915_icmp import (
    ICMPV6_PARAMETER_PROBLEM,
    ICMPV6_POLICY,
    ICMPV6_UNREACHABLE,
    Kind,
)
from mapxdp.software.wire import ICMPV6_INFORMATIONAL, IPV6_HEADER, PROTO_ICMPV6, Ipv6

_SOURCE_POLICY = Kind(ICMPV6_UNREACHABLE, ICMPV6_POLICY)
_ERRONEOUS_FIELD = Kind(ICMPV6_PARAMETER_PROBLEM, 0)
_HOP_LIMIT = 64


class Refuser64:
    """Answers refused packets."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.sent = 0

    def answers(self, packet: bytes, reason: Reason) -> tuple[bytes, ...]:
        """What the domain gets for a packet of it that was dropped for this reason."""
        if reason is Reason.ROUTING_HEADER:
            kind, pointer = _ERRONEOUS_FIELD, ipv6_extension.of(packet).pointer
        elif reason is Reason.SOURCE_INCONSISTENT:
            kind, pointer = _SOURCE_POLICY, None
            packet = _without_extensions(packet)
        else:
            return ()
        if not _may_be_told(packet) or not self._budget.take():
            return ()
        self.sent += 1
        return (self._error(packet, bytes(kind), pointer or 0),)

    def _error(self, packet: bytes, kind: bytes, pointer: int) -> bytes:
        """From the address that the packet was for (RFC 4443 section 2.2)."""
        length = IPV6_HEADER + int.from_bytes(packet[4:6], "big")
        quote = packet[:length][: LONGEST_ICMPV6 - HEADER]
        rest = pointer.to_bytes(4, "big") + quote
        source, destination = packet[24:40], packet[8:24]
        message = with_icmpv6_checksum(kind + bytes(2) + rest, source, destination)
        return Ipv6(
            traffic_class=0,
            hop_limit=_HOP_LIMIT,
            next_header=PROTO_ICMPV6,
            source=source,
            destination=destination,
            payload=message,
        ).to_bytes()


def _without_extensions(packet: bytes) -> bytes:
    """As the packet is when it is found out where it comes from."""
    return ipv6_extension.taken_out(packet) if ipv6_extension.are_in(packet) else packet


def _may_be_told(packet: bytes) -> bool:
    """False for ICMPv6 errors (RFC 4443 section 2.4 e), and where it cannot be seen."""
    extensions = ipv6_extension.of(packet)
    if extensions.next_header != PROTO_ICMPV6:
        return extensions.can_be_followed
    carried = packet[IPV6_HEADER + extensions.octets :]
    return len(carried) > 0 and carried[0] >= ICMPV6_INFORMATIONAL
