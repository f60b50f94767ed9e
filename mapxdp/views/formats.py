# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Numbers for people."""

from __future__ import annotations

from collections.abc import Sequence

_PREFIXES = ("", "k", "M", "G", "T")
_BLOCKS = "▁▂▃▄▅▆▇█"


def quantity(value: float, unit: str = "") -> str:
    """``1234567, "bit/s"`` → ``1.23 Mbit/s``: three digits and a prefix."""
    for prefix in _PREFIXES:
        if value < 999.5 or prefix == _PREFIXES[-1]:
            break
        value /= 1000
    digits = f"{value:.0f}" if value >= 99.95 or value == int(value) else f"{value:.3g}"
    return f"{digits} {prefix}{unit}".rstrip()


def duration(seconds: float) -> str:
    """``93784`` → ``1d 02:03:04``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}d {clock}" if days else clock


def history_line(values: Sequence[float], width: int) -> str:
    """The last ``width`` values as a line of bars, the highest of them full."""
    shown = list(values)[-width:]
    highest = max(shown, default=0)
    if highest <= 0:
        return _BLOCKS[0] * len(shown)
    last = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(value / highest * last)] for value in shown)


def bar(part: float, width: int) -> tuple[str, str]:
    """A bar of ``width`` cells: its full and its empty half. A little is never nothing."""
    filled = round(max(0.0, min(1.0, part)) * width)
    if part > 0:
        filled = max(1, filled)
    return "█" * filled, "░" * (width - filled)
