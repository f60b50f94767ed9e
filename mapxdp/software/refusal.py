# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a host is told whose packet got no port: an ICMP error (RFC 5508 REQ-8).

Packets from addresses that are no host's got no further than that (RFC 1122 section 3.2.2).
"""

from __future__ import annotations

from collections.abc import Callable

from mapxdp.model.napt44 import Refusal
from mapxdp.reasons import Reason
from mapxdp.software.checksum import checksum
from mapxdp.software.wire import DONT_FRAGMENT, PROTO_ICMP, Ipv4

REFUSALS_PER_TICK = 10
_TOLD = frozenset({Reason.HOST_LIMIT, Reason.FLOWS_FULL, Reason.PORTS_EXHAUSTED})
_UNREACHABLE = 3
_PROTO_TCP = 6
_TTL = 64


class Refuser:
    """Answers refused packets, a few in each tick. ``own`` is the CE's IPv4 address."""

    def __init__(self, own: bytes, code: Refusal, clock: Callable[[], int]) -> None:
        self._own = own
        self._code = code
        self._clock = clock
        self._tick = clock()
        self._sent_in_tick = 0
        self.sent = 0

    def answers(self, packet: bytes, reason: Reason) -> tuple[bytes, ...]:
        """What the LAN gets for a packet of it that was dropped for this reason."""
        if self._code is Refusal.OFF or reason not in _TOLD:
            return ()
        if not self._may_send():
            return ()
        self.sent += 1
        return (self._error(packet),)

    def _may_send(self) -> bool:
        now = self._clock()
        if now != self._tick:
            self._tick, self._sent_in_tick = now, 0
        self._sent_in_tick += 1
        return self._sent_in_tick <= REFUSALS_PER_TICK

    def _error(self, packet: bytes) -> bytes:
        return Ipv4(
            tos=0,
            identification=0,
            flags=DONT_FRAGMENT,
            ttl=_TTL,
            protocol=PROTO_ICMP,
            checksum=0,
            source=self._own,
            destination=packet[12:16],
            payload=_with_checksum(bytes([_UNREACHABLE, self._code]), bytes(4) + _quoted(packet)),
        ).with_checksum()


def _quoted(packet: bytes) -> bytes:
    """The header, without options as in every packet here, and the transport header: of TCP 20
    octets, since a checksum that a network card was to fill in lies among them."""
    return packet[: 20 + (20 if packet[9] == _PROTO_TCP else 8)]


def _with_checksum(start: bytes, rest: bytes) -> bytes:
    return start + checksum(start + bytes(2) + rest).to_bytes(2, "big") + rest
