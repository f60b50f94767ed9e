# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The accelerator's shortcuts (bpf/shortcut.h): how many there are, and ending them all."""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import NamedTuple

from mapxdp.config import Config
from mapxdp.contract import Struct
from mapxdp.datapath import instance, libbpf, observe, state, tables
from mapxdp.datapath.maps import MapSet

#: One for each direction of a connection.
TABLES = ("shortcuts_46", "shortcuts_64")
_UNTIL = struct.Struct("=I")  # the lower half of ``life``
_LONG_OVER = 0


class Shortcut(NamedTuple):
    """One direction of a connection that passes the kernel by. ``port`` is beside ``local``."""

    local: IPv4Address
    port: int
    remote: IPv4Address
    remote_port: int
    translated_port: int
    ifindex: int
    is_confirmed: bool


@contextmanager
def opened(name: str, config: Config, is_accelerated: bool) -> Iterator[MapSet]:
    """The tables of a running instance; StateError where nothing is in force."""
    policy = config.accelerator if is_accelerated else None
    room = tables.FEWEST_SHORTCUTS if policy is None else policy.connections
    with MapSet(tables.contract_for(config.domain.port_set, shortcuts=room)) as maps:
        maps.open_pinned((*TABLES, "config"), instance.pinned(name))
        yield maps


def live(maps: MapSet, table: str) -> list[Shortcut]:
    """The shortcuts of a table whose time is not over."""
    now = observe.tick_now(state.read_active_config(maps)["tick_offset"])
    return [
        _shortcut(maps, fields)
        for fields in _entries(maps, table)
        if _state(maps, fields["life"]) >= maps.contract.number("SHORTCUT_SEEN")
        and _ticks_left(fields["life"], now) >= 0
    ]


def confirmed(maps: MapSet) -> int:
    """Directions of connections that may take a shortcut now."""
    return sum(shortcut.is_confirmed for table in TABLES for shortcut in live(maps, table))


def end_all(maps: MapSet) -> int:
    """Has the kernel see the next packet of every connection; how many shortcuts there were.

    The datapath changes the whole of ``life`` by compare-and-swap: what it was about to prolong, it
    does not.
    """
    ended = confirmed(maps)
    for table in TABLES:
        _end_all_in(maps.fds[table], maps.contract["shortcut"])
    return ended


def end_all_of(name: str, layout: Struct) -> None:
    """The same for a running instance, whatever the size of its tables."""
    for table in TABLES:
        fd = libbpf.open_pinned(instance.pinned(name) / table)
        try:
            _end_all_in(fd, layout)
        finally:
            os.close(fd)


def _end_all_in(fd: int, layout: Struct) -> None:
    found = libbpf.map_attributes(fd)
    offset = next(field.offset for field in layout.fields if field.name == "life")
    with mmap.mmap(fd, found.entries * found.value_size) as memory:
        for at in range(offset, len(memory), found.value_size):
            _UNTIL.pack_into(memory, at, _LONG_OVER)


def _entries(maps: MapSet, table: str) -> Iterator[dict[str, int]]:
    spec = maps.spec(table)
    with mmap.mmap(maps.fds[table], spec.entries * spec.value_size, prot=mmap.PROT_READ) as memory:
        for at in range(0, len(memory), spec.value_size):
            life = memory[at : at + 8]
            if any(life):
                yield maps.contract["shortcut"].unpack(memory[at : at + spec.value_size])


def _shortcut(maps: MapSet, fields: dict[str, int]) -> Shortcut:
    return Shortcut(
        local=_address(fields["ends"]),
        port=fields["ports"] & 0xFFFF,
        remote=_address(fields["ends"] >> maps.contract.number("SHORTCUT_REMOTE_SHIFT")),
        remote_port=fields["ports"] >> maps.contract.number("SHORTCUT_PORT_SHIFT"),
        translated_port=fields["translated_port"],
        ifindex=fields["ifindex"],
        is_confirmed=_state(maps, fields["life"]) == maps.contract.number("SHORTCUT_CONFIRMED"),
    )


def _address(word: int) -> IPv4Address:
    """Whose four bytes lie, in network order, in the lower half of a word."""
    return IPv4Address((word & 0xFFFFFFFF).to_bytes(4, sys.byteorder))


def _state(maps: MapSet, life: int) -> int:
    return life >> maps.contract.number("SHORTCUT_STATE_SHIFT") & 0xFF


def _ticks_left(life: int, now: int) -> int:
    left = (life - now) & 0xFFFFFFFF
    return left - (1 << 32) if left >> 31 else left
