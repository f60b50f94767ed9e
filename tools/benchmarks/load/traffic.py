# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Numbered packets through a router, both ways at once, from a process of their own.

They are sent at the far ends of the router's interfaces and looked for at the others: what did not
arrive was lost by the router.
"""

from __future__ import annotations

import multiprocessing
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from mapxdp import netns
from mapxdp.errors import HostError

_ALL_PROTOCOLS, _SO_RCVBUFFORCE = 0x0003, 33
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_QUEUE = 1 << 26
_BURST, _PAUSE = 4, 0.001
#: Longer than a packet may wait in a queue of this machine.
_PATIENCE = 2.0
_LONGEST = 120.0
_FRAME_MAX = 2048
#: A number and its complement: the sum over both is that of zeros, and every checksum stays right.
_NUMBER = struct.Struct(">4sII")
_MAGIC = b"\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Counted:
    """Packets of one direction."""

    sent: int
    lost: int


@dataclass
class Running:
    """``counts`` of upstream and downstream: there when the traffic has ended."""

    counts: tuple[Counted, Counted] | None = None


@contextmanager
def flowing(namespace: str, up: bytes, down: bytes) -> Iterator[Running]:
    """Meanwhile both frames are sent again and again, numbered at their ends, which are zeros."""
    running = Running()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_carry, args=(here, there, namespace, up, down), daemon=True)
    process.start()
    there.close()
    try:
        _answer(here)
        yield running
        here.send("stop")
        first, second = _answer(here)
        running.counts = Counted(*first), Counted(*second)
    finally:
        here.close()
        process.join(_PATIENCE)
        process.kill()
        process.join()


def send(interface: str, frame: bytes) -> None:
    """One frame."""
    with _socket(interface) as made:
        made.send(frame)


def _answer(pipe: Pipe) -> tuple[tuple[int, int], tuple[int, int]]:
    if not pipe.poll(_LONGEST):
        raise HostError("the benchmark's traffic does not end", "report this")
    try:
        answer: tuple[tuple[int, int], tuple[int, int]] = pipe.recv()
    except EOFError as error:
        raise HostError("the benchmark's traffic broke off: see above", "report this") from error
    return answer


class _Way:
    """One direction: where frames are sent, where they arrive, and which have."""

    def __init__(self, frame: bytes, to: socket.socket, at: socket.socket) -> None:
        self._body = frame[: -_NUMBER.size]
        self._to, self._at = to, at
        self.sent = 0
        self._seen: set[int] = set()

    def send(self) -> None:
        number = _NUMBER.pack(_MAGIC, self.sent, self.sent ^ 0xFFFFFFFF)
        self._to.send(self._body + number)
        self.sent += 1

    def look(self) -> None:
        """Takes note of what has arrived."""
        while True:
            try:
                frame = self._at.recv(_FRAME_MAX)
            except BlockingIOError:
                return
            magic, number, complement = _NUMBER.unpack(frame[-_NUMBER.size :])
            if magic == _MAGIC and number ^ complement == 0xFFFFFFFF:
                self._seen.add(number)

    def counted(self) -> tuple[int, int]:
        return self.sent, self.sent - len(self._seen)


def _carry(here: Pipe, pipe: Pipe, namespace: str, up: bytes, down: bytes) -> None:
    """In a process of its own, until it is told to stop, or nobody is there any more."""
    here.close()  # inherited: while it is open, the end of the process that made it is not seen
    with netns.entered(namespace), _socket("lan-end") as lan, _socket("wan-end") as wan:
        ways = _Way(up, lan, wan), _Way(down, wan, lan)
        pipe.send(((0, 0), (0, 0)))
        end = time.monotonic() + _LONGEST
        while not pipe.poll(_PAUSE) and time.monotonic() < end:
            for _ in range(_BURST):
                for way in ways:
                    way.send()
            for way in ways:
                way.look()
        end = time.monotonic() + _PATIENCE
        while any(way.counted()[1] for way in ways) and time.monotonic() < end:
            time.sleep(_PAUSE)
            for way in ways:
                way.look()
        with suppress(BrokenPipeError):
            pipe.send(tuple(way.counted() for way in ways))


def _socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)
    made.bind((interface, _ALL_PROTOCOLS))
    made.setblocking(False)
    return made
