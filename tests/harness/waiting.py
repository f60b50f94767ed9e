# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Waiting for something to hold, or for a file descriptor, whatever its number: select() takes none
above 1023, and a test run keeps the programs of many datapaths open."""

from __future__ import annotations

import select
import time
from collections.abc import Callable


def is_readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read, or its end, within some seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def comes_true(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether something holds before so many seconds have passed: asked again and again."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
