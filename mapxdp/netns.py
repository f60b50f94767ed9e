# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Entering a network namespace, or a new one: for this thread only, and for a time only.

File systems stay as they are, /sys/fs/bpf with them; that is what ``ip netns exec`` changes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapxdp.errors import HostError

DIRECTORY = Path("/run/netns")
_OWN = Path("/proc/thread-self/ns/net")
_CLONE_NEWNET = 0x40000000


@contextmanager
def entered(name: str | None) -> Iterator[None]:
    """Inside the named network namespace; where this thread is already for None.

    HostError where there is no such namespace.
    """
    if name is None:
        yield
        return
    try:
        target = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        known = ", ".join(sorted(path.name for path in DIRECTORY.glob("*"))) or "none"
        raise HostError(
            f"network namespace {name} cannot be entered: {error.strerror} (known: {known})",
            f"ip netns add {name}, or correct --netns",
        ) from error
    try:
        with inside(target):
            yield
    finally:
        os.close(target)


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """Inside the network namespace of an open file descriptor."""
    origin = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked("setns", fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            _checked("setns", origin, _CLONE_NEWNET)
    finally:
        os.close(origin)


def new() -> int:
    """A network namespace without a name, as a file descriptor: it goes when that is closed, and
    what was opened in it."""
    origin = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked("unshare", _CLONE_NEWNET)
        made = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        _checked("setns", origin, _CLONE_NEWNET)
        return made
    finally:
        os.close(origin)


def _checked(call: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments) != 0:
        error = ctypes.get_errno()
        remedy = "run as root (network namespaces need it)"
        raise HostError(f"{call}: {os.strerror(error)}", remedy)
