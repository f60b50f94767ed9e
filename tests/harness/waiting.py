# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Waiting for a file descriptor, whatever its number: select() takes none above 1023, and a test
run keeps the programs of many datapaths open."""

from __future__ import annotations

import select


def is_readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read, or its end, within some seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
