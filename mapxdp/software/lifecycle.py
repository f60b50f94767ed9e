# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the packets of a mapping or flow say about it, and how long it lives for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mapxdp.model.timeouts import (
    MappingFacts,
    Protocol,
    TimeoutClass,
    Timeouts,
    timeout_class,
    timeout_of,
    under_pressure,
)
from mapxdp.software.transport import TcpFlags

#: Nobody else gets an expired port, or place on one, until this much later.
GRACE = 1


class Endpoint(NamedTuple):
    """An IPv4 address (4 octets) and a port or ICMP identifier."""

    address: bytes
    port: int


#: The first remote of a forward that has sent nothing yet.
NOBODY = Endpoint(bytes(4), 0)


class LanPacket(NamedTuple):
    """What NAPT44 sees of a packet from the LAN."""

    protocol: Protocol
    endpoint: Endpoint
    remote: Endpoint
    flags: TcpFlags
    is_echo_reply: bool = False

    @property
    def may_begin(self) -> bool:
        """A reset begins no mapping, nor does the answer to a ping that nobody sent."""
        return not self.flags & TcpFlags.RST and not self.is_echo_reply

    @property
    def opens_tcp(self) -> bool:
        """SYN without ACK."""
        return self.flags & (TcpFlags.SYN | TcpFlags.ACK) == TcpFlags.SYN


@dataclass(slots=True)
class Life:
    """What is known of a mapping; only its first remote, ``peer``, is believed."""

    peer: Endpoint
    which: TimeoutClass
    created: int
    touched: int
    fin_from_lan: bool = False
    fin_from_wan: bool = False
    reset: bool = False
    heard: bool = False
    confirmed: bool = False
    several_peers: bool = False

    @classmethod
    def begun_by(cls, packet: LanPacket, now: int) -> Life:
        """That of a mapping which begins with a packet."""
        return cls(
            packet.remote,
            timeout_class(packet.protocol, packet.remote.port),
            created=now,
            touched=now,
            fin_from_lan=bool(packet.flags & TcpFlags.FIN),
            reset=bool(packet.flags & TcpFlags.RST),
            confirmed=not packet.flags & TcpFlags.SYN,
        )

    @property
    def closing(self) -> bool:
        """Reset, or FIN from both ends."""
        return self.reset or (self.fin_from_lan and self.fin_from_wan)

    @property
    def answered(self) -> bool:
        """The remote has answered, and the LAN has sent more than a SYN."""
        return self.heard and self.confirmed

    @property
    def facts(self) -> MappingFacts:
        """What decides the timeout."""
        return MappingFacts(self.answered, self.closing, self.several_peers)

    def note_from_lan(self, packet: LanPacket, now: int) -> None:
        """A packet of the owner: it is alive."""
        self.touched = now
        if packet.opens_tcp and self.closing and not self.several_peers:
            self.peer = packet.remote
            self.fin_from_lan = bool(packet.flags & TcpFlags.FIN)
            self.reset = bool(packet.flags & TcpFlags.RST)
            self.fin_from_wan = self.heard = self.confirmed = False
            return
        if packet.remote != self.peer:
            self.several_peers = True
        self.reset = bool(packet.flags & TcpFlags.RST)
        self.fin_from_lan |= bool(packet.flags & TcpFlags.FIN)
        self.confirmed |= not packet.flags & TcpFlags.SYN

    def note_from_wan(self, remote: Endpoint, flags: TcpFlags, now: int) -> None:
        """A packet that was let in: of the first remote, and a change, it counts.

        That a reset was void, only the LAN can say.
        """
        if remote != self.peer:
            return
        before = (self.heard, self.fin_from_wan, self.reset)
        if flags & TcpFlags.RST:
            self.reset = True
        else:
            self.heard = True
            self.fin_from_wan |= bool(flags & TcpFlags.FIN)
        if (self.heard, self.fin_from_wan, self.reset) != before:
            self.touched = now


class Lifetimes:
    """When a life is over, in the unit of the clock."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._normal = timeouts
        self._early = under_pressure(timeouts)

    def timeout(self, life: Life) -> int:
        """How long it may be silent."""
        return timeout_of(self._normal, life.which, life.facts)

    def is_alive(self, life: Life, now: int) -> bool:
        """Whether packets from the WAN get in."""
        return now - life.touched <= self.timeout(life)

    def is_over(self, life: Life, now: int) -> bool:
        """Whether somebody else may have its place."""
        return now - life.touched > self.timeout(life) + GRACE

    def is_over_early(self, life: Life, now: int) -> bool:
        """The same where no other place is left."""
        early = timeout_of(self._early, life.which, life.facts)
        return now - life.touched > early + GRACE
