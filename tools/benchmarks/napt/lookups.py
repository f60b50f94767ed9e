# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What packets of established mappings cost, by how many there are."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import edges, topology
from benchmarks.frames import Generator, Sink, Traffic
from benchmarks.measure import Effort, cpus, minus, spread
from benchmarks.report import Report
from benchmarks.topology import Router
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model.domain import Mode

_METHOD = """\
Frames as for new mappings, of as many flows in turn, which all have their mapping. "over an empty
program": less the same way with a TC program that does nothing in mapxdp's place; it includes the
translation to IPv6. "NAPT44 alone": less MAP-T without NAPT44 (nft: less plain forwarding). The
tables hold {most} own mappings and {most} flows meanwhile, whatever the number in turn is.
Medians of 5 blocks of {rounds} interleaved rounds."""
_COLUMNS = ("variant", "flows in turn", "ns", "over an empty program, ns", "NAPT44 alone, ns")


@dataclass
class _Variant:
    name: str
    router: Router
    traffic: Traffic
    flows: int
    base: _Variant | None = None
    ns: list[float] = field(default_factory=list)


def run(effort: Effort, generator: Generator, sink: Sink, report: Report) -> None:
    """One router without anything, one with an empty program, one with nft, two CEs."""
    cpu, most = cpus()[0], max(effort.flows)
    udp = Traffic(is_tcp=False, remote_port=50000, port=edges.PORTS_OUTSIDE)
    tcp = Traffic(is_tcp=True, remote_port=443, port=edges.PORTS_OUTSIDE)
    with ExitStack() as stack:
        plain = stack.enter_context(topology.router("plain", sink))
        empty = stack.enter_context(topology.with_empty_program("empty", sink))
        nft = stack.enter_context(topology.masquerading("nft", sink))
        ce = stack.enter_context(edges.edge("ce", Mode.MAP_T, edges.HALF, sink))
        bare = stack.enter_context(edges.edge("bare", Mode.MAP_T, edges.HALF, sink))
        bare.configure(Napt44Kind.NONE)
        forwarding = _Variant("plain forwarding", plain, udp, 1)
        nothing = _Variant("empty program", empty, udp, 1)
        translating = _Variant(
            "map-t without NAPT44", bare.router, edges.already_public(bare, udp), 1
        )
        variants = [forwarding, nothing, translating]
        for flows in effort.flows:
            variants += [
                _Variant("map-t, own ports", ce.router, udp, flows, translating),
                _Variant("map-t, shared ports", ce.router, tcp, flows, translating),
                _Variant("nft masquerade", nft, udp, flows, forwarding),
            ]
        for router, traffic in ((ce.router, udp), (ce.router, tcp), (nft, udp)):
            router.measure(generator, traffic, 0, most - 1, most, cpu)
        for _ in range(effort.lookup_rounds):
            for variant in variants:
                taken = variant.router.measure(
                    generator, variant.traffic, 0, variant.flows - 1, most, cpu
                )
                variant.ns.append(taken)
    report.table(
        "Established mappings",
        _METHOD.format(most=most, rounds=effort.lookup_rounds),
        _COLUMNS,
        [
            [
                variant.name,
                variant.flows,
                spread(variant.ns),
                spread(minus(variant.ns, nothing.ns)),
                spread(minus(variant.ns, variant.base.ns)) if variant.base else "-",
            ]
            for variant in variants
        ],
    )
