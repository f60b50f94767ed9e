# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a flood of invalid packets costs: each kind that anybody can send, beside the cheapest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.measure import Effort, cpu_ns, cpus, pinned_to, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.invalid import invalid
from benchmarks.pps.replay import Ends, Player
from benchmarks.pps.routers import Router
from benchmarks.report import Report
from mapxdp import netns, snapshot
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason

_METHOD = """\
One frame of each kind, again and again, arrives from the WAN at a CE without an accelerator (BPF
live frames, 64 at a time) and is dropped at TC ingress for the reason given. CPU time as for small
packets; it includes the kernel's receiving a frame. Medians of 5 blocks of {rounds} interleaved
rounds of {frames} frames."""
_COLUMNS = ("mode", "frame", "reason", "ns", "x cheapest drop")
_SHORT = 64


@dataclass
class _Kind:
    mode: Mode
    what: str
    reason: Reason
    router: Router
    player: Player
    ns: list[float] = field(default_factory=list)


def run(effort: Effort, report: Report) -> None:
    """Every kind, in both modes."""
    ends = Ends()
    rounds, frames = effort.frames_of(1)
    try:
        with pinned_to(cpus()[0]), ExitStack() as stack:
            kinds: list[_Kind] = []
            for mode in (Mode.MAP_T, Mode.MAP_E):
                router = stack.enter_context(
                    routers.edge(f"{mode}-drops", ends, mode, "off", routers.HALF_ADDRESS)
                )
                assert router.domain is not None  # of an edge
                for each in invalid(router.domain):
                    player = stack.enter_context(Player([each.frame], None))
                    kinds.append(_Kind(mode, each.what, each.reason, router, player))
            for kind in kinds:
                _require_reason(kind)
            for _ in range(rounds):
                for kind in kinds:
                    kind.ns.append(_slice(kind, frames))
    finally:
        ends.close()
    _tell(kinds, rounds, frames, report)


def _count(kind: _Kind) -> int:
    with snapshot.watching(kind.router.name) as take:
        counted = take().counters.downstream.get(kind.reason)
    return counted.packets if counted else 0


def _require_reason(kind: _Kind) -> None:
    """HostError unless the frame is dropped for the reason that the table will name."""
    before = _count(kind)
    _play(kind, _SHORT)
    if _count(kind) - before < _SHORT:
        raise HostError(
            f"{kind.mode}: '{kind.what}' was not dropped as {kind.reason.name}", "report this"
        )


def _play(kind: _Kind, frames: int) -> None:
    with netns.entered(kind.router.name):
        kind.player.play(kind.router.wan, frames)


def _slice(kind: _Kind, frames: int) -> float:
    """ns of CPU time per frame; a short request before the long one says what asking costs."""
    cpu = cpus()[0]
    begun = cpu_ns(cpu)
    _play(kind, _SHORT)
    between = cpu_ns(cpu)
    _play(kind, frames - _SHORT)
    ended = cpu_ns(cpu)
    return ((ended - between) - (between - begun)) / (frames - 2 * _SHORT)


def _tell(kinds: list[_Kind], rounds: int, frames: int, report: Report) -> None:
    def cheapest(mode: Mode) -> list[float]:
        own = [kind.ns for kind in kinds if kind.mode is mode]
        return min(own, key=lambda ns: spread(ns).middle)

    report.table(
        "Invalid packets",
        _METHOD.format(rounds=rounds, frames=frames),
        _COLUMNS,
        [
            [str(k.mode), k.what, k.reason.name, spread(k.ns), ratio(k.ns, cheapest(k.mode))]
            for k in kinds
        ],
    )
