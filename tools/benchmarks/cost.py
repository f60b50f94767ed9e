# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What each BPF program of the established path costs by itself: instructions, and time."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from benchmarks import bpf
from benchmarks.bpf import SingleRuns
from benchmarks.measure import Effort, cpus, middle_half, minus, pinned_to, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.replay import Ends, Player
from benchmarks.pps.routers import Router
from benchmarks.pps.way import Connection
from benchmarks.report import Report
from mapxdp import netns
from mapxdp.datapath import instance, libbpf, trial
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode

_XDP_PASS, _XDP_REDIRECT = 2, 4
_SETTLING = 64  # frames
_ATTEMPTS = 3
_ETHER_TYPE = slice(12, 14)
_METHOD = """\
The program that takes packets of established connections: without an accelerator at the WAN, with
one where packets arrive. BPF_PROG_TEST_RUN, each run with a fresh packet (UDP, 64 octets upstream),
counted if its verdict is that of a packet on its way. "ns": over an empty program of the same type
in the same rounds; what the kernel does before and after is not in it. "verified": instructions the
verifier went through on all ways; "jited": octets of machine code; both of this program alone,
without those it would hand other packets to. Middle half of {runs} runs; medians of 5 blocks of
{rounds} interleaved rounds."""
_COLUMNS = ("mode", "accelerator", "way", "verified", "jited", "ns", "x no accelerator")


@dataclass
class _Program:
    """One program on the established path, and the empty one of its type."""

    mode: Mode
    accelerator: str
    way: str
    size: bpf.ProgramSize
    runs: SingleRuns
    verdict: int
    empty: _Empty
    ns: list[float] = field(default_factory=list)


@dataclass
class _Empty:
    """What a run costs anyway, with the same packet."""

    runs: SingleRuns
    verdict: int
    ns: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Ce:
    """A CE with one established connection."""

    mode: Mode
    accelerator: str
    router: Router
    up: Player
    down: Player
    frames: dict[str, bytes]

    def settle(self) -> None:
        """Both directions are what they were: the kernel has seen a packet, should it be time."""
        with netns.entered(self.router.name):
            self.up.play(self.router.lan, _SETTLING)
            self.down.play(self.router.wan, _SETTLING)


def run(effort: Effort, report: Report) -> None:
    """Without an accelerator and with each."""
    ends = Ends()
    try:
        with pinned_to(cpus()[0]), ExitStack() as stack:
            programs: list[tuple[_Ce, _Program]] = []
            for mode in effort.modes:
                for accelerator in ("off", "tc", "xdp"):
                    ce = _established(stack, ends, mode, accelerator)
                    programs += [(ce, one) for one in stack.enter_context(_programs(ce))]
            for _ in range(effort.rounds):
                for ce, program in programs:
                    _measure(ce, program, effort.runs)
    finally:
        ends.close()
    _tell([program for _, program in programs], effort, report)


def _established(stack: ExitStack, ends: Ends, mode: Mode, accelerator: str) -> _Ce:
    label = f"{mode}-{accelerator}-cost"
    router = stack.enter_context(routers.edge(label, ends, mode, accelerator))
    connection, domain = Connection(0), router.domain
    assert domain is not None  # of an edge
    up_program, down_program = router.programs or (None, None)
    up = stack.enter_context(Player([connection.up()], up_program))
    with netns.entered(router.name):
        up.play(router.lan, _SETTLING)
    port = router.external_ports()[str(connection.host), connection.port]
    frames = {"up": connection.up(), "down": connection.down_from(domain, port)}
    down = stack.enter_context(Player([frames["down"]], down_program))
    ce = _Ce(mode, accelerator, router, up, down, frames)
    for _ in range(3):
        ce.settle()
    return ce


@contextmanager
def _programs(ce: _Ce) -> Iterator[list[_Program]]:
    """Those of a CE, upstream and downstream."""
    pins = {"up": instance.UPSTREAM_PIN, "down": instance.DOWNSTREAM_PIN}
    arrives = {"up": ce.router.wan, "down": ce.router.wan}
    if ce.accelerator != "off":
        pins = {"up": instance.accelerator_pin("lan"), "down": instance.accelerator_pin("wan")}
        arrives["up"] = ce.router.lan
    pinned = instance.pinned(ce.router.name)
    with ExitStack() as closing:
        made = []
        for way, pin in pins.items():
            fd = libbpf.open_pinned(pinned / pin)
            closing.callback(os.close, fd)
            made.append(_program(closing, ce, way, fd, arrives[way]))
        yield made


def _program(closing: ExitStack, ce: _Ce, way: str, fd: int, ifindex: int) -> _Program:
    frame = ce.frames[way]
    if ce.accelerator == "xdp":
        kind, idle, verdict = libbpf.PROGRAM_TYPE_XDP, _XDP_PASS, _XDP_REDIRECT
        context = struct.pack("=IIIIII", 0, len(frame), 0, ifindex, 0, 0)
    else:
        kind, idle = libbpf.PROGRAM_TYPE_SCHED_CLS, trial.PASSED_ON
        verdict = trial.PASSED_ON if ce.accelerator == "off" else trial.REDIRECTED
        context = trial.context(ifindex=ifindex)
    _require_translated(ce, way, fd, context)
    nothing = bpf.load_empty(kind, idle)
    closing.callback(os.close, nothing)
    empty = _Empty(SingleRuns(nothing, frame, context), idle)
    runs = SingleRuns(fd, frame, context)
    return _Program(ce.mode, ce.accelerator, way, bpf.size_of(fd), runs, verdict, empty)


def _require_translated(ce: _Ce, way: str, fd: int, context: bytes) -> None:
    """HostError unless the frame becomes one of the other family: without an accelerator the
    verdict is the same if nothing is done to it."""
    frame = ce.frames[way]
    with netns.entered(ce.router.name):
        made = libbpf.run_program(fd, frame, context=context).packet
    if made[_ETHER_TYPE] == frame[_ETHER_TYPE]:
        raise HostError(f"{ce.router.name}, {way}: a packet was not translated", "report this")


def _measure(ce: _Ce, program: _Program, runs: int) -> None:
    """One slice of a program and of the empty one."""
    program.ns.append(middle_half(_taken(ce, program, runs)))
    with netns.entered(ce.router.name):
        program.empty.ns.append(middle_half(program.empty.runs.take(runs, program.empty.verdict)))


def _taken(ce: _Ce, program: _Program, runs: int) -> list[int]:
    """ns of runs whose packets went on. HostError if half of the packets stayed.

    Now and then it is time for the kernel to see a packet of the connection, just when none is its.
    """
    for _ in range(_ATTEMPTS):
        ce.settle()
        with netns.entered(ce.router.name):
            taken = program.runs.take(runs, program.verdict)
        if len(taken) > runs // 2:
            return taken
    raise HostError(
        f"{ce.router.name}, {program.way}: {len(taken)} of {runs} packets went on",
        "an established connection is not one any more: report this",
    )


def _tell(programs: list[_Program], effort: Effort, report: Report) -> None:
    alone = {(p.mode, p.accelerator, p.way): minus(p.ns, p.empty.ns) for p in programs}
    report.table(
        "BPF programs of the established path",
        _METHOD.format(runs=effort.runs, rounds=effort.rounds),
        _COLUMNS,
        [
            [
                str(program.mode),
                program.accelerator,
                program.way,
                program.size.verified,
                program.size.jited,
                spread(alone[program.mode, program.accelerator, program.way]),
                ratio(
                    alone[program.mode, program.accelerator, program.way],
                    alone[program.mode, "off", program.way],
                ),
            ]
            for program in programs
        ],
    )
