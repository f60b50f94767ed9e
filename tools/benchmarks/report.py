# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a benchmark prints, and the same as JSON and as a drawing."""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import svg
from benchmarks.measure import Ratio, Spread
from mapxdp import __version__

Cell = str | int | float | Spread


@dataclass
class Report:
    """The tables of one run; printed as they come, unless ``echo`` is off."""

    command: str
    echo: bool = True
    _tables: list[dict[str, Any]] = field(default_factory=list)
    _charts: list[svg.Chart] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._machine = _machine()
        self._say(f"tools/bench {self.command}: {', '.join(self._machine.values())}")

    def table(
        self, title: str, method: str, columns: Sequence[str], rows: list[list[Cell]]
    ) -> None:
        """Adds a table, with how its numbers came about. Spreads are low / middle / high."""
        named = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
        self._tables.append({"title": title, "method": method, "rows": named})
        self._charts += _charts(title, columns, rows)
        self._say(f"\n## {title}\n\n{method}\n\n{_text(columns, rows)}")

    def data(self) -> dict[str, Any]:
        """Everything."""
        return {"command": self.command, "machine": self._machine, "tables": self._tables}

    def drawing(self) -> str:
        """The ratios, as an SVG document."""
        return svg.draw(f"{self.command}: {', '.join(self._machine.values())}", self._charts)

    def _say(self, text: str) -> None:
        if self.echo:
            print(text, flush=True)


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Spread):
        return {"low": cell.low, "middle": cell.middle, "high": cell.high}
    return cell


def _charts(title: str, columns: Sequence[str], rows: list[list[Cell]]) -> Iterator[svg.Chart]:
    """One for each column of ratios."""
    for number, column in enumerate(columns):
        ratios = [(_label(columns, row), row[number]) for row in rows]
        bars = [(label, cell) for label, cell in ratios if isinstance(cell, Ratio)]
        if bars:
            yield svg.Chart(f"{title}: {column}", bars)


def _label(columns: Sequence[str], row: list[Cell]) -> str:
    """What a row is of: the words that it begins with, or else the numbers."""
    words = [cell for cell in itertools.takewhile(lambda x: isinstance(x, str), row) if cell != "-"]
    if words:
        return ", ".join(map(str, words))
    numbers = itertools.takewhile(lambda x: isinstance(x, int), row)
    return ", ".join(f"{number} {column}" for number, column in zip(numbers, columns, strict=False))


def _text(columns: Sequence[str], rows: list[list[Cell]]) -> str:
    lines = [list(columns), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _shown(cell: Cell) -> str:
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def _machine() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":")[1] for line in cpuinfo.splitlines() if line.startswith("model name")]
    virtual = " hypervisor " in cpuinfo
    return {
        "date": time.strftime("%Y-%m-%d"),
        "mapxdp": f"mapxdp {__version__}",
        "kernel": f"Linux {platform.release()} {platform.machine()}",
        "cpu": f"{os.cpu_count()} x {' '.join(models[0].split()) if models else 'unknown CPU'}"
        + (" (virtual)" if virtual else ""),
        "load": f"load {os.getloadavg()[0]:.1f} at the start",
    }
