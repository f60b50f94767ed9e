# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reasons in words, for ``mapxdp explain``."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mapxdp.explanations import CLASSES, Explanation

_INDENT = (0, 0, 0, 2)


def render(explanation: Explanation) -> RenderableType:
    """All there is to say of one reason."""
    name, reason = explanation.name, explanation.reason
    title = Text(name, style="bold")
    if reason is not None:
        title.append(f": {reason.text}", style="not bold")
    return Group(
        title,
        Text(explanation.heading, style="dim"),
        Text(),
        Text(explanation.meaning),
        Text(),
        Text("Likely causes", style="bold"),
        _points(explanation.causes),
        Text(),
        Text("What to check", style="bold"),
        _points(explanation.check),
    )


def render_list(explanations: Iterable[Explanation]) -> RenderableType:
    """Every reason of the datapath with its few words, class by class."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    reasons = [entry.reason for entry in explanations if entry.reason is not None]
    for reason_class, (title, _) in CLASSES.items():
        table.add_row(Text(title, style="bold"))
        for reason in reasons:
            if reason.reason_class is reason_class:
                table.add_row(f"  {reason.name}", Text(reason.text))
    return table


def _points(lines: Iterable[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("•", Text(line))
    return Padding(grid, _INDENT)
