# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reading what the datapath keeps: counters, ports and flows in use, the pool, the LAN hosts."""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any, TypeVar

from mapxdp.contract import Struct
from mapxdp.datapath import libbpf, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import PROTOCOL_INDEX
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.observed import (
    Count,
    Counters,
    HostUse,
    Mapping,
    MappingKind,
    PoolState,
    PortUse,
)
from mapxdp.reasons import Reason

_Decoded = TypeVar("_Decoded")
_CODES = {4: "I", 8: "Q"}
_KINDS = {
    "SLOT_EIM": MappingKind.OWN,
    "SLOT_STATIC": MappingKind.FORWARD,
    "SLOT_FLOW": MappingKind.FLOW,
}


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


def read_pool(maps: MapSet) -> PoolState:
    """The datapath's own count of ports and flows."""
    pool = maps.contract["pool"].unpack(maps.value("pool"))
    return PoolState(
        ports={
            protocol: PortUse(
                used=pool["used"][index],
                shared=pool["shared_count"][index],
                high_water=pool["high_water"][index],
            )
            for protocol, index in _protocol_indexes(maps)
        },
        flows=pool["flow_count"],
        flow_high_water=pool["flow_high_water"],
        flow_capacity=maps.contract.number("FLOWS"),
    )


def read_hosts(maps: MapSet) -> tuple[HostUse, ...]:
    """The LAN hosts that use or were refused anything."""
    layout = maps.contract["host"]
    values = libbpf.lookup_all(maps.fds["hosts"], maps.spec("hosts"))
    return tuple(
        _host(maps, bucket, layout.unpack(value))
        for bucket, value in enumerate(values)
        if any(value)
    )


def _host(maps: MapSet, bucket: int, use: dict[str, Any]) -> HostUse:
    ports = {protocol: use["ports"][index] for protocol, index in _protocol_indexes(maps)}
    return HostUse(bucket, ports, use["flows"], use["refused"])


def _protocol_indexes(maps: MapSet) -> list[tuple[Protocol, int]]:
    return [(protocol, maps.contract.number(name)) for protocol, name in PROTOCOL_INDEX.items()]


def read_mappings(maps: MapSet) -> list[Mapping]:
    """The ports and flows in use, expired ones that nobody took over yet included."""
    pool = maps.contract["pool"].unpack(maps.value("pool"))
    decoder = _Decoder.of(maps)
    return [
        *_used(maps, "slots", _set_bits(pool["taken"]), decoder.slot),
        *_used(maps, "flows", _set_bits(pool["flows_taken"]), decoder.flow),
    ]


def read_reserved(maps: MapSet) -> set[tuple[Protocol, int]]:
    """The ports that are out of use."""
    taken = maps.contract["pool"].unpack(maps.value("pool"))["taken"]
    return set(_used(maps, "slots", _set_bits(taken), _Decoder.of(maps).reserved))


def _used(
    maps: MapSet,
    name: str,
    positions: Iterable[int],
    decode: Callable[[int, dict[str, int]], _Decoded | None],
) -> Iterator[_Decoded]:
    """What is at these positions of ``slots`` or ``flows``, without a system call for each."""
    spec = maps.spec(name)
    reader = _Reader(maps.contract["mapping"])
    with mmap.mmap(maps.fds[name], spec.entries * spec.value_size, prot=mmap.PROT_READ) as memory:
        for position in positions:
            decoded = decode(position, reader.at(memory, position))
            if decoded is not None:
                yield decoded


class _Reader:
    """Unpacks struct mapping in one go: there may be many thousand."""

    def __init__(self, layout: Struct) -> None:
        self._names = tuple(field.name for field in layout.fields)
        codes = "".join(_CODES[field.element_size] for field in layout.fields)
        self._format = struct.Struct(f"={codes}")
        assert self._format.size == layout.size

    def at(self, memory: mmap.mmap, position: int) -> dict[str, int]:
        values = self._format.unpack_from(memory, position * self._format.size)
        return dict(zip(self._names, values, strict=True))


def _set_bits(words: Sequence[int]) -> Iterator[int]:
    """The positions of the bits that are set in a bitmap."""
    for number, word in enumerate(words):
        rest = word
        while rest:
            lowest = rest & -rest
            yield number * 64 + lowest.bit_length() - 1
            rest ^= lowest


@dataclass(frozen=True)
class _Decoder:
    """Makes values of struct mapping: what they mean depends on the configuration in force."""

    ports: tuple[int, ...]
    now: int
    slots: int
    combinations: int
    timeouts: Sequence[int]
    kinds: dict[int, MappingKind]
    protocols: dict[int, Protocol]
    facts: tuple[MappingFacts, ...]
    port_shift: int
    state_shift: int
    reserved_state: int

    @classmethod
    def of(cls, maps: MapSet) -> _Decoder:
        """The decoder for a datapath at this moment."""
        contract, config = maps.contract, state.read_active_config(maps)
        parameters = PortParameters(config["psid_offset"], config["psid_length"])
        combinations = contract.number("FLAG_COMBINATIONS")
        return cls(
            ports=tuple(PortSet(parameters, config["psid"])),
            now=tick_now(config["tick_offset"]),
            slots=contract.number("SLOTS"),
            combinations=combinations,
            timeouts=config["timeout"][: contract.number("TIMEOUTS")],
            kinds={contract.number(name): kind for name, kind in _KINDS.items()},
            protocols={index: protocol for protocol, index in _protocol_indexes(maps)},
            facts=tuple(tables.facts_of(contract, flags) for flags in range(combinations)),
            port_shift=contract.number("OWNER_PORT_SHIFT"),
            state_shift=contract.number("OWNER_STATE_SHIFT"),
            reserved_state=contract.number("SLOT_RESERVED"),
        )

    def slot(self, index: int, fields: dict[str, int]) -> Mapping | None:
        """A port with an owner of its own; None where it is free, reserved or shared."""
        mapping = self._mapping(index, fields)
        return None if mapping is None or mapping.kind is MappingKind.FLOW else mapping

    def flow(self, _: int, fields: dict[str, int]) -> Mapping | None:
        """A flow; None where it is only just beginning or ending."""
        mapping = self._mapping(fields["slot"], fields)
        return mapping if mapping is not None and mapping.kind is MappingKind.FLOW else None

    def reserved(self, index: int, fields: dict[str, int]) -> tuple[Protocol, int] | None:
        """A port that is out of use; None for another."""
        number, position = divmod(index, self.slots)
        if fields["owner"] >> self.state_shift != self.reserved_state:
            return None
        return self.protocols[number], self.ports[position]

    def _mapping(self, slot: int, fields: dict[str, int]) -> Mapping | None:
        kind = self.kinds.get(fields["owner"] >> self.state_shift)
        number, position = divmod(slot, self.slots)
        if kind is None or number not in self.protocols or position >= len(self.ports):
            return None
        flags = fields["flags"] % self.combinations
        timeout = fields["timeout_class"] * self.combinations + flags
        return Mapping(
            protocol=self.protocols[number],
            host=_ipv4_in_word(fields["owner"] & 0xFFFFFFFF),
            host_port=fields["owner"] >> self.port_shift & 0xFFFF,
            port=self.ports[position],
            peer=_ipv4_in_word(fields["peer"] & 0xFFFFFFFF),
            peer_port=fields["peer"] >> self.port_shift & 0xFFFF,
            idle=max(0, self.now - max(fields["tick_46"], fields["tick_64"])),
            timeout=self.timeouts[timeout] if timeout < len(self.timeouts) else 0,
            kind=kind,
            age=max(0, self.now - fields["created"]),
            facts=self.facts[flags],
        )


def tick_now(offset: int) -> int:
    """The datapath's tick at this moment, give or take one; ``offset`` is its configuration's."""
    return TickClock.of_this_kernel().tick_at(time.monotonic_ns(), offset)


@lru_cache(maxsize=4096)
def _ipv4_in_word(word: int) -> IPv4Address:
    """The address whose four bytes lie, in network order, in the word."""
    return IPv4Address(word.to_bytes(4, sys.byteorder))
