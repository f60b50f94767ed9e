# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fragmented datagrams: what their fragments are, and which are kept until all have come.

Fragments that come after their first follow it. Others are kept, within bounds of room and time
(RFC 4787 REQ-14); overlapping ones are the end of their datagram (RFC 8200 section 4.5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mapxdp.reasons import Reason
from mapxdp.software.verdict import Refused

#: Ticks that a fragmented datagram is remembered for, how many are, how many of these are kept,
#: and fragments of one.
REMEMBERED = 15
DATAGRAMS = 4096
BUFFERS = 64
FRAGMENTS_MAX = 64
#: What can follow an IPv4 header; and an IPv6 header, for what is a packet in itself.
IPV4_PAYLOAD_MAX, IPV6_PAYLOAD_MAX = 65535 - 20, 65535

Key = Hashable
#: What the first of a kept datagram's fragments is known by: its headers.
Head = TypeVar("Head")


@dataclass(frozen=True, slots=True)
class Part:
    """A fragment's payload, and where it lies in its datagram."""

    offset: int
    more: bool
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + len(self.payload)

    def require_possible(self, longest: int) -> None:
        """Raises Refused for a part of no datagram of at most ``longest`` octets."""
        length = len(self.payload)
        if not length or (self.more and length % 8) or self.end > longest:
            raise Refused(Reason.FRAGMENT_INVALID)


@dataclass(slots=True)
class _Kept(Generic[Head]):
    since: int
    parts: list[Part] = field(default_factory=list)
    head: Head | None = None
    total: int | None = None

    def add(self, part: Part, head: Head) -> None:
        """Raises Refused for what contradicts the others; _Overlap ends them all."""
        self._refuse_contradiction(part)
        others = ((other.offset, other.end) for other in self.parts)
        if (part.offset, part.end) in others:
            raise Refused(Reason.FRAGMENT_INVALID)
        if any(part.offset < other.end and other.offset < part.end for other in self.parts):
            raise _Overlap
        if len(self.parts) == FRAGMENTS_MAX:
            raise Refused(Reason.FRAGMENT_INVALID)
        self.parts.append(part)
        if not part.more:
            self.total = part.end
        if part.offset == 0:
            self.head = head

    def _refuse_contradiction(self, part: Part) -> None:
        if part.more:
            wrong = self.total is not None and part.end >= self.total
        elif self.total is None:
            wrong = any(other.end > part.end for other in self.parts)
        else:
            wrong = part.end != self.total
        if wrong:
            raise Refused(Reason.FRAGMENT_INVALID)

    @property
    def is_complete(self) -> bool:
        return sum(len(part.payload) for part in self.parts) == self.total

    def payload(self) -> bytes:
        return b"".join(p.payload for p in sorted(self.parts, key=lambda part: part.offset))


class _Overlap(Exception):
    pass


@dataclass(slots=True)
class _Following:
    since: int
    given: object


@dataclass(slots=True)
class _Overlapped:
    since: int


_Known = _Following | _Kept[object] | _Overlapped


class Datagrams:
    """Of both directions. ``events`` counts what happened, for each direction."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._known: dict[Key, _Known] = {}  # in the order they were last asked for
        self._buffers: list[Key | None] = [None] * BUFFERS
        self.events: dict[str, Counter[Reason]] = {"upstream": Counter(), "downstream": Counter()}

    def forget_expired(self, key: Key, direction: str) -> None:
        """Whatever becomes of the next fragment: those before it wait no longer."""
        self._find(key, direction)

    def followed(self, key: Key, direction: str) -> object | None:
        """What the first fragment was given, if the others follow it. Raises Refused where
        fragments have overlapped."""
        known = self._find(key, direction)
        if isinstance(known, _Overlapped):
            raise Refused(Reason.FRAGMENT_INVALID)
        return known.given if isinstance(known, _Following) else None

    def is_kept(self, key: Key, direction: str) -> bool:
        """Whether fragments wait for others."""
        return isinstance(self._find(key, direction), _Kept)

    def follow(self, key: Key, given: object) -> None:
        """The first fragment has crossed: others with its key get what it was given."""
        self._remember(key, _Following(self._clock(), given))

    def keep(self, key: Key, part: Part, head: object, direction: str) -> tuple[object, bytes]:
        """The datagram, if this fragment was the last to come: the head of its first fragment,
        and its payload. Raises Refused with FRAGMENT_KEPT if it was not, or with what is wrong.
        """
        known = self._find(key, direction)
        kept = known if isinstance(known, _Kept) else self._begin(key, direction)
        try:
            kept.add(part, head)
        except _Overlap:
            self._forget(key)
            self._remember(key, _Overlapped(self._clock()))
            raise Refused(Reason.FRAGMENT_INVALID) from None
        if not kept.is_complete:
            raise Refused(Reason.FRAGMENT_KEPT)
        self._forget(key)
        self.events[direction][Reason.DATAGRAM_REASSEMBLED] += 1
        assert kept.head is not None  # all octets are there
        return kept.head, kept.payload()

    def require_room(self, direction: str) -> None:
        """Raises Refused where not even a packet can be taken apart."""
        self._free_buffer(direction)

    def _find(self, key: Key, direction: str) -> _Known | None:
        known = self._known.get(key)
        if known is None:
            return None
        if self._clock() - known.since <= REMEMBERED:
            self._remember(key, known)
            return known
        if isinstance(known, _Kept):
            self.events[direction][Reason.FRAGMENTS_EXPIRED] += 1
        self._forget(key)
        return None

    def _begin(self, key: Key, direction: str) -> _Kept[object]:
        number = self._free_buffer(direction)
        kept: _Kept[object] = _Kept(self._clock())
        self._remember(key, kept)
        self._buffers[number] = key
        return kept

    def _remember(self, key: Key, known: _Known) -> None:
        """The last one to be forgotten where there are too many."""
        self._known.pop(key, None)
        if len(self._known) == DATAGRAMS:
            self._forget(next(iter(self._known)))
        self._known[key] = known

    def _free_buffer(self, direction: str) -> int:
        for number, key in enumerate(self._buffers):
            if key is None:
                return number
            if self._clock() - self._known[key].since > REMEMBERED:
                self.events[direction][Reason.FRAGMENTS_EXPIRED] += 1
                self._forget(key)
                return number
        raise Refused(Reason.FRAGMENTS_FULL)

    def _forget(self, key: Key) -> None:
        del self._known[key]
        if key in self._buffers:
            self._buffers[self._buffers.index(key)] = None
