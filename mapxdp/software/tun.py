# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A TUN device: the kernel routes packets into it, and takes what is written as received."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from mapxdp.errors import HostError

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_LARGEST_PACKET = 65535


@dataclass(frozen=True, slots=True)
class Tun:
    """An open TUN device: ``fd`` gives and takes one IP packet at a time."""

    name: str
    fd: int


def open_tun(name: str) -> Tun:
    """Attaches to the TUN device ``name`` of this network namespace, made if need be.

    ``name`` may end in ``%d``: the kernel then chooses a number.
    """
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"/dev/net/tun cannot be opened: {error.strerror}",
            "load the tun driver (modprobe tun), or choose another datapath than software",
        ) from error
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    try:
        answer = fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError as error:
        os.close(fd)
        raise HostError(
            f"TUN device {name} cannot be used: {error.strerror}",
            "is another process attached to it? Choose another name, or end that process",
        ) from error
    return Tun(answer[:16].rstrip(b"\0").decode(), fd)


def pump(fd: int, handle: Callable[[bytes], Iterable[bytes]], stop: Callable[[], bool]) -> None:
    """Gives each packet from the TUN device to ``handle`` and writes what it returns.

    ``stop`` is asked whenever a quarter of a second was quiet, and after each burst.
    """
    while not stop():
        readable, _, _ = select.select([fd], [], [], 0.25)
        if readable:
            _drain(fd, handle)


def _drain(fd: int, handle: Callable[[bytes], Iterable[bytes]]) -> None:
    with suppress(BlockingIOError):
        for _ in range(256):
            packet = os.read(fd, _LARGEST_PACKET)
            for out in handle(packet):
                with suppress(OSError):  # not a packet the kernel takes: lost, as on a wire
                    os.write(fd, out)
