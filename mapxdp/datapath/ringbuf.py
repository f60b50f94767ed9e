# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reading a BPF ring buffer, through libbpf.so.1.

What was read is gone from the buffer: of several readers each gets a part.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from mapxdp.datapath import libbpf

#: Samples taken at once: whoever writes faster than they can be read must not hold the reader.
BATCH = 1024

_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingBuffer:
    """A ring buffer, open for reading. A context manager; the map stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._samples: list[bytes] = []
        self._callback = _SAMPLE(self._take)  # kept: libbpf holds its address only
        library = libbpf.library()
        library.ring_buffer__new.restype = ctypes.c_void_p
        library.ring_buffer__new.argtypes = [
            ctypes.c_int,
            _SAMPLE,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        for function in ("epoll_fd", "consume", "free"):
            getattr(library, f"ring_buffer__{function}").argtypes = [ctypes.c_void_p]
        self._library = library
        self._ring = library.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            error = ctypes.get_errno()
            raise OSError(error, f"read a BPF ring buffer: {os.strerror(error)}")

    def __enter__(self) -> RingBuffer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the buffer's memory back."""
        ring, self._ring = self._ring, None
        if ring:
            self._library.ring_buffer__free(ring)

    def _take(self, _: int, data: int, size: int) -> int:
        self._samples.append(ctypes.string_at(data, size))
        return -errno.EAGAIN if len(self._samples) >= BATCH else 0

    def wait(self, seconds: float) -> bool:
        """Waits until there is something to read; false if there was nothing in that time."""
        poll = select.poll()
        poll.register(self._library.ring_buffer__epoll_fd(self._ring), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def read(self) -> list[bytes]:
        """What is there, the oldest first, at most ``BATCH`` samples; nothing is waited for."""
        with _interrupt_held_back():
            result = self._library.ring_buffer__consume(self._ring)
        samples, self._samples = self._samples, []
        if result < 0 and result != -errno.EAGAIN:
            raise OSError(-result, f"read a BPF ring buffer: {os.strerror(-result)}")
        return samples


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Ctrl-C arrives afterwards: in a callback from C it would be printed and forgotten."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
