# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The datapath's clock: jiffies shifted down to ticks of a second or a little more."""

from __future__ import annotations

import time
from dataclasses import dataclass

_CLOCK_MONOTONIC_COARSE = 6  # <linux/time.h>; Python has no name for it


@dataclass(frozen=True, slots=True)
class TickClock:
    """``hz`` jiffies make a second, 2^``shift`` jiffies a tick; ``offset`` is added to it."""

    hz: int
    shift: int
    offset: int = 0

    @classmethod
    def of_this_kernel(cls) -> TickClock:
        """The coarse clock advances once a jiffy: its resolution says how long that is."""
        hz = round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
        return cls(hz=hz, shift=(hz - 1).bit_length())

    def ticks(self, seconds: int) -> int:
        """The ticks that ``seconds`` take, rounded up: nothing expires early."""
        return -(-seconds * self.hz >> self.shift)

    def tick_at(self, monotonic_ns: int, offset: int) -> int:
        """The tick at a time of CLOCK_MONOTONIC, as the datapath sees it, give or take one.

        The kernel counts jiffies along that clock, from 5 minutes before a 32-bit overflow.
        """
        jiffies = (1 << 32) - 300 * self.hz + monotonic_ns * self.hz // 1_000_000_000
        return (jiffies >> self.shift) + offset & 0xFFFFFFFF


class StoppedClock(TickClock):
    """A tick is a second, and it is always the same one: jiffies >> 63 is 0."""

    def __init__(self, tick: int) -> None:
        super().__init__(hz=1, shift=63, offset=tick)

    def ticks(self, seconds: int) -> int:
        """As many."""
        return seconds
