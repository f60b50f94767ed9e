# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Choosing among the ports and flows in use, and ending those that were chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

from mapxdp.datapath import control
from mapxdp.datapath.control import Result
from mapxdp.errors import StateError
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.snapshot import Snapshot


class SortKey(StrEnum):
    """The order of sessions."""

    IDLE = "idle"
    AGE = "age"
    PORT = "port"
    HOST = "host"
    LEFT = "left"


_FOREVER = 1 << 32

_KEYS: dict[SortKey, Callable[[Mapping], Any]] = {
    SortKey.IDLE: lambda mapping: mapping.idle,
    SortKey.AGE: lambda mapping: mapping.age,
    SortKey.PORT: lambda mapping: mapping.port,
    SortKey.HOST: lambda mapping: (mapping.host, mapping.host_port),
    SortKey.LEFT: lambda mapping: _FOREVER if mapping.left is None else mapping.left,
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions are meant; None: whatever it is."""

    host: IPv4Address | None = None
    protocol: Protocol | None = None
    port: int | None = None
    kind: MappingKind | None = None
    expired: bool = False
    forwards: bool = True
    sort: SortKey = SortKey.IDLE
    limit: int | None = None

    @property
    def is_everything(self) -> bool:
        """True where nothing narrows it down."""
        return (self.host, self.protocol, self.port, self.kind) == (None, None, None, None)

    def of(self, mappings: Iterable[Mapping]) -> list[Mapping]:
        """The sessions meant, in order."""
        chosen = [mapping for mapping in mappings if self._has(mapping)]
        key = _KEYS[self.sort]
        chosen.sort(key=lambda m: (key(m), m.host, m.protocol.value, m.port, m.peer, m.peer_port))
        return chosen if self.limit is None else chosen[: self.limit]

    def _has(self, mapping: Mapping) -> bool:
        return (
            (self.expired or mapping.is_live)
            and (self.forwards or mapping.kind is not MappingKind.FORWARD)
            and self.host in (None, mapping.host)
            and self.protocol in (None, mapping.protocol)
            and self.port in (None, mapping.port)
            and self.kind in (None, mapping.kind)
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How many sessions were ended; ``changed`` ended by themselves or are others by now."""

    ended: int
    changed: int


def end(now: Snapshot, chosen: Sequence[Mapping]) -> Ended:
    """Ends exactly these sessions. StateError where the datapath takes no commands."""
    require_commands(now)
    if not chosen:
        return Ended(0, 0)
    with control.opened(now.record.name, now.config.domain) as running:
        results = Counter(control.release(running, mapping) for mapping in chosen)
    return Ended(results[Result.DONE], results.total() - results[Result.DONE])


def require_commands(now: Snapshot) -> None:
    """StateError for the software datapath, whose process keeps its table to itself."""
    if now.record.process is not None:
        raise StateError(
            f"{now.record.name} runs the software datapath, which takes no commands",
            'use datapath = "tc", or take it down and up again (its port mappings are lost)',
        )
