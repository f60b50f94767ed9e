# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet between CEs costs, of connections that are there, by how many FMRs there are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product

from benchmarks.measure import Effort, cpus, pinned_to, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.measurement import Variant, establish, time_slice, variant
from benchmarks.pps.replay import Ends
from benchmarks.pps.way import REMOTE, Connection, in_no_order
from benchmarks.report import Cell, Report
from mapxdp.model.domain import Mode
from mapxdp.model.rule import MappingRule

_METHOD = """\
Of connections that are there, as for small packets, each to another CE, and so many in turn: one
FMR is all these CEs', or each has its own, among {rules} FMRs. NAPT44 is included. Medians of 5
blocks of {rounds} interleaved rounds of {frames} frames."""
_COLUMNS = ("way", "accelerator", "destinations", "one FMR, ns", "many FMRs, ns", "x one FMR")
_DESTINATIONS = (64, 8192)
_ACCELERATORS = ("off", "tc", "xdp")


def run(effort: Effort, report: Report, one: MappingRule, many: Sequence[MappingRule]) -> None:
    """With few and with many destinations, of which ``many`` has one rule each, in both modes."""
    ends = Ends()
    try:
        with pinned_to(cpus()[0]):
            for mode in effort.modes:
                with ExitStack() as stack:
                    pairs = {
                        accelerator: [
                            _edge(stack, ends, mode, accelerator, rules) for rules in ([one], many)
                        ]
                        for accelerator in _ACCELERATORS
                    }
                    _measure(pairs, ends, effort)
                _tell(mode, pairs, len(many), effort, report)
    finally:
        ends.close()


def _edge(
    stack: ExitStack, ends: Ends, mode: Mode, accelerator: str, rules: Sequence[MappingRule]
) -> Variant:
    label = f"{mode}-{accelerator}-{len(rules)}"
    router = stack.enter_context(routers.edge(label, ends, mode, accelerator, fmrs=rules))
    numbers = [each.number for each in in_no_order(max(_DESTINATIONS))]
    connections = [Connection(number, REMOTE + number) for number in numbers]
    made = variant(stack, label, router, connections)
    establish([made], len(connections))
    return made


def _measure(pairs: dict[str, list[Variant]], ends: Ends, effort: Effort) -> None:
    rounds, frames = effort.frames_of(1)
    variants = [each for pair in pairs.values() for each in pair]
    for _, way, flows, each in product(range(rounds), ("up", "down"), _DESTINATIONS, variants):
        taken = time_slice(each, ends, way, flows, frames)
        each.ns.setdefault((way, flows), []).append(taken)


def _tell(
    mode: Mode, pairs: dict[str, list[Variant]], rules: int, effort: Effort, report: Report
) -> None:
    rounds, frames = effort.frames_of(1)
    rows: list[list[Cell]] = []
    for way, (accelerator, pair), flows in product(("up", "down"), pairs.items(), _DESTINATIONS):
        one, many = (each.ns[way, flows] for each in pair)
        name = f"{way}stream"
        rows.append([name, accelerator, flows, spread(one), spread(many), ratio(many, one)])
    method = _METHOD.format(rules=rules, rounds=rounds, frames=frames)
    report.table(f"Packets between CEs, {mode}", method, _COLUMNS, rows)
