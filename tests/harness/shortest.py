# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The few of many steps that still fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Step = TypeVar("Step")


def shortest(
    steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool], tries: int = 400
) -> Sequence[Step]:
    """Leaves out runs of steps, ever shorter ones, as long as what is left fails."""
    length = len(steps) // 2
    while length and tries:
        at = 0
        while at < len(steps) and tries:
            tries -= 1
            fewer = [*steps[:at], *steps[at + length :]]
            if fails(fewer):
                steps = fewer
            else:
                at += length
        length //= 2
    return steps
