# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The live view on a terminal: a frame each second until q is pressed."""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from mapxdp.snapshot import Take, require_running
from mapxdp.views.top import Top

INTERVAL = 1.0


def one_frame(take: Take, interval: float = INTERVAL) -> Top:
    """A frame whose rates are those of the next ``interval`` seconds."""
    top = Top(require_running(take()))
    time.sleep(interval)
    top.add(require_running(take()))
    return top


def run(
    take: Take, console: Console, seconds: float | None = None, interval: float = INTERVAL
) -> Top:
    """Shows the view until q is pressed, or for some seconds; the last frame.

    StateError when there is nothing to show any more: the terminal is as before by then.
    """
    top = Top(require_running(take()))
    deadline = None if seconds is None else time.monotonic() + seconds
    with (
        _key_pressed() as quit_pressed,
        Live(top, console=console, screen=True, auto_refresh=False) as live,
    ):
        while not quit_pressed(interval):
            top.add(require_running(take()))
            live.update(top, refresh=True)
            if deadline is not None and time.monotonic() >= deadline:
                break
    return top


@contextmanager
def _key_pressed() -> Iterator[Callable[[float], bool]]:
    """A function that waits and says if q (or Ctrl-C, or Ctrl-D) was pressed meanwhile."""
    if not sys.stdin.isatty():
        yield _wait_only
        return
    fd = sys.stdin.fileno()
    former = termios.tcgetattr(fd)
    tty.setcbreak(fd)

    def pressed(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([fd], [], [], left)
            if readable and sys.stdin.read(1) in ("q", "Q", "\x03", "\x04", ""):
                return True
        return False

    try:
        yield pressed
    except KeyboardInterrupt:
        return
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, former)


def _wait_only(seconds: float) -> bool:
    time.sleep(seconds)
    return False
