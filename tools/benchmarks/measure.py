# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""CPU time, and what to make of many noisy measurements of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

from mapxdp.model.domain import Mode

_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. ``thorough`` adds the variants that take long to prepare; ``runs`` are
    test runs of a program in a slice, ``starts`` times that a CE is brought up, and changed; of
    those ``cold_starts`` with nothing compiled beforehand. ``modes`` are what most CEs that are
    brought up are of."""

    rounds: int
    new_mappings: int
    flows: tuple[int, ...]
    lookup_rounds: int
    flood_rounds: int
    flood_packets: int
    thorough: bool
    connections: tuple[int, ...]
    slices: int
    runs: int
    starts: int
    cold_starts: int
    tcp_rounds: int
    tcp_seconds: float
    scales: int
    many_flows: tuple[int, ...]
    modes: tuple[Mode, ...] = (Mode.MAP_T, Mode.MAP_E)

    def frames_of(self, connections: int) -> tuple[int, int]:
        """Rounds, and frames in each: of many connections, many, so that each sends often in a
        second, as in a router that is busy."""
        frames = max(self.flood_packets, 40 * connections)
        return max(2, self.slices * self.flood_packets // frames), frames

    @classmethod
    def full(cls) -> Effort:
        """For numbers to keep."""
        return cls(
            rounds=60,
            new_mappings=8192,
            flows=(1, 1024, 16384),
            lookup_rounds=60,
            flood_rounds=25,
            flood_packets=100_000,
            thorough=True,
            connections=(1, 1024, 32000),
            slices=40,
            runs=2000,
            starts=10,
            cold_starts=3,
            tcp_rounds=20,
            tcp_seconds=1.0,
            scales=4,
            many_flows=(1, 16, 256, 4096, 16384, 32768, 65536),
        )

    @classmethod
    def quick(cls) -> Effort:
        """To see in minutes about what the numbers are."""
        return cls(
            rounds=8,
            new_mappings=2048,
            flows=(1, 1024, 16384),
            lookup_rounds=4,
            flood_rounds=3,
            flood_packets=50_000,
            thorough=False,
            connections=(1, 1024),
            slices=10,
            runs=2000,
            starts=2,
            cold_starts=1,
            tcp_rounds=5,
            tcp_seconds=0.3,
            scales=4,
            many_flows=(1, 256, 4096, 16384, 65536),
        )

    @classmethod
    def tiny(cls) -> Effort:
        """To see that it works."""
        return cls(
            rounds=2,
            new_mappings=512,
            flows=(1, 512),
            lookup_rounds=2,
            flood_rounds=1,
            flood_packets=500,
            thorough=False,
            connections=(1, 16),
            slices=2,
            runs=20,
            starts=1,
            cold_starts=0,
            tcp_rounds=1,
            tcp_seconds=0.05,
            scales=1,
            many_flows=(1, 512),
            modes=(Mode.MAP_T,),
        )


@contextmanager
def pinned_to(cpu: int) -> Iterator[None]:
    """This thread runs on one CPU meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpus() -> list[int]:
    """The CPUs this process may use."""
    return sorted(os.sched_getaffinity(0))


@cache
def _softirq_thread(cpu: int) -> Path:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            comm = directory / "comm"
            if comm.exists() and comm.read_text().strip() == f"ksoftirqd/{cpu}":
                return directory / "schedstat"
    return Path("/dev/null")


def cpu_ns(cpu: int) -> int:
    """What this thread and the soft interrupts of its CPU have run, in ns."""
    words = _softirq_thread(cpu).read_text(encoding="ascii").split()
    return time.thread_time_ns() + (int(words[0]) if words else 0)


@dataclass(frozen=True, slots=True)
class Spread:
    """The smallest, the middle and the largest of the blocks of a run."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        digits = 0 if self.middle >= 100 else 1 if self.middle >= 20 else 2
        return " / ".join(f"{x:.{digits}f}" for x in (self.low, self.middle, self.high))


class Ratio(Spread):
    """The same, of how many times something is something else."""

    __slots__ = ()


def spread(values: Sequence[float]) -> Spread:
    """Of the medians of consecutive blocks: one disturbed slice does not show."""
    middles = [median(block) for block in _blocks(values)]
    return Spread(min(middles), median(middles), max(middles))


def ratio(values: Sequence[float], to: Sequence[float]) -> Ratio:
    """Of values to others of the same rounds, block by block."""
    pairs = zip(_blocks(values), _blocks(to), strict=True)
    times = [median(a) / median(b) for a, b in pairs]
    return Ratio(min(times), median(times), max(times))


def middle_half(values: Sequence[float]) -> float:
    """The mean of those that are neither among the smallest nor among the largest quarter."""
    quarter = len(values) // 4
    return mean(sorted(values)[quarter : len(values) - quarter])


def minus(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a - b for a, b in zip(values, others, strict=True)]


def _blocks(values: Sequence[float]) -> list[Sequence[float]]:
    count = min(_BLOCKS, len(values))
    edges = [len(values) * number // count for number in range(count + 1)]
    return [values[a:b] for a, b in pairwise(edges)]
