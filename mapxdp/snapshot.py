# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A running CE at one moment: what the views show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from ipaddress import IPv4Address

from mapxdp import config as configuration
from mapxdp import record
from mapxdp.config import Config
from mapxdp.datapath import bpffs, instance, state
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
    process_ended: bool = False  # of the software datapath: these are its last words

    @property
    def usable_ports(self) -> int:
        """How many ports of the set can be handed out, for each protocol."""
        return self.config.domain.usable_ports

    @cached_property
    def _live(self) -> Counter[tuple[Protocol, IPv4Address]]:
        """The mappings that are alive, counted once for all questions."""
        return Counter(
            (mapping.protocol, mapping.host) for mapping in self.mappings if mapping.is_live
        )

    @property
    def ports_in_use(self) -> dict[Protocol, int]:
        """Ports whose mapping is alive."""
        used = dict.fromkeys(Protocol, 0)
        for (protocol, _), count in self._live.items():
            used[protocol] += count
        return used

    @property
    def ports_by_host(self) -> list[tuple[str, int]]:
        """LAN hosts with the ports they use, the busiest first."""
        used: Counter[str] = Counter()
        for (_, host), count in self._live.items():
            used[str(host)] += count
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
        if running.process is not None:
            self._look = partial(_of_process, running, running.process, config)
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
    """Something else after each ``up``, which makes a new process or a new ``config`` map."""
    if running.process is not None:
        return running
    try:
        return running, (bpffs.instance_directory(running.name) / "config").stat().st_ino
    except FileNotFoundError:
        return running, None


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
        counters=state.read_counters(maps),
        mappings=tuple(state.read_mappings(maps)),
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
        process_ended=not daemon.is_running(process),
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
