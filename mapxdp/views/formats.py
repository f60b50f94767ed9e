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


def short_duration(seconds: int) -> str:
    """``7440`` → ``2h04m``: two units, for columns."""
    minutes, second = divmod(max(0, seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    if hours:
        return f"{hours}h{minute:02}m"
    return f"{minutes}m{second:02}s" if minutes else f"{second}s"


def levels(parts: Sequence[float], width: int) -> str:
    """Parts of a whole as bars, as many as there is room: where it is short, neighbours share
    one. A little is never nothing.
    """
    each = max(1, -(-len(parts) // max(1, width)))
    groups = [parts[start : start + each] for start in range(0, len(parts), each)]
    return "".join(_level(sum(group) / len(group)) for group in groups)


def _level(part: float) -> str:
    last = len(_BLOCKS) - 1
    return "·" if part <= 0 else _BLOCKS[round(min(1.0, part) * last)]


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
