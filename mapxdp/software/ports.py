# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The ports of a set for one protocol: free, owned, forwarded or shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from mapxdp.model.port_set import PortSet
from mapxdp.observed import MappingKind
from mapxdp.software.lifecycle import Endpoint, Life
from mapxdp.software.permissions import Permissions


@dataclass(slots=True)
class Slot:
    """A port that is one endpoint's: its own, or forwarded to it."""

    kind: MappingKind
    endpoint: Endpoint
    port: int
    life: Life
    permissions: Permissions

    @property
    def is_own(self) -> bool:
        """False for a forward, which never expires."""
        return self.kind is MappingKind.OWN


class Ports:
    """Which port is in which state. ``reserved`` ports never become free."""

    def __init__(self, port_set: PortSet, reserved: Collection[int]) -> None:
        self._order = tuple(port_set)
        self._all = frozenset(self._order)
        self.free = set(self._all.difference(reserved))
        self._slots: dict[int, Slot] = {}
        self._by_endpoint: dict[Endpoint, Slot] = {}
        self._shared: Counter[int] = Counter()

    def slot(self, port: int) -> Slot | None:
        """The slot of a port that is somebody's."""
        return self._slots.get(port)

    def of(self, endpoint: Endpoint) -> Slot | None:
        """The port that is an endpoint's."""
        return self._by_endpoint.get(endpoint)

    def slots(self) -> Iterable[Slot]:
        """Every port that is somebody's."""
        return self._slots.values()

    def own_slots(self) -> Iterator[Slot]:
        """Those which can change hands."""
        return (slot for slot in self._slots.values() if slot.is_own)

    def shared(self) -> Collection[int]:
        """The pool of shared ports."""
        return self._shared.keys()

    def is_shared(self, port: int) -> bool:
        """Whether flows use the port."""
        return port in self._shared

    def is_open(self, port: int) -> bool:
        """Whether a forward may have the port: nobody does, though it may be reserved."""
        return port in self._all and port not in self._slots and port not in self._shared

    def give(self, slot: Slot) -> None:
        """The port becomes somebody's. Of several forwards the first one is used from the LAN."""
        self.free.discard(slot.port)
        self._slots[slot.port] = slot
        self._by_endpoint.setdefault(slot.endpoint, slot)

    def take(self, slot: Slot) -> None:
        """The port is nobody's any more."""
        del self._slots[slot.port]
        del self._by_endpoint[slot.endpoint]
        self.free.add(slot.port)

    def add_flow(self, port: int) -> bool:
        """One flow more on a port; true if it became shared."""
        self.free.discard(port)
        self._shared[port] += 1
        return self._shared[port] == 1

    def remove_flow(self, port: int) -> bool:
        """One flow less on a port; true if it is free now."""
        self._shared[port] -= 1
        if self._shared[port]:
            return False
        del self._shared[port]
        self.free.add(port)
        return True

    def at(self, position: int) -> int:
        """The port at a position of the set."""
        return self._order[position]

    def from_home_on(self, home: int, ports: Iterable[int]) -> list[int]:
        """Ports in the order of their positions, from one of these on and around the end."""
        wanted = set(ports)
        order = chain(self._order[home:], self._order[:home])
        return [port for port in order if port in wanted]
