# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet costs, by how much there is of what a CE has many of: rules, ports, flows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import edges, rules
from benchmarks.edges import PortShare
from benchmarks.frames import Generator, Sink, Traffic
from benchmarks.measure import Effort, cpus, pinned_to, ratio, spread
from benchmarks.report import Report
from benchmarks.topology import Router
from mapxdp.model.domain import Mode

#: Shares of an address, from 240 ports on, and the whole of it.
_SHARES = tuple(PortShare(length, 4, "2001:db8:12:3400::/56") for length in (8, 6, 4, 2))
_WHOLE = PortShare(0, 6, "2001:db8:12:3400::/56")
_FEW_FLOWS = 128
_COMMON = """\
MAP-T with NAPT44, UDP, frames of 74 octets upstream, of mappings that are there; CPU time as for
new mappings. "x the smallest": of the first row, in the same rounds. Medians of 5 blocks of
{rounds} interleaved rounds of {frames} frames."""
_PORTS = f"CEs that have more and more ports, and {_FEW_FLOWS} flows in turn.\n" + _COMMON
_FLOWS = (
    "More and more flows in turn, of as many endpoints; the most: of half as many, to two\n"
    "remotes each. The tables hold as many as the last row says all the time.\n" + _COMMON
)


@dataclass
class _Size:
    """One row: of how many, and the packets that tell."""

    count: int
    router: Router
    traffic: Traffic
    flows: int
    ns: list[float] = field(default_factory=list)


def run(effort: Effort, report: Report) -> None:
    """Each of the three by itself."""
    rules.run(effort, report)
    sink = Sink()
    try:
        with pinned_to(cpus()[0]), Generator(sink) as generator:
            _ports(effort, generator, sink, report)
            _flows(effort, generator, sink, report)
    finally:
        sink.close()


def _ports(effort: Effort, generator: Generator, sink: Sink, report: Report) -> None:
    traffic = Traffic(is_tcp=False, remote_port=50000, port=edges.PORTS_OUTSIDE)
    with ExitStack() as stack:
        sizes = []
        for share in (*_SHARES[: effort.scales], _WHOLE):
            label = f"ports{share.psid_length}"
            ce = stack.enter_context(edges.edge(label, Mode.MAP_T, share, sink))
            sizes.append(_Size(ce.ports, ce.router, traffic, _FEW_FLOWS))
        _measure(sizes, effort, generator)
    _tell("Ports", _PORTS, sizes, effort, report)


def _flows(effort: Effort, generator: Generator, sink: Sink, report: Report) -> None:
    traffic = Traffic(is_tcp=False, remote_port=50000, port=edges.PORTS_INSIDE)
    with edges.edge("flows", Mode.MAP_T, _WHOLE, sink) as ce:
        sizes = [_Size(flows, ce.router, traffic, flows) for flows in effort.many_flows]
        _measure(sizes, effort, generator)
    _tell("Flows", _FLOWS, sizes, effort, report)


def _measure(sizes: Sequence[_Size], effort: Effort, generator: Generator) -> None:
    frames = _frames(sizes, effort)
    for number in range(effort.lookup_rounds + 1):
        for size in sizes:
            taken = size.router.measure(
                generator, size.traffic, 0, size.flows - 1, frames, cpus()[0]
            )
            if number:  # the first one only begins the mappings
                size.ns.append(taken)


def _frames(sizes: Sequence[_Size], effort: Effort) -> int:
    """So many that each flow is in every slice."""
    return max(*effort.flows, *(size.flows for size in sizes))


def _tell(title: str, method: str, sizes: list[_Size], effort: Effort, report: Report) -> None:
    smallest = sizes[0].ns
    report.table(
        title,
        method.format(rounds=effort.lookup_rounds, frames=_frames(sizes, effort)),
        (title.lower(), "ns", "x the smallest"),
        [[size.count, spread(size.ns), ratio(size.ns, smallest)] for size in sizes],
    )
