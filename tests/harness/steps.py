# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The steps of ``up``: whatever changes something outside of the process.

A test has one of them fail, or the process end before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from mapxdp import host
from mapxdp.bringup import software
from mapxdp.datapath import bpffs, libbpf, xdp
from mapxdp.links import Links
from mapxdp.record import Record

_STEPS: tuple[tuple[Any, str], ...] = (
    (Links, "_request"),
    (Record, "save"),
    (libbpf, "pin"),
    (xdp, "_set"),
    (bpffs, "make_current"),
    (bpffs, "remove_run"),
    (Path, "symlink_to"),
    (host, "set_sysctl"),
    (software.daemon, "start"),
    (software.daemon, "stop"),
)
#: Of the pins these will do: the first, one in the middle that matters, and the last.
_PINS = ("slots", "programs", "downstream")
#: With this step what was prepared is in force.
_DECISIVE = "symlink_to"


@contextmanager
def watched(before: Callable[[str], None]) -> Iterator[None]:
    """Calls ``before`` with a step's name before each of them is taken."""

    def watching(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **parameters: Any) -> Any:
            if name != "pin" or arguments[1].name in _PINS:
                before(name)
            return original(*arguments, **parameters)

        return step

    with ExitStack() as patched:
        for owner, name in _STEPS:
            replacement = watching(getattr(owner, name), name)
            patched.enter_context(mock.patch.object(owner, name, replacement))
        yield


class MadeToFail(OSError):
    """A step failed because a test wants it to."""


class Failing:
    """Has the ``number``-th step fail, if it comes before what was prepared is in force: later
    there is nothing to undo. ``step`` is its name then. Undoing fails nowhere."""

    def __init__(self, number: int) -> None:
        self._left: int | None = number
        self.step: str | None = None

    def __call__(self, name: str) -> None:
        if self._left is None:
            return
        self._left -= 1
        if self._left == 0:
            self._left, self.step = None, name
            raise MadeToFail(5, "made to fail")
        if name == _DECISIVE:
            self._left = None
