# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""New mappings for each second of a CPU, against nft's masquerade.

Every round, every variant is emptied, then gets frames of endpoints it has not seen, then the
same frames again. All of a variant's frames are sent by one thread, whose CPU time is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from benchmarks import edges, topology
from benchmarks.edges import Edge
from benchmarks.frames import Generator, Sink, Traffic
from benchmarks.measure import Effort, Spread, cpus, minus, ratio, spread
from benchmarks.report import Cell, Report
from benchmarks.topology import Router
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode
from mapxdp.model.napt44 import LogLevel
from mapxdp.reasons import Reason

_HIGH_PORT, _HTTPS = 50000, 443
_WITHOUT = "without NAPT44"
_METHOD = """\
Frames of 74 octets arrive at the LAN (BPF live frames, 64 at a time), are forwarded by the kernel
and freed at TC egress of the WAN, behind mapxdp or masquerade: no driver and no queue is counted.
{count} frames of as many endpoints and ports, of 16 hosts to 1024 remotes, into an empty table
("new"), then the same again ("again"). CPU time of the one thread that does all of it and of
ksoftirqd, less what asking for frames costs; medians of 5 blocks of {rounds} interleaved rounds:
low / middle / high. nft has one rule (masquerade), verifies no checksums and keeps every port
number; mapxdp draws every port at random, none of them being in the set, but for "port kept"."""
_COLUMNS = ("variant", "new, ns", "again, ns", "new mappings/s of a CPU", "begins with, ns")
_RATIOS = """\
How many times what mapxdp takes masquerade takes, of the same rounds. "whole packet": new.
"NAPT44 alone": new, less what the same way costs without NAPT44 (plain forwarding for nft,
translation of packets that have their port already for mapxdp). "beginning alone": new less
again."""
_RATIO_COLUMNS = ("variant", "whole packet", "NAPT44 alone", "beginning alone")


@dataclass
class Variant:
    """One way through a router."""

    name: str
    router: Router
    traffic: Traffic
    reset: Callable[[], None] = lambda: None
    prepare: Callable[[], None] = lambda: None
    new: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)

    def measure(self, generator: Generator, count: int, cpu: int) -> None:
        """One slice."""
        self.prepare()
        for times in (self.new, self.again):
            taken = self.router.measure(generator, self.traffic, 0, count - 1, count, cpu)
            times.append(taken)


def run(effort: Effort, generator: Generator, sink: Sink, report: Report) -> None:
    """Own ports towards a high port, then shared ports towards a server's."""
    with ExitStack() as stack:
        plain = stack.enter_context(topology.router("plain", sink))
        nft = stack.enter_context(topology.masquerading("nft", sink))
        ces = {
            mode: stack.enter_context(edges.edge(mode.value, mode, edges.HALF, sink))
            for mode in (Mode.MAP_T, Mode.MAP_E)
        }
        small = None
        if effort.thorough:
            small = stack.enter_context(edges.edge("small", Mode.MAP_T, edges.EXAMPLE, sink))
        for is_tcp in (False, True):
            traffic = Traffic(is_tcp, _HTTPS if is_tcp else _HIGH_PORT, port=edges.PORTS_OUTSIDE)
            variants = _kernel_variants(plain, nft, traffic)
            for mode, ce in ces.items():
                variants += _edge_variants(mode, ce, traffic)
            if small is not None:
                variants += _more_variants(ces[Mode.MAP_T], small, traffic)
            for _ in range(effort.rounds):
                for variant in variants:
                    variant.reset()
                for variant in variants:
                    variant.measure(generator, effort.new_mappings, cpus()[0])
            for ce in ces.values():
                _confirm_all_new(ce, variants, effort)
            _report(effort, variants, is_tcp, report)


def _kernel_variants(plain: Router, nft: Router, traffic: Traffic) -> list[Variant]:
    return [
        Variant("plain forwarding", plain, traffic),
        Variant("nft masquerade", nft, traffic, lambda: topology.forget_connections(nft)),
    ]


def _edge_variants(mode: Mode, ce: Edge, traffic: Traffic) -> list[Variant]:
    public = edges.already_public(ce, traffic)
    bare = Variant(f"mapxdp {mode} {_WITHOUT}", ce.router, public)
    bare.prepare = lambda: ce.configure(Napt44Kind.NONE)
    whole = Variant(f"mapxdp {mode}", ce.router, traffic, ce.forget)
    whole.prepare = lambda: ce.configure(Napt44Kind.BPF)
    return [bare, whole]


def _more_variants(ce: Edge, small: Edge, traffic: Traffic) -> list[Variant]:
    """To see what a part of it costs: other endpoints of the same CE, or another CE."""
    if traffic.is_tcp:
        name = f"mapxdp map-t, {small.ports} ports"
        return [Variant(name, small.router, traffic, small.forget)]
    inside = Variant(
        "mapxdp map-t, port kept", ce.router, replace(traffic, port=edges.PORTS_INSIDE)
    )
    inside.prepare = lambda: ce.configure(Napt44Kind.BPF)
    quiet = Variant("mapxdp map-t, log off", ce.router, replace(traffic, port=edges.MORE_OUTSIDE))
    quiet.prepare = lambda: ce.configure(Napt44Kind.BPF, LogLevel.OFF)
    return [inside, quiet]


def _confirm_all_new(ce: Edge, variants: list[Variant], effort: Effort) -> None:
    """HostError unless each new frame began a mapping or a flow."""
    ours = [v for v in variants if v.router is ce.router and not v.name.endswith(_WITHOUT)]
    slices = sum(len(variant.new) for variant in ours)
    ce.expected_new += slices * effort.new_mappings
    counted = ce.counted(Reason.MAPPING_CREATED, Reason.FLOW_CREATED)
    if counted != ce.expected_new:
        raise HostError(
            f"{ce.router.name}: {ce.expected_new} new endpoints began {counted} mappings",
            "the clock may have jumped, or a table is too small: report this",
        )


def _report(effort: Effort, variants: list[Variant], is_tcp: bool, report: Report) -> None:
    what = (
        f"TCP SYN to port {_HTTPS}: flows on shared ports"
        if is_tcp
        else f"UDP to port {_HIGH_PORT}: ports of their own"
    )
    report.table(
        f"New mappings, {what}",
        _METHOD.format(count=effort.new_mappings, rounds=effort.rounds),
        _COLUMNS,
        [_row(variant) for variant in variants],
    )
    report.table(
        f"Times masquerade's, {what}",
        _RATIOS,
        _RATIO_COLUMNS,
        _ratio_rows(variants, variants[1]),
    )


def _row(variant: Variant) -> list[Cell]:
    per_second = [1e9 / x for x in variant.new]
    return [
        variant.name,
        spread(variant.new),
        spread(variant.again),
        spread(per_second),
        spread(minus(variant.new, variant.again)),
    ]


def _ratio_rows(variants: list[Variant], nft: Variant) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    nft_alone = minus(nft.new, variants[0].new)
    nft_beginning = minus(nft.new, nft.again)
    bases = {v.router: v for v in variants if v.name.endswith(_WITHOUT)}
    for variant in variants[2:]:
        if variant in bases.values():
            continue
        base = bases.get(variant.router)
        alone: Cell = "-"
        if base is not None:
            alone = ratio(nft_alone, minus(variant.new, base.new))
        beginning: Spread = ratio(nft_beginning, minus(variant.new, variant.again))
        rows.append([variant.name, ratio(nft.new, variant.new), alone, beginning])
    return rows
