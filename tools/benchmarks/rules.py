# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet to another CE costs, by how many forwarding rules there are."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from benchmarks import edges
from benchmarks.edges import Edge
from benchmarks.frames import Generator, Sink, Traffic
from benchmarks.measure import Effort, cpus, pinned_to, ratio, spread
from benchmarks.pps import mesh
from benchmarks.report import Report
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.rule import MappingRule

#: How many rules there are, and to how many of their destinations frames go.
_VARIANTS = ((0, 1), (1, 1), (100, 64), (1000, 64), (10_000, 64), (10_000, 8192))
_FIRST = int(Traffic(is_tcp=False, remote_port=0, port=0).remote)
#: All the destinations, as consecutive end-user prefixes.
_ONE = MappingRule(IPv6Network("2001:db9::/40"), IPv4Network("198.18.0.0/16"), 16, forwarding=True)
_PORTS = 64  # frames differ in their ports too

_METHOD = """\
MAP-T without NAPT44, frames of 74 octets to destinations drawn from as many as the table says. One
FMR is all of theirs; of several each is of one whole address, and they are consecutive. "x without
FMRs": of a CE that has none, to the same destinations through the DMR; "x one FMR": of one that has
that; in the same rounds.
Medians of 5 blocks of {rounds} interleaved rounds of {frames} frames."""
_COLUMNS = ("FMRs", "destinations", "ns", "x without FMRs", "x one FMR")


@dataclass
class _Variant:
    rules: int
    ce: Edge
    traffic: Traffic
    ns: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)
    with_one: list[float] = field(default_factory=list)


def run(effort: Effort, report: Report) -> None:
    """A CE for each number of rules, and one without."""
    sink = Sink()
    try:
        with pinned_to(cpus()[0]), Generator(sink) as generator:
            _measure(effort, generator, sink, report)
    finally:
        sink.close()
    mesh.run(effort, report, _ONE, _fmrs(max(count for count, _ in _VARIANTS)))


def _measure(effort: Effort, generator: Generator, sink: Sink, report: Report) -> None:
    cpu, frames = cpus()[0], max(effort.flows)
    numbers = itertools.count()
    with ExitStack() as stack:

        def ce(count: int) -> Edge:
            place = _domain(count)
            label = f"fmr{count}-{next(numbers)}"
            made = stack.enter_context(edges.edge_of(label, place, sink))
            made.configure(Napt44Kind.NONE)
            return made

        bare = ce(0)
        ces = {0: ce(0)} | {count: ce(count) for count in sorted({n for n, _ in _VARIANTS} - {0})}
        variants = [_Variant(count, ces[count], _to(most, bare)) for count, most in _VARIANTS]
        for _ in range(effort.lookup_rounds):
            for variant in variants:
                for edge, taken in (
                    (variant.ce, variant.ns),
                    (bare, variant.without),
                    (ces[1], variant.with_one),
                ):
                    last = max(variant.traffic.remotes, _PORTS) - 1
                    ns = edge.router.measure(generator, variant.traffic, 0, last, frames, cpu)
                    taken.append(ns)
    report.table(
        "Forwarding rules",
        _METHOD.format(rounds=effort.lookup_rounds, frames=frames),
        _COLUMNS,
        [
            [
                variant.rules,
                variant.traffic.remotes,
                spread(variant.ns),
                ratio(variant.ns, variant.without),
                ratio(variant.ns, variant.with_one),
            ]
            for variant in variants
        ],
    )


def _to(destinations: int, ce: Edge) -> Traffic:
    """To the addresses of the first rules: a power of two of them."""
    udp = Traffic(is_tcp=False, remote_port=50000, port=edges.PORTS_INSIDE, remotes=destinations)
    return edges.already_public(ce, udp)


def _domain(count: int) -> Domain:
    """Half an address, as in the other benchmarks, and rules for the destinations."""
    place = edges.HALF.domain(Mode.MAP_T)
    return replace(place, rules=(*place.rules, *_fmrs(count)))


def _fmrs(count: int) -> list[MappingRule]:
    """The one, or one for each of the first so many destinations."""
    if count == 1:
        return [_ONE]
    return [
        MappingRule(
            IPv6Network((int(_ONE.ipv6.network_address) | (number + 1) << 72, 56)),
            IPv4Network((_FIRST + number, 32)),
            ea_length=0,
            forwarding=True,
        )
        for number in range(count)
    ]
