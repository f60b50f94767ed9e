# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Flows on shared ports: each one endpoint towards one remote (RFC 7857 section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mapxdp.model.timeouts import Protocol
from mapxdp.software.lifecycle import Endpoint, Life

#: Room in the table.
FLOWS = 16384


@dataclass(slots=True)
class Flow:
    """One endpoint's use of a shared port. Its remote is the first and only one of ``life``."""

    protocol: Protocol
    endpoint: Endpoint
    port: int
    life: Life

    @property
    def remote(self) -> Endpoint:
        """The one remote it is for."""
        return self.life.peer


class Flows:
    """The flows there are, found from either end."""

    def __init__(self, room: int = FLOWS) -> None:
        self._room = room
        self._sources: dict[tuple[Protocol, Endpoint, Endpoint], Flow] = {}
        self._claims: dict[tuple[Protocol, int, Endpoint], Flow] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Flow]:
        return iter(tuple(self._sources.values()))

    @property
    def are_full(self) -> bool:
        """Whether there is no room for another."""
        return len(self) >= self._room

    def of(self, protocol: Protocol, endpoint: Endpoint, remote: Endpoint) -> Flow | None:
        """The flow of an endpoint towards a remote."""
        return self._sources.get((protocol, endpoint, remote))

    def claim(self, protocol: Protocol, port: int, remote: Endpoint) -> Flow | None:
        """The one flow on a port towards a remote."""
        return self._claims.get((protocol, port, remote))

    def add(self, flow: Flow) -> None:
        """A new flow; its endpoint has none towards this remote, nor has its port."""
        self._sources[flow.protocol, flow.endpoint, flow.remote] = flow
        self._claims[flow.protocol, flow.port, flow.remote] = flow

    def remove(self, flow: Flow) -> None:
        """The flow is gone."""
        del self._sources[flow.protocol, flow.endpoint, flow.remote]
        del self._claims[flow.protocol, flow.port, flow.remote]
