# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A flood of packets that are refused, on another CPU: what those notice that have a mapping.

The set is full. One CPU sends packets of its mappings and notes how long each takes; the other
sends packets of endpoints that get none, or, to compare, as many through another router.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks import edges, topology
from benchmarks.edges import Edge
from benchmarks.frames import STEP_NS, Generator, Sink, Traffic
from benchmarks.measure import Effort, cpus, pinned_to, ratio, spread
from benchmarks.report import Cell, Report
from benchmarks.topology import Router
from mapxdp import netns
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason

#: Each request of frames costs the kernel a wait at its end: as few as possible.
_CHUNK = 200_000
_HEAD_START = 0.005
_METHOD = """\
MAP-T, all {ports} ports taken. One CPU: frames of established mappings, one at a time, from the
LAN's XDP to behind mapxdp at TC egress; each carries the time it arrived (steps of {step} ns). The
other CPU meanwhile: nothing; as many frames through a plain router ("unrelated"), for what two busy
CPUs cost each other anyway; or frames of endpoints for which no port is left ("refused"), as many
as it can. {rounds} interleaved rounds of {packets} frames; percentiles of each round,
medians of 5 blocks."""
_COLUMNS = ("other CPU", "frames/s there", "p50, ns", "p99, ns", "p50, x quiet", "p99, x quiet")
_REFUSED = (Reason.PORTS_EXHAUSTED, Reason.HOST_LIMIT, Reason.FLOWS_FULL)
_HOSTS = 64


@dataclass
class _Load:
    """What the other CPU does, and what was measured meanwhile."""

    name: str
    router: Router | None
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


def run(effort: Effort, sink: Sink, report: Report) -> None:
    """Needs two CPUs; says so where there is one."""
    if len(cpus()) < 2:
        report.table("Flood of refused packets", "Not run: it takes two CPUs.", _COLUMNS, [])
        return
    with (
        Generator(sink) as generator,
        Generator(sink) as flooder,
        topology.router("plain", sink) as plain,
        edges.edge("full", Mode.MAP_T, edges.EXAMPLE, sink) as ce,
    ):
        traffic = Traffic(is_tcp=False, remote_port=50000, port=edges.PORTS_INSIDE, hosts=_HOSTS)
        _fill(ce, generator, traffic)
        flooder.aim(traffic, ce.ports, 16384)
        loads = [_Load("quiet", None), _Load("unrelated", plain), _Load("refused", ce.router)]
        for _ in range(effort.flood_rounds):
            for load in loads:
                _measure(load, ce, generator, flooder, traffic, effort.flood_packets)
        ports = ce.ports
    method = _METHOD.format(
        ports=ports,
        step=STEP_NS,
        rounds=effort.flood_rounds,
        packets=effort.flood_packets,
    )
    rows = [_row(load, loads[0]) for load in loads]
    report.table("Flood of refused packets", method, _COLUMNS, rows)


def _fill(ce: Edge, generator: Generator, traffic: Traffic) -> None:
    with pinned_to(cpus()[0]):
        ce.router.measure(generator, traffic, 0, ce.ports - 1, ce.ports, cpus()[0])


def _measure(
    load: _Load, ce: Edge, generator: Generator, flooder: Generator, traffic: Traffic, packets: int
) -> None:
    refused = ce.counted(*_REFUSED)
    generator.aim(traffic, 0, ce.ports - 1, stamped=True)
    ce.router.sink.clear(stamped=True)
    with _flooding(load, flooder) as sent, pinned_to(cpus()[0]), netns.entered(ce.router.name):
        generator.send(ce.router.lan_ifindex, packets, batch=1)
    steps = ce.router.sink.steps()
    expected = sent() if load.router is ce.router else 0
    if sum(steps) != packets or ce.counted(*_REFUSED) - refused != expected:
        raise HostError(
            f"{load.name}: {sum(steps)} of {packets} frames came through, and "
            f"{ce.counted(*_REFUSED) - refused} of {expected} were refused",
            "a mapping may have expired: report this",
        )
    load.p50.append(_percentile(steps, 0.50))
    load.p99.append(_percentile(steps, 0.99))


@contextmanager
def _flooding(load: _Load, flooder: Generator) -> Iterator[Callable[[], int]]:
    """The other CPU is busy meanwhile; how many frames it sent."""
    frames = 0
    if load.router is None:
        yield lambda: frames
        return
    router, stop, running = load.router, threading.Event(), threading.Event()

    def flood() -> None:
        nonlocal frames
        with pinned_to(cpus()[1]), netns.entered(router.name):
            begun = time.monotonic()
            while not stop.is_set():
                running.set()
                flooder.send(router.lan_ifindex, _CHUNK)
                frames += _CHUNK
            load.rates.append(frames / (time.monotonic() - begun))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        running.wait(5)
        time.sleep(_HEAD_START)
        yield lambda: frames
    finally:
        stop.set()
        thread.join()


def _percentile(steps: list[int], part: float) -> float:
    """In ns; the middle of the step."""
    left = part * sum(steps)
    for step, count in enumerate(steps):
        left -= count
        if left <= 0:
            return (step + 0.5) * STEP_NS
    return len(steps) * STEP_NS


def _row(load: _Load, quiet: _Load) -> list[Cell]:
    return [
        load.name,
        spread(load.rates) if load.rates else "-",
        spread(load.p50),
        spread(load.p99),
        ratio(load.p50, quiet.p50),
        ratio(load.p99, quiet.p99),
    ]
