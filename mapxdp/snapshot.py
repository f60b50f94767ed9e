# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A running CE at one moment: what the views show."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from ipaddress import IPv4Address

from mapxdp import config as configuration
from mapxdp import record
from mapxdp.config import Config, require_name
from mapxdp.datapath import bpffs, instance, observe
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
    process_ended: bool = False  # of the software datapath: these are its last words

    @cached_property
    def usable_ports(self) -> int:
        """How many ports of the set can be handed out, for each protocol."""
        domain = self.config.domain
        reserved = self.config.policy.reserved_ports | frozenset(domain.reserved_ports)
        return sum(port not in reserved for port in domain.port_set)

    @cached_property
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

    @cached_property
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

_HALFWAY_SECONDS = 0.2


@contextmanager
def watching(name: str | None) -> Iterator[Take]:
    """Opens the running instance ``name``, or the only one: a function that takes snapshots.

    It follows the instance through ``up`` and ``reload``. StateError if it is not clear which
    instance is meant, and from the function once it is no longer there.
    """
    with ExitStack() as opened:
        yield _Watched(only_or_named(name), opened).take


class _Watched:
    """An instance that is looked at again and again, whatever becomes of it meanwhile."""

    def __init__(self, name: str, opened: ExitStack) -> None:
        self._name = name
        self._opened = opened
        self._generation: object = None
        self._look: Take

    def take(self) -> Snapshot:
        """The instance as it is now, whoever brought it up last."""
        if self._has_changed():
            self._follow()
        try:
            seen = self._look()
        except StateError:
            if self._has_changed():  # another process took over in this moment
                return self.take()
            raise
        return self.take() if seen.process_ended and self._has_changed() else seen

    def _has_changed(self) -> bool:
        return _generation(self._running()) != self._generation

    def _follow(self) -> None:
        try:
            self._open()
        except (StateError, FileNotFoundError):
            # Perhaps an up, a reload or a down is halfway.
            time.sleep(_HALFWAY_SECONDS)
            self._open_or_say_why()

    def _running(self) -> Record:
        running = record.load(self._name)
        if running is None:
            raise StateError(f"{self._name} is no longer running", "mapxdp up -c FILE")
        return running

    def _open(self) -> None:
        self._opened.close()
        self._generation = None
        running = self._running()
        # Asked before anything is opened: what changes meanwhile is seen the next time.
        generation = _generation(running)
        config = configuration.parse(running.config_text, running.config_path)
        if running.datapath == "software":
            self._look = partial(_of_process, running, running.process or 0, config)
        else:
            maps = self._opened.enter_context(instance.opened(running.name, config.domain))
            self._look = partial(_of_maps, running, config, maps)
        self._generation = generation

    def _open_or_say_why(self) -> None:
        try:
            self._open()
        except FileNotFoundError as error:
            raise StateError(
                f"{self._name} is no longer running: nothing is pinned ({error})",
                f"mapxdp up brings it up again, mapxdp down {self._name} forgets it",
            ) from error


def _generation(running: Record) -> object:
    """Something else after each ``up``, which makes a new process or pins anew."""
    return running, bpffs.current(bpffs.instance_directory(running.name))


def require_running(seen: Snapshot) -> Snapshot:
    """The snapshot, if it is not the last words of a process; else StateError."""
    if seen.process_ended:
        raise _ended(seen.record)
    return seen


def _ended(running: Record) -> StateError:
    return StateError(
        f"{running.name} is no longer running: process {running.process} has ended",
        f"mapxdp up -c {running.config_path} starts it again",
    )


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


def _of_process(running: Record, process: int, config: Config) -> Snapshot:
    try:
        written = daemon.read_state(running.name, process)
    except StateError:
        if daemon.is_running(process):
            raise
        raise _ended(running) from None
    return Snapshot(
        taken_ns=time.monotonic_ns(),
        record=running,
        config=config,
        uptime=time.time() - written.started,
        counters=written.counters,
        mappings=written.mappings,
        pool=pool_of(written.mappings),
        hosts=hosts_of(written.mappings),
        process_ended=not daemon.is_running(process),
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
