# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""As many octets as TCP carries: one process sends, on one CPU, another receives, on another.

Both serve all their connections in one thread, as iperf3 did before version 3.16.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.measure import cpus, pinned_to
from benchmarks.tcp.paths import Way
from mapxdp import netns
from mapxdp.errors import HostError

_CHUNK = 1 << 20
_PATIENCE = 5.0
_WARM_UP = 0.1


def gigabits(way: Way, upstream: bool, streams: int, seconds: float) -> float:
    """Gbit/s of payload, from the client or to it."""
    with ExitStack() as closing:
        client, server = [], []
        for near, far in _connections(way, streams):
            client.append(closing.enter_context(near))
            server.append(closing.enter_context(far))
        senders, receivers = (client, server) if upstream else (server, client)
        with _sending(senders, seconds), pinned_to(cpus()[0]):
            octets, taken = _receive(receivers, seconds)
    if not octets:
        raise HostError(f"{way.router}: no octet arrived", "a router loses everything: report this")
    return octets * 8 / taken / 1e9


def _connections(way: Way, streams: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Established, with their ends at the client and at the server."""
    family = socket.AF_INET if way.address.version == 4 else socket.AF_INET6
    with netns.entered(way.server):
        listener = socket.create_server((str(way.address), 0), family=family, backlog=streams)
    with listener:
        listener.settimeout(_PATIENCE)
        port = listener.getsockname()[1]
        for _ in range(streams):
            with netns.entered(way.client):
                near = socket.create_connection((str(way.target), port), _PATIENCE)
            far, _ = listener.accept()
            yield near, far


@contextmanager
def _sending(sockets: list[socket.socket], seconds: float) -> Iterator[None]:
    """Another process sends meanwhile; it ends by itself should nobody end it."""
    deadline = time.monotonic() + _WARM_UP + seconds + _PATIENCE
    process = multiprocessing.get_context("fork").Process(
        target=_send, args=(sockets, deadline), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _send(sockets: list[socket.socket], deadline: float) -> None:
    os.sched_setaffinity(0, {cpus()[-1]})
    chunk = memoryview(bytes(_CHUNK))
    with _selector(sockets, selectors.EVENT_WRITE) as selector:
        while time.monotonic() < deadline:
            for key, _ in selector.select(_PATIENCE):
                os.write(key.fd, chunk)


def _receive(sockets: list[socket.socket], seconds: float) -> tuple[int, float]:
    """Octets, and in which time, behind a moment for the windows to grow."""
    buffer = bytearray(_CHUNK)
    octets = 0
    begun = time.monotonic() + _WARM_UP
    is_warm = False
    with _selector(sockets, selectors.EVENT_READ) as selector:
        while True:
            for key, _ in selector.select(_PATIENCE):
                octets += os.readv(key.fd, [buffer])
            now = time.monotonic()
            if not is_warm and now >= begun:
                is_warm, begun, octets = True, now, 0
            elif is_warm and now >= begun + seconds:
                return octets, now - begun


@contextmanager
def _selector(sockets: list[socket.socket], events: int) -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            each.setblocking(False)
            selector.register(each, events)
        yield selector
