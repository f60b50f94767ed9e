# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reading and writing what the datapath keeps: configuration, counters, port mappings."""

from __future__ import annotations

import hashlib
import mmap
import struct
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import STATE_MAPS, MapSet
from mapxdp.datapath.tables import PROTOCOL_INDEX, DatapathSettings
from mapxdp.model.domain import Domain
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.observed import Count, Counters, Mapping
from mapxdp.reasons import Reason

_OWNER_STATE_SHIFT = 48


def initialise(maps: MapSet, domain: Domain) -> None:
    """Fills new state maps: an empty table with its reserved ports, and what it is."""
    contract = maps.contract
    maps.set_value("bitmap", tables.initial_bitmap(contract, domain))
    slots = contract.number("SLOTS")
    for position in tables.reserved_positions(domain):
        for protocol in range(contract.number("PROTOCOLS")):
            maps.set_value("slots", tables.reserved_slot(contract), protocol * slots + position)
    maps.set_value(
        "instance",
        contract["instance"].pack(
            layout=contract.fingerprint(STATE_MAPS),
            port_set=port_set_fingerprint(domain),
            created_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        ),
    )


def port_set_fingerprint(domain: Domain) -> int:
    """64 bits that change with the IPv4 address or the port set."""
    identity = repr((str(domain.ipv4), domain.port_set))
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")


def write_config(maps: MapSet, settings: DatapathSettings) -> None:
    """Puts a configuration in force in one step, whatever packets are under way.

    The half that no program reads is rewritten first, and only then made the active one.
    """
    contract = maps.contract
    layout = contract["config_buffer"]
    buffer = layout.unpack(maps.value("config"))
    size = contract["config"].size
    halves = [buffer["half"][:size], buffer["half"][size:]]
    following = 1 - (buffer["active"] & 1)
    halves[following] = contract["config"].pack(**tables.config_values(contract, settings))
    for active in (buffer["active"], following):
        maps.set_value("config", layout.pack(active=active, half=b"".join(halves)))


def read_counters(maps: MapSet) -> Counters:
    """The counters of all CPUs together."""
    values = libbpf.lookup_all(maps.fds["counters"], maps.spec("counters"))

    def direction(name: str) -> dict[Reason, Count]:
        first = maps.contract.number(name) * maps.contract.number("REASONS_MAX")
        counts = ((reason, _sum_over_cpus(values[first + reason.number])) for reason in Reason)
        return {reason: count for reason, count in counts if count.packets}

    return Counters(upstream=direction("DIRECTION_46"), downstream=direction("DIRECTION_64"))


def _sum_over_cpus(value: bytes) -> Count:
    packets, octets = map(sum, zip(*struct.iter_unpack("=QQ", value), strict=True))
    return Count(packets, octets)


def read_active_config(maps: MapSet) -> dict[str, Any]:
    """The fields of the ``struct config`` in force."""
    layout, size = maps.contract["config_buffer"], maps.contract["config"].size
    buffer = layout.unpack(maps.value("config"))
    first = (buffer["active"] & 1) * size
    return maps.contract["config"].unpack(buffer["half"][first : first + size])


def read_mappings(maps: MapSet) -> list[Mapping]:
    """The ports in use, expired ones that nobody took over yet included."""
    contract = maps.contract
    config = read_active_config(maps)
    now = TickClock.of_this_kernel().tick_at(time.monotonic_ns(), config["tick_offset"])
    parameters = PortParameters(config["psid_offset"], config["psid_length"])
    ports = list(PortSet(parameters, config["psid"]))
    slots, size = contract.number("SLOTS"), contract["slot"].size
    mapped, combinations = contract.number("SLOT_EIM"), contract.number("FLAG_COMBINATIONS")
    # Once for each of up to 190 000 slots: what can be found out before the loop, is.
    read = contract["slot"].reader("owner", "tick_46", "tick_64", "flags", "peer").unpack_from
    found = []
    with mmap.mmap(maps.fds["slots"], 3 * slots * size, prot=mmap.PROT_READ) as memory:
        for protocol, name in PROTOCOL_INDEX.items():
            index = contract.number(name)
            timeouts = config["timeout"][index * combinations :]
            for position in _taken_positions(maps, index):
                owner, tick_46, tick_64, flags, peer = read(
                    memory, (index * slots + position) * size
                )
                if owner >> _OWNER_STATE_SHIFT == mapped:
                    found.append(
                        Mapping(
                            protocol=protocol,
                            host=_ipv4(owner & 0xFFFFFFFF),
                            host_port=owner >> 32 & 0xFFFF,
                            port=ports[position],
                            peer=_ipv4(peer & 0xFFFFFFFF),
                            peer_port=peer >> 32 & 0xFFFF,
                            idle=max(0, now - max(tick_46, tick_64)),
                            timeout=timeouts[flags],
                        )
                    )
    return found


def _taken_positions(maps: MapSet, index: int) -> Iterator[int]:
    """Positions whose bit is set in the bitmap, reserved ones included."""
    words_each = maps.contract.number("SLOTS") // maps.contract.number("BITMAP_WORD_BITS")
    taken = maps.contract["bitmap"].unpack(maps.value("bitmap"))["taken"]
    for number in range(words_each):
        word = taken[index * words_each + number]
        while word:
            lowest = word & -word
            yield number * 64 + lowest.bit_length() - 1
            word ^= lowest


@lru_cache(maxsize=1 << 16)
def _ipv4(word: int) -> IPv4Address:
    """The address whose four bytes lie in the word in network order."""
    return IPv4Address(word.to_bytes(4, sys.byteorder))
