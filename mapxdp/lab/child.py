# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A process of the lab's: started, asked questions, and ended with the lab."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from mapxdp.errors import HostError

_START_SECONDS = 20


class Child:
    """The running process, seen from the lab."""

    def __init__(self, what: str, connection: Connection) -> None:
        self._what = what
        self._connection = connection

    def wait_until_ready(self) -> None:
        """HostError if it dies before it is, or takes too long."""
        if not self._connection.poll(_START_SECONDS):
            raise HostError(f"{self._what} did not start in time", "is this machine very busy?")
        self._receive()

    def ask(self, question: str) -> Any:
        """Its answer; HostError if it has died."""
        try:
            self._connection.send(question)
        except OSError as error:
            raise self._dead() from error
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._dead() from error

    def _dead(self) -> HostError:
        return HostError(f"{self._what} has died", "its last words are above; if not, see 'dmesg'")


@contextmanager
def running(what: str, main: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    """Runs ``main(*arguments, connection)`` meanwhile: it sends "ready", and then answers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(main, *arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        child = Child(what, ours)
        child.wait_until_ready()
        yield child
    finally:
        process.terminate()
        process.join()
        ours.close()


def _run(main: Callable[..., None], *arguments: Any) -> None:
    """Ctrl-C and the like are the lab's to handle: it ends its children when it cleans up."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(*arguments)
