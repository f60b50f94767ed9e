# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Small packets through one router on two CPUs at once, beside one of them alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from statistics import mean

from benchmarks.measure import Effort, Ratio, cpu_ns, cpus, pinned_to, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.measurement import through_domain
from benchmarks.pps.replay import Ends, Player
from benchmarks.pps.routers import Router
from benchmarks.pps.way import Connection, in_no_order
from benchmarks.report import Report
from mapxdp import netns
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode

_CONNECTIONS = 1024
_SHORT = 64
#: Frames that take longer than a thread to wake up.
_ENOUGH = 20_000
#: The part of their time in which two CPUs have to be at work together, to be called so.
_TOGETHER, _TRIES = 0.7, 50
_METHOD = """\
Frames as for small packets, {connections} connections of each CPU's own ("own"), or one connection
whose packets arrive at both ("the same"). Every router has two queues. CPU time of a frame of a CPU
whose neighbour does nothing ("alone") and of both at work on the same router ("both"); "x of one
CPU": packets that both make of the CPU time in which one makes one, twice as many at best. Bare XDP
and plain forwarding, which keep nothing, say what the machine itself gives. Medians of 5 blocks of
{rounds} interleaved rounds of {frames} frames."""
_COLUMNS = ("variant", "way", "connections", "alone, ns", "both, ns", "x of one CPU")


@dataclass(frozen=True, slots=True)
class _Work:
    """What a CPU took for a frame, and from when to when."""

    ns: float
    begun: float
    ended: float


@dataclass
class _Way:
    """One direction of one router, with frames for each CPU."""

    variant: str
    router: Router
    direction: str
    kind: str
    players: tuple[Player, Player]
    alone: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)

    @property
    def ifindex(self) -> int:
        return self.router.lan if self.direction == "up" else self.router.wan


def run(effort: Effort, report: Report) -> None:
    """Every variant, in both directions. Needs two CPUs; says so where there is one."""
    if len(cpus()) < 2:
        report.table("Two CPUs", "Not run: it takes two CPUs.", _COLUMNS, [])
        return
    connections = max(count for count in effort.connections if count <= _CONNECTIONS)
    rounds, frames = effort.frames_of(connections)
    rounds, frames = max(2, rounds // 4), max(frames, _ENOUGH)
    ends = Ends()
    try:
        with ExitStack() as stack:
            ways = _ways(stack, ends, connections, effort.modes)
            for _, way in product(range(rounds), ways):
                way.alone.append(_mean(way, ends, frames, *([cpu] for cpu in cpus()[:2])))
                way.both.append(_mean(way, ends, frames, cpus()[:2]))
    finally:
        ends.close()
    _tell(ways, connections, rounds, frames, report)


def _ways(stack: ExitStack, ends: Ends, connections: int, modes: tuple[Mode, ...]) -> list[_Way]:
    enter = stack.enter_context
    made = [
        *_ways_of(stack, "plain forwarding", enter(routers.plain("plain2", ends)), connections),
        *_ways_of(stack, "bare XDP", enter(routers.bare_xdp("bare2", ends)), connections),
    ]
    for mode, accelerator in product(modes, ("off", "tc", "xdp")):
        router = enter(routers.edge(f"{mode}-{accelerator}2", ends, mode, accelerator))
        name = f"mapxdp {mode}, accelerator {accelerator}"
        made += _ways_of(stack, name, router, connections)
    for way in made:
        for player in way.players:
            with pinned_to(cpus()[0]):
                _play(way, player, 3 * connections)
    return made


def _ways_of(stack: ExitStack, name: str, router: Router, count: int) -> list[_Way]:
    up_program, down_program = router.programs or (None, None)
    connections = in_no_order(2 * count)
    answer: Callable[[Connection], bytes] = Connection.down
    if router.domain is not None:
        with Player([c.up() for c in connections], up_program) as opening, pinned_to(cpus()[0]):
            answer = through_domain(router, opening, len(connections))

    def way(direction: str, kind: str, halves: tuple[list[Connection], list[Connection]]) -> _Way:
        program = up_program if direction == "up" else down_program
        make = Connection.up if direction == "up" else answer
        first, second = (
            stack.enter_context(Player([make(c) for c in half], program)) for half in halves
        )
        for player, half in ((first, halves[0]), (second, halves[1])):
            player.aim(len(half))
        return _Way(name, router, direction, kind, (first, second))

    own = (connections[:count], connections[count:])
    same = (connections[:1], connections[:1])
    return [
        way(direction, kind, halves)
        for direction in ("up", "down")
        for kind, halves in (("own", own), ("the same", same))
    ]


def _play(way: _Way, player: Player, frames: int) -> None:
    with netns.entered(way.router.name):
        player.play(way.ifindex, frames)


def _mean(way: _Way, ends: Ends, frames: int, *groups: list[int]) -> float:
    """ns of CPU time per frame, of each group of CPUs at once, and one group after the other."""
    return mean(ns for group in groups for ns in _at_once(way, ends, frames, group))


def _at_once(way: _Way, ends: Ends, frames: int, group: list[int]) -> list[float]:
    """The same of each CPU of a group. HostError if they never really were at work together, or
    frames were lost: two CPUs can fill a queue that one cannot."""
    for _ in range(_TRIES):
        ends.clear()
        works = _tried_at_once(way, frames, group)
        ends.require(len(group) * (frames + _SHORT), f"{way.variant}, {way.direction}, {way.kind}")
        together = min(work.ended for work in works) - max(work.begun for work in works)
        if together >= _TOGETHER * max(work.ended - work.begun for work in works):
            return [work.ns for work in works]
    raise HostError(
        f"the CPUs {group} were not at work at the same time in {_TRIES} tries",
        "run it on a machine with less to do",
    )


def _tried_at_once(way: _Way, frames: int, group: list[int]) -> list[_Work]:
    """A short request before the long one says what asking costs."""
    barrier = threading.Barrier(len(group))

    def work(cpu: int, player: Player) -> _Work:
        with pinned_to(cpu):
            barrier.wait(30)
            begun = cpu_ns(cpu)
            _play(way, player, _SHORT)
            between, began = cpu_ns(cpu), time.perf_counter()
            _play(way, player, frames)
            ended = time.perf_counter()
            ns = (cpu_ns(cpu) - between - (between - begun)) / (frames - _SHORT)
            return _Work(ns, began, ended)

    with ThreadPoolExecutor(len(group)) as threads:
        return list(threads.map(work, group, way.players))


def _scale(way: _Way) -> Ratio:
    return ratio([2 * alone for alone in way.alone], way.both)


def _tell(ways: list[_Way], connections: int, rounds: int, frames: int, report: Report) -> None:
    report.table(
        "Two CPUs",
        _METHOD.format(connections=connections, rounds=rounds, frames=frames),
        _COLUMNS,
        [
            [
                way.variant,
                "upstream" if way.direction == "up" else "downstream",
                way.kind,
                spread(way.alone),
                spread(way.both),
                _scale(way),
            ]
            for way in ways
        ],
    )
