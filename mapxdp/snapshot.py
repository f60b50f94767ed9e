# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A running CE at one moment: what the views show."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from mapxdp import config as configuration
from mapxdp import record
from mapxdp.config import Config
from mapxdp.datapath import instance, observe
from mapxdp.datapath.maps import MapSet
from mapxdp.errors import StateError
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import (
    Count,
    Counters,
    HostUse,
    Mapping,
    MappingKind,
    PoolState,
    host_bucket,
    hosts_of,
    pool_of,
)
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.record import Record
from mapxdp.software import daemon


@dataclass(frozen=True, slots=True)
class Usage:
    """Ports of one protocol whose mapping is alive, by whose they are."""

    own: int = 0
    shared: int = 0
    forwards: int = 0

    @property
    def used(self) -> int:
        """All of them together."""
        return self.own + self.shared + self.forwards


@dataclass(frozen=True, slots=True)
class HostUsage:
    """What the LAN hosts of one bucket use alive, all protocols together.

    ``others`` is the number of hosts that share the bucket with the one that is named.
    """

    name: str
    others: int
    own: int
    flows: int
    refused: int


@dataclass(frozen=True, slots=True)
class RangeUsage:
    """Ports of one range of the set whose mapping is alive."""

    first: int
    last: int
    used: int

    @property
    def size(self) -> int:
        """Ports in the range."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Snapshot:
    """Counters since the datapath was first pinned, and the port mappings there are."""

    taken_ns: int
    record: Record
    config: Config
    uptime: float
    counters: Counters
    mappings: tuple[Mapping, ...]
    pool: PoolState
    hosts: tuple[HostUse, ...]

    @property
    def usable_ports(self) -> int:
        """How many ports of the set can be handed out, for each protocol."""
        domain = self.config.domain
        reserved = self.config.policy.reserved_ports | frozenset(domain.reserved_ports)
        return sum(port not in reserved for port in domain.port_set)

    @property
    def usage(self) -> dict[Protocol, Usage]:
        """Ports whose mapping is alive; a shared port counts once, whatever flows it has."""
        ports = {
            (mapping.protocol, mapping.kind, mapping.port)
            for mapping in self.mappings
            if mapping.is_live
        }
        count = Counter((protocol, kind) for protocol, kind, _ in ports)
        return {
            protocol: Usage(
                own=count[protocol, MappingKind.OWN],
                shared=count[protocol, MappingKind.FLOW],
                forwards=count[protocol, MappingKind.FORWARD],
            )
            for protocol in Protocol
        }

    @property
    def flows(self) -> int:
        """Flows on shared ports that are alive."""
        return sum(m.kind is MappingKind.FLOW and m.is_live for m in self.mappings)

    @property
    def host_usage(self) -> list[HostUsage]:
        """LAN hosts with what they use, the busiest first."""
        own: dict[int, Counter[IPv4Address]] = defaultdict(Counter)
        flows: Counter[int] = Counter()
        for mapping in self.mappings:
            if mapping.is_live and mapping.kind is not MappingKind.FORWARD:
                bucket = host_bucket(mapping.host)
                own[bucket][mapping.host] += mapping.kind is MappingKind.OWN
                flows[bucket] += mapping.kind is MappingKind.FLOW
        refused = {host.bucket: host.refused for host in self.hosts if host.refused}
        found = [
            HostUsage(
                name=_host_name(bucket, own[bucket]),
                others=max(0, len(own[bucket]) - 1),
                own=own[bucket].total(),
                flows=flows[bucket],
                refused=refused.get(bucket, 0),
            )
            for bucket in dict.fromkeys((*own, *refused))
        ]
        return sorted(found, key=lambda host: (-host.own - host.flows, -host.refused))

    def range_usage(self, protocol: Protocol) -> list[RangeUsage]:
        """Every range of the set with its ports whose mapping is alive."""
        ranges = self.config.domain.port_set.ranges()
        firsts = [port_range.first for port_range in ranges]
        ports = {m.port for m in self.mappings if m.protocol is protocol and m.is_live}
        used = Counter(bisect_right(firsts, port) - 1 for port in ports)
        return [RangeUsage(*port_range, used[number]) for number, port_range in enumerate(ranges)]

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


def _host_name(bucket: int, hosts: Counter[IPv4Address]) -> str:
    """The busiest host of a bucket; what is known of its address where no mapping names it."""
    if hosts:
        return str(hosts.most_common(1)[0][0])
    return f"*.{bucket >> 8}.{bucket & 0xFF}"


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
    if running.process is not None:
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
        counters=observe.read_counters(maps),
        mappings=tuple(observe.read_mappings(maps)),
        pool=observe.read_pool(maps),
        hosts=observe.read_hosts(maps),
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
        pool=pool_of(written.mappings),
        hosts=hosts_of(written.mappings),
    )


def only_or_named(name: str | None) -> str:
    """The instance meant: ``name`` if it runs, or the only one that does; else StateError."""
    running = record.names()
    if name is not None:
        if name in running:
            return name
        known = ", ".join(running) or "none"
        raise StateError(f"{name} is not running (running: {known})", "mapxdp up -c FILE")
    if not running:
        raise StateError("no CE is running", "mapxdp up -c FILE")
    if len(running) > 1:
        raise StateError(f"several CEs are running: {', '.join(running)}", "name one of them")
    return running[0]
