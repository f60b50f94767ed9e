# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Running a function in a child process: a library that aborts ends the child, not us."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from typing import IO, Any, TypeVar

T = TypeVar("T")


class Crashed(Exception):
    """The child ended without a result; ``diagnostics`` is what it wrote to standard error."""

    def __init__(self, status: int, diagnostics: str) -> None:
        self.diagnostics = diagnostics
        super().__init__(f"ended with status {os.waitstatus_to_exitcode(status)}")


class Raised(Exception):
    """The function raised ``error``; ``diagnostics`` is what was written to standard error."""

    def __init__(self, error: Exception, diagnostics: str) -> None:
        self.error = error
        self.diagnostics = diagnostics
        super().__init__(str(error))


def run(function: Callable[[], T]) -> T:
    """The result of ``function``, which has to be made of plain values.

    Raises Raised with its exception, or Crashed where the child did not live to say anything.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as captured:
        child = os.fork()
        if child == 0:
            _answer(function, answer, captured)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        captured.seek(0)
        diagnostics = captured.read().decode(errors="replace").strip()
        try:
            error, result = pickle.load(answer)  # noqa: S301  (written by our own child)
        except (EOFError, pickle.UnpicklingError):
            raise Crashed(status, diagnostics) from None
        if error is not None:
            raise Raised(error, diagnostics)
        return result  # type: ignore[no-any-return]


def _close_all_but(*kept: int) -> None:
    """Above all the locks: they would outlive a parent that is killed meanwhile."""
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _answer(function: Callable[[], Any], answer: IO[bytes], captured: IO[bytes]) -> None:
    """In the child: writes the result or the error, and ends the process."""
    status = 1
    try:
        os.dup2(captured.fileno(), 2)
        _close_all_but(answer.fileno(), captured.fileno())
        reply: tuple[Exception | None, Any]
        try:
            reply = (None, function())
        except Exception as error:  # noqa: BLE001  (the parent judges it)
            reply = (error, None)
        pickle.dump(reply, answer)
        answer.flush()
        status = 0
    finally:
        os._exit(status)
