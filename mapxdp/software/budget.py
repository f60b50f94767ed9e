# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How many ICMP errors are sent: a few in each tick, all kinds together (RFC 1812 section
4.3.2.8, RFC 4443 section 2.4)."""

from __future__ import annotations

from collections.abc import Callable

REFUSALS_PER_TICK = 10


class Budget:
    """What is left of it in the tick that the clock shows."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._tick = clock()
        self._taken = 0

    def take(self) -> bool:
        """True if one more may be sent, which then counts."""
        now = self._clock()
        if now != self._tick:
            self._tick, self._taken = now, 0
        self._taken += 1
        return self._taken <= REFUSALS_PER_TICK
