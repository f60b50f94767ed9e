# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a LAN host is told whose packet is refused: ICMP destination unreachable (RFC 792).

Packets from addresses that are no host's got no further than that (RFC 1122 section 3.2.2);
RFC 1812 section 4.3.2.7 says what else is never answered.
"""

from __future__ import annotations

from mapxdp.model.napt44 import Refusal
from mapxdp.reasons import Reason
from mapxdp.software.budget import Budget
from mapxdp.software.icmp_message import with_icmp_checksum
from mapxdp.software.wire import (
    DONT_FRAGMENT,
    FRAGMENT_HEADER,
    MORE_FRAGMENTS,
    PROTO_ICMP,
    PROTO_TCP,
    Ipv4,
)

#: They got no port or flow (RFC 5508 REQ-8): the code is the operator's choice.
_WANT_OF_PORTS = frozenset({Reason.HOST_LIMIT, Reason.FLOWS_FULL, Reason.PORTS_EXHAUSTED})
_FRAGMENTATION_NEEDED, _SOURCE_ROUTE_FAILED = 4, 5
_UNREACHABLE = 3
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_FRAGMENT_OFFSET = 0x1FFF
_TTL = 64


class Refuser:
    """Answers refused packets, a few in each tick. ``source`` is the errors'."""

    def __init__(
        self, source: bytes, code: Refusal, ipv4_mtu: int, budget: Budget, *, translates: bool
    ) -> None:
        self._source = source
        self._codes: dict[Reason, int] = {
            **dict.fromkeys(_WANT_OF_PORTS, int(code)),
            Reason.TOO_BIG: _FRAGMENTATION_NEEDED,
            Reason.SOURCE_ROUTE: _SOURCE_ROUTE_FAILED,
        }
        self._ipv4_mtu = ipv4_mtu
        self._translates = translates
        self._budget = budget
        self.sent = 0

    def answers(self, packet: bytes, reason: Reason) -> tuple[bytes, ...]:
        """What the LAN gets for a packet of it that was dropped for this reason."""
        code = self._codes.get(reason, Refusal.OFF)
        if code == Refusal.OFF or not _may_be_told(packet, reason) or not self._budget.take():
            return ()
        self.sent += 1
        mtu = self._mtu_for(packet) if reason is Reason.TOO_BIG else 0
        return (self._error(packet, bytes([_UNREACHABLE, code]), mtu),)

    def _mtu_for(self, packet: bytes) -> int:
        """A fragment that is translated gets a Fragment header, too (RFC 7915 section 4.1)."""
        is_fragment = int.from_bytes(packet[6:8], "big") & MORE_FRAGMENTS
        return self._ipv4_mtu - (FRAGMENT_HEADER if self._translates and is_fragment else 0)

    def _error(self, packet: bytes, kind: bytes, mtu: int) -> bytes:
        """The MTU of the next hop lies behind two octets of zero (RFC 1191)."""
        return Ipv4(
            tos=0,
            identification=0,
            flags=DONT_FRAGMENT,
            ttl=_TTL,
            protocol=PROTO_ICMP,
            checksum=0,
            source=self._source,
            destination=packet[12:16],
            payload=with_icmp_checksum(kind + bytes(2) + mtu.to_bytes(4, "big") + _quoted(packet)),
        ).with_checksum()


def _may_be_told(packet: bytes, reason: Reason) -> bool:
    """False for ICMP errors, for what is no first fragment or too short to be quoted, and for
    packets that need not have been too big: they may be cut."""
    fragment = int.from_bytes(packet[6:8], "big")
    if fragment & _FRAGMENT_OFFSET or (reason is Reason.TOO_BIG and not fragment & DONT_FRAGMENT):
        return False
    if _quote(packet) > int.from_bytes(packet[2:4], "big"):
        return False
    return packet[9] != PROTO_ICMP or packet[_header(packet)] not in _ICMP_ERRORS


def _header(packet: bytes) -> int:
    return (packet[0] & 0xF) * 4


def _quote(packet: bytes) -> int:
    """Octets that are quoted: the IPv4 header and the transport header, of TCP 20 octets, since
    a checksum that a network card was to fill in lies among them."""
    return _header(packet) + (20 if packet[9] == PROTO_TCP else 8)


def _quoted(packet: bytes) -> bytes:
    return packet[: _quote(packet)]
