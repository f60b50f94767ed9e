# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""CEs are brought up from nothing, from bytecode that is there, and in place of themselves."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import traffic
from benchmarks.load.traffic import Counted
from benchmarks.measure import Effort, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.replay import Ends
from benchmarks.pps.routers import Router
from benchmarks.pps.way import Connection
from benchmarks.report import Cell, Report
from mapxdp import ce, netns
from mapxdp.bringup.plan import Say
from mapxdp.config import parse
from mapxdp.datapath import bytecode_cache, compiler, xdp
from mapxdp.errors import HostError
from mapxdp.links import open_links
from mapxdp.model.domain import Mode
from mapxdp.record import Record

_LOADED = "compiled and loaded"
_PATIENCE, _PAUSE = 5.0, 0.01
_COLD, _ON_DISK, _IN_MEMORY = "nothing cached", "bytecode on disk", "bytecode in memory"
_UP = """\
`mapxdp up`, without starting Python. "to be loaded": until all programs are compiled, verified and
loaded, and their maps are there; "to be attached": from then on to its end, with pins, filters,
address and route. From nothing; from the bytecode that the last process left on disk; from what
this process has compiled, which leaves loading alone. Seconds, of {rounds} interleaved rounds
({cold} from nothing)."""
_UP_COLUMNS = ("mode", "accelerator", "from", "to be loaded, s", "to be attached, s", "x cold")
_CHANGE = """\
A running CE with 252 ports, and one established UDP connection with up to 4000 numbered packets a
second each way, which another process sends and looks for at the far ends of the veth pairs.
Meanwhile `mapxdp up` puts the same CE in its own place, from bytecode on disk; or `mapxdp reload`
a changed file. "down, then up", once, shows that losses are seen. "lost": packets that did not
arrive at the other side. {rounds} interleaved rounds."""
_CHANGE_COLUMNS = (
    "mode",
    "accelerator",
    "change",
    "s",
    "sent up",
    "lost up",
    "sent down",
    "lost down",
)


@dataclass
class _Start:
    """How long ``up`` took, each time."""

    loaded: list[float] = field(default_factory=list)
    attached: list[float] = field(default_factory=list)


@dataclass
class _Change:
    """How long a change took, and what was counted, each time."""

    seconds: list[float] = field(default_factory=list)
    counts: list[tuple[Counted, Counted]] = field(default_factory=list)


@dataclass
class _Variant:
    mode: Mode
    accelerator: str
    router: Router
    text: str
    directory: Path
    starts: dict[str, _Start] = field(default_factory=dict)
    changes: dict[str, _Change] = field(default_factory=dict)

    def write(self, more: str = "") -> Path:
        """The configuration, in a file; with ``more`` it is another one."""
        path = self.directory / f"{self.router.name}.toml"
        path.write_text(self.text + more, encoding="utf-8")
        return path


def run(effort: Effort, report: Report) -> None:
    """With the accelerator at TC and at XDP."""
    ends = Ends()
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            variants = [
                _variant(stack, ends, mode, accelerator, directory)
                for mode in effort.modes
                for accelerator in ("tc", "xdp")
            ]
            _measure_starts(variants, effort)
            _tell_starts(variants, effort, report)
            _measure_changes(variants, effort)
            _tell_changes(variants, effort, report)
    finally:
        ends.close()


def _variant(
    stack: ExitStack, ends: Ends, mode: Mode, accelerator: str, directory: Path
) -> _Variant:
    """A router that is ready for a CE."""
    router = stack.enter_context(routers.ready(f"{mode}-{accelerator}-load"))
    with netns.entered(router.name), open_links() as links:
        # XDP can send to an interface of a veth pair whose other end polls.
        for name in ("lan-end", "wan-end"):
            link = links.find(name)
            xdp.attach(link.name, link.index, ends.pass_on, None)
    text = routers.configuration(router.name, mode, accelerator, routers.OF_256)
    return _Variant(mode, accelerator, router, text, directory)


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Bytecode is looked for where there is none meanwhile."""
    former = os.environ.get(bytecode_cache.DIRECTORY_VARIABLE)
    with tempfile.TemporaryDirectory() as directory:
        os.environ[bytecode_cache.DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[bytecode_cache.DIRECTORY_VARIABLE]
            if former is not None:
                os.environ[bytecode_cache.DIRECTORY_VARIABLE] = former


def _measure_starts(variants: list[_Variant], effort: Effort) -> None:
    for variant in variants:  # the bytecode is on disk then
        ce.up(variant.write(), variant.router.name, _silent)
        ce.down(variant.router.name, _silent)
    for number in range(effort.starts):
        for variant in variants:
            if number < effort.cold_starts:
                with _empty_cache():
                    _start(variant, _COLD, compiler.forget)
            _start(variant, _ON_DISK, compiler.forget)
            _start(variant, _IN_MEMORY, lambda: None)


def _start(variant: _Variant, name: str, prepare: Callable[[], None]) -> None:
    prepare()
    loaded = 0.0

    def say(text: str) -> None:
        nonlocal loaded
        if text.startswith(_LOADED):
            loaded = time.monotonic()

    begun = time.monotonic()
    ce.up(variant.write(), variant.router.name, say)
    ended = time.monotonic()
    ce.down(variant.router.name, _silent)
    if not loaded:
        raise HostError(f"'up' did not say that it has {_LOADED} anything", "report this")
    start = variant.starts.setdefault(name, _Start())
    start.loaded.append(loaded - begun)
    start.attached.append(ended - loaded)


def _measure_changes(variants: list[_Variant], effort: Effort) -> None:
    with ExitStack() as stack:
        for variant in variants:
            ce.up(variant.write(), variant.router.name, _silent)
            stack.callback(ce.down, variant.router.name, _silent)
        for number in range(effort.starts):
            for variant in variants:
                _change(variant, "up", ce.up, "")
                _change(variant, "reload", ce.reload, _with_timeout(number))
        for variant in variants:
            _change(variant, "down, then up", _down_and_up, "")


def _down_and_up(path: Path, namespace: str, say: Say) -> Record:
    """What nobody should do: packets are lost, and have to be counted as lost."""
    ce.down(namespace, say)
    return ce.up(path, namespace, say)


def _silent(_: str) -> None:
    """Nobody is told."""


def _with_timeout(number: int) -> str:
    """A setting that is another each time."""
    return f"\n[napt44.timeouts]\nudp_answered = {301 + number}\n"


def _change(
    variant: _Variant, name: str, change: Callable[[Path, str, Say], Record], more: str
) -> None:
    path = variant.write(more)
    compiler.forget()
    noted = variant.changes.setdefault(name, _Change())
    with traffic.flowing(variant.router.name, *_frames(variant)) as running:
        begun = time.monotonic()
        change(path, variant.router.name, _silent)
        noted.seconds.append(time.monotonic() - begun)
    assert running.counts is not None  # the traffic has ended
    noted.counts.append(running.counts)


def _frames(variant: _Variant) -> tuple[bytes, bytes]:
    """Of a connection that has a mapping, upstream and downstream."""
    connection, domain = Connection(0), parse(variant.text, "benchmark").domain
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with netns.entered(variant.router.name):
            traffic.send("lan-end", connection.up())
        time.sleep(_PAUSE)
        port = variant.router.external_ports().get((str(connection.host), connection.port))
        if port is not None:
            return connection.up(), connection.down_from(domain, port)
    raise HostError(f"{variant.router.name}: packets began no mapping", "report this")


def _tell_starts(variants: list[_Variant], effort: Effort, report: Report) -> None:
    rows: list[list[Cell]] = [
        [
            str(variant.mode),
            variant.accelerator,
            name,
            spread(start.loaded),
            spread(start.attached),
            _times_cold(start, variant.starts.get(_COLD)),
        ]
        for variant in variants
        for name, start in variant.starts.items()
    ]
    method = _UP.format(rounds=effort.starts, cold=effort.cold_starts)
    report.table("Bringing up", method, _UP_COLUMNS, rows)


def _times_cold(start: _Start, cold: _Start | None) -> Cell:
    """Of the rounds that both have."""
    if cold is None:
        return "-"
    return ratio(start.loaded[: len(cold.loaded)], cold.loaded)


def _tell_changes(variants: list[_Variant], effort: Effort, report: Report) -> None:
    rows: list[list[Cell]] = []
    for variant in variants:
        for name, change in variant.changes.items():
            up, down = zip(*change.counts, strict=True)
            rows.append(
                [
                    str(variant.mode),
                    variant.accelerator,
                    name,
                    spread(change.seconds),
                    *(total for way in (up, down) for total in _totals(way)),
                ]
            )
    method = _CHANGE.format(rounds=effort.starts)
    report.table("Changing a running CE under traffic", method, _CHANGE_COLUMNS, rows)


def _totals(way: tuple[Counted, ...]) -> tuple[int, int]:
    """Sent and lost, in all rounds."""
    return sum(counted.sent for counted in way), sum(counted.lost for counted in way)
