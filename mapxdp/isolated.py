# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Running functions in child processes: a library that aborts ends the child, not us."""

from __future__ import annotations

import os
import pickle
import select
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
    return run_all([function], 1)[0]


def run_all(functions: Sequence[Callable[[], T]], at_once: int) -> list[T]:
    """The same for several, each in a child of its own, of which so many run at a time.

    The first to fail ends the others.
    """
    waiting = list(enumerate(functions))
    results: dict[int, T] = {}
    running: dict[int, tuple[int, _Child]] = {}
    ended = select.poll()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, function = waiting.pop(0)
                child = _Child(function)
                running[child.ended] = (number, child)
                ended.register(child.ended, select.POLLIN)
            for fd, _ in ended.poll():
                ended.unregister(fd)
                number, child = running.pop(fd)
                results[number] = child.result()
    finally:
        for _, child in running.values():
            child.kill()
    return [results[number] for number in range(len(functions))]


class _Child:
    """A function at work in a process of its own; ``ended`` is readable when it is done."""

    def __init__(self, function: Callable[[], Any]) -> None:
        with ExitStack() as opened:
            self._answer = opened.enter_context(tempfile.TemporaryFile())
            self._captured = opened.enter_context(tempfile.TemporaryFile())
            self._pid = os.fork()
            if self._pid == 0:
                _answer(function, self._answer, self._captured)
            self.ended = os.pidfd_open(self._pid)
            self._files = opened.pop_all()

    def kill(self) -> None:
        """Ends it, whatever it has done."""
        with self._files:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()

    def result(self) -> Any:
        """Waits for what it answers."""
        with self._files:
            status = self._wait()
            self._answer.seek(0)
            self._captured.seek(0)
            diagnostics = self._captured.read().decode(errors="replace").strip()
            try:
                error, result = pickle.load(self._answer)  # noqa: S301  (written by our own child)
            except (EOFError, pickle.UnpicklingError):
                raise Crashed(status, diagnostics) from None
            if error is not None:
                raise Raised(error, diagnostics)
            return result

    def _wait(self) -> int:
        os.close(self.ended)
        return os.waitpid(self._pid, 0)[1]


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
