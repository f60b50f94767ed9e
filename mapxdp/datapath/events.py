# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The log of mappings of a running instance, read from its ring buffer.

The buffer holds what nobody has read yet; when it is full, new events are lost and counted
(``LOG_LOST``). It has one reader at a time: two would each see a part.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from mapxdp import record
from mapxdp.contract import Contract
from mapxdp.datapath import instance
from mapxdp.datapath.ringbuf import RingBuffer
from mapxdp.datapath.tables import PROTOCOL_INDEX
from mapxdp.errors import StateError
from mapxdp.model.domain import Domain
from mapxdp.observed import Event, EventKind

_PIN = "events"
_RECORD_HEADER = 8


@dataclass(frozen=True)
class EventSource:
    """The log of one datapath. An ``up`` with another port set begins a new one."""

    contract: Contract
    ring: RingBuffer
    capacity: int
    pin: Path
    pin_number: int

    def drain(self) -> list[Event]:
        """What is there, the oldest first; at most what the buffer holds, nothing waited for."""
        found: list[Event] = []
        while len(found) < self.capacity and (samples := self.ring.read()):
            found += decode(self.contract, samples)
        return found

    def wait(self, seconds: float) -> bool:
        """Waits until there is an event; false if there was none in that time."""
        return self.ring.wait(seconds)

    def is_current(self) -> bool:
        """False once something else, or nothing, is pinned in its place."""
        return _number(self.pin) == self.pin_number


@contextmanager
def opened(name: str, domain: Domain) -> Iterator[EventSource]:
    """The log of the running instance of ``domain``."""
    pin = instance.pinned(name) / _PIN
    number = _number(pin)
    with instance.opened(name, domain) as maps, RingBuffer(maps.fds[_PIN]) as ring:
        smallest = maps.contract["event"].size + _RECORD_HEADER
        yield EventSource(maps.contract, ring, maps.spec(_PIN).entries // smallest, pin, number)


def _number(pin: Path) -> int:
    try:
        return pin.stat().st_ino
    except FileNotFoundError:
        return 0


@contextmanager
def only_reader(name: str) -> Iterator[None]:
    """Keeps others from reading the same log; StateError if another already does."""
    record.DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = record.DIRECTORY / f"{name}.log-reader"
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                f"another process reads the log of {name}: each event is read once",
                "end the other 'mapxdp log', or read where it writes to",
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def decode(contract: Contract, samples: list[bytes]) -> Iterator[Event]:
    """The events in ``samples``; those too short to be one are left out."""
    layout = contract["event"]
    kinds = {contract.number(f"EVENT_{kind.name}"): kind for kind in EventKind}
    protocols = {contract.number(name): protocol for protocol, name in PROTOCOL_INDEX.items()}
    for sample in samples:
        if len(sample) < layout.size:
            continue
        fields = layout.unpack(sample)
        yield Event(
            time_ns=fields["time_ns"],
            kind=kinds.get(fields["kind"]),
            protocol=protocols.get(fields["protocol"]),
            host=IPv4Address(fields["host"]),
            host_port=fields["host_port"],
            port=fields["port"],
            remote=IPv4Address(fields["remote"]) if any(fields["remote"]) else None,
            remote_port=fields["remote_port"],
        )
