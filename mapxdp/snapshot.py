# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A running CE at one moment: what the views show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mapxdp import config as configuration
from mapxdp import record
from mapxdp.config import Config, require_name
from mapxdp.datapath import instance, state
from mapxdp.datapath.maps import MapSet
from mapxdp.errors import StateError
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Count, Counters, Mapping
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.record import Record
from mapxdp.software import daemon


@dataclass(frozen=True)
class Snapshot:
    """Counters since the datapath was first pinned, and the port mappings there are."""

    taken_ns: int
    record: Record
    config: Config
    uptime: float
    counters: Counters
    mappings: tuple[Mapping, ...]

    @property
    def usable_ports(self) -> int:
        """How many ports of the set can be handed out, for each protocol."""
        reserved = self.config.domain.reserved_ports
        return sum(port not in reserved for port in self.config.domain.port_set)

    @property
    def ports_in_use(self) -> dict[Protocol, int]:
        """Ports whose mapping is alive."""
        used = Counter(mapping.protocol for mapping in self.mappings if mapping.is_live)
        return {protocol: used[protocol] for protocol in Protocol}

    @property
    def ports_by_host(self) -> list[tuple[str, int]]:
        """LAN hosts with the ports they use, the busiest first."""
        used = Counter(str(mapping.host) for mapping in self.mappings if mapping.is_live)
        return used.most_common()

    @property
    def drops(self) -> dict[Reason, Count]:
        """What was dropped, both directions together, the most frequent reason first."""
        total: dict[Reason, Count] = {}
        for counts in (self.counters.upstream, self.counters.downstream):
            for reason, count in counts.items():
                if reason.reason_class is ReasonClass.DROP:
                    before = total.get(reason, Count())
                    total[reason] = Count(
                        before.packets + count.packets, before.bytes + count.bytes
                    )
        return dict(sorted(total.items(), key=lambda item: -item[1].packets))


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened each second between two snapshots."""

    upstream_packets: float = 0.0
    upstream_bits: float = 0.0
    downstream_packets: float = 0.0
    downstream_bits: float = 0.0
    new_mappings: float = 0.0


def rates(before: Snapshot, after: Snapshot) -> Rates:
    """The rates between two snapshots of one instance; all 0 where no time has passed."""
    seconds = (after.taken_ns - before.taken_ns) / 1e9

    def each_second(
        old: dict[Reason, Count], new: dict[Reason, Count], reason: Reason
    ) -> tuple[float, float]:
        if seconds <= 0:
            return 0.0, 0.0
        first, last = old.get(reason, Count()), new.get(reason, Count())
        return (
            max(0, last.packets - first.packets) / seconds,
            max(0, last.bytes - first.bytes) * 8 / seconds,
        )

    old, new = before.counters, after.counters
    up = each_second(old.upstream, new.upstream, Reason.TRANSLATED)
    down = each_second(old.downstream, new.downstream, Reason.TRANSLATED)
    created, _ = each_second(old.upstream, new.upstream, Reason.MAPPING_CREATED)
    return Rates(*up, *down, created)


Take = Callable[[], Snapshot]


@contextmanager
def watching(name: str | None) -> Iterator[Take]:
    """Opens the running instance ``name``, or the only one: a function that takes snapshots.

    StateError if it is not clear which instance is meant.
    """
    running = record.load(only_or_named(name))
    assert running is not None  # by only_or_named
    config = configuration.parse(running.config_text, running.config_path)
    if running.datapath == "software":
        yield lambda: _of_process(running, config)
        return
    with instance.opened(running.name, config.domain) as maps:
        yield lambda: _of_maps(running, config, maps)


def _of_maps(running: Record, config: Config, maps: MapSet) -> Snapshot:
    created = maps.contract["instance"].unpack(maps.value("instance"))["created_ns"]
    return Snapshot(
        taken_ns=time.monotonic_ns(),
        record=running,
        config=config,
        uptime=(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - created) / 1e9,
        counters=state.read_counters(maps),
        mappings=tuple(state.read_mappings(maps)),
    )


def _of_process(running: Record, config: Config) -> Snapshot:
    written = daemon.read_state(running.name)
    return Snapshot(
        taken_ns=time.monotonic_ns(),
        record=running,
        config=config,
        uptime=time.time() - written.started,
        counters=written.counters,
        mappings=written.mappings,
    )


def only_or_named(name: str | None) -> str:
    """The instance meant: ``name`` if it runs, or the only one that does; else StateError."""
    running = record.names()
    if name is not None:
        require_name(name)
        if name in running:
            return name
        known = ", ".join(running) or "none"
        raise StateError(f"{name} is not running (running: {known})", "mapxdp up -c FILE")
    if not running:
        raise StateError("no CE is running", "mapxdp up -c FILE")
    if len(running) > 1:
        raise StateError(f"several CEs are running: {', '.join(running)}", "name one of them")
    return running[0]
