# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One at a time: a file that is locked while something is changed, and gone afterwards."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapxdp.errors import StateError, refusals


@contextmanager
def held(path: Path, problem: str) -> Iterator[None]:
    """Holds the lock ``path`` meanwhile; StateError with ``problem`` if another process does.

    The kernel gives it up if this process is killed.
    """
    with refusals(f"{path} cannot be locked", "see that /run is a writable file system"):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _take(fd) or not _is(fd, path):
            raise StateError(problem, "wait until it has ended, and try again")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(fd: int, path: Path) -> bool:
    """False if the file was removed by its former holder after we had opened it."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
