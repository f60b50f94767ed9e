# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The datapath's maps: created, pinned, re-opened and checked.

A map that is re-opened is compared with what the contract says of it, attribute by attribute:
the kernel would let programs of another layout write into it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from mapxdp.contract import Contract, MapSpec
from mapxdp.datapath import libbpf
from mapxdp.errors import StateError

#: What survives an upgrade. The other maps are made anew at each load.
STATE_MAPS = (
    "slots",
    "flows",
    "pool",
    "eim",
    "flow_index",
    "permissions",
    "hosts",
    "events",
    "counters",
    "instance",
)


class MapSet:
    """Open maps by name. A context manager that closes them; pins keep them alive."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.fds: dict[str, int] = {}

    def __enter__(self) -> MapSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file descriptors."""
        while self.fds:
            os.close(self.fds.popitem()[1])

    def spec(self, name: str) -> MapSpec:
        """What the contract says of a map."""
        return next(spec for spec in self.contract.maps if spec.name == name)

    def create(self, names: Iterable[str]) -> None:
        """Makes new maps of these names; nothing is pinned yet."""
        for name in names:
            self.fds[name] = libbpf.create_map(self.spec(name))

    def open_pinned(self, names: Iterable[str], directory: Path) -> None:
        """Opens pinned maps; StateError for one that is not what the contract says."""
        for name in names:
            self.fds[name] = libbpf.open_pinned(directory / name)
            self._check(name, directory)

    def _check(self, name: str, directory: Path) -> None:
        spec = self.spec(name)
        wanted = libbpf.MapAttributes(
            libbpf.MAP_TYPES[spec.map_type],
            spec.key_size,
            spec.value_size,
            spec.entries,
            spec.flags,
        )
        found = libbpf.map_attributes(self.fds[name])
        if found != wanted:
            raise StateError(
                f"{directory / name} is a map of another layout: {found}, not {wanted}",
                f"mapxdp down {directory.parent.name}, then up again (its port mappings are lost)",
            )

    def value(self, name: str, index: int = 0) -> bytes:
        """An element of an array."""
        value = libbpf.lookup(self.fds[name], _index(index), self.spec(name).value_size)
        assert value is not None  # an array has all its elements
        return value

    def set_value(self, name: str, value: bytes, index: int = 0) -> None:
        """Writes an element of an array."""
        libbpf.update(self.fds[name], _index(index), value)

    def set_values(self, name: str, values: Mapping[int, bytes]) -> None:
        """Writes these elements of an array."""
        for index, value in values.items():
            self.set_value(name, value, index)

    def set_entries(self, name: str, entries: Mapping[bytes, bytes]) -> None:
        """Writes these entries of a map that is no array."""
        for key, value in entries.items():
            libbpf.update(self.fds[name], key, value)


def _index(index: int) -> bytes:
    return index.to_bytes(4, sys.byteorder)
