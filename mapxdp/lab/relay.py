# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's BR: the software path behind a TUN device, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from mapxdp import netns
from mapxdp.errors import HostError
from mapxdp.lab.topology import BR_TUN
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.tun import open_tun, pump

_START_SECONDS = 20


class Relay:
    """The running BR, seen from the lab."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self) -> dict[str, int]:
        """How many packets crossed, and how many were refused, by reason."""
        self._connection.send("counts")
        counts: dict[str, int] = self._connection.recv()
        return counts


@contextmanager
def running(settings: BrSettings, namespace: str) -> Iterator[Relay]:
    """A BR that runs in ``namespace`` meanwhile."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(settings, namespace, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise HostError("the lab's BR did not start", "see the messages above")
        ours.recv()
        yield Relay(ours)
    finally:
        process.terminate()
        process.join()


def _serve(settings: BrSettings, namespace: str, connection: Connection) -> None:
    """The process: packets from the TUN device, questions from the lab."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with netns.entered(namespace):
        tun = open_tun(BR_TUN)
    relay = BorderRelay(settings)

    def handle(packet: bytes) -> list[bytes]:
        from_domain = packet[0] >> 4 == 6
        out = relay.from_domain(packet) if from_domain else relay.to_domain(packet)
        return [] if out is None else [out]

    def answer_questions() -> bool:
        while connection.poll():
            try:
                connection.recv()
            except EOFError:
                return True
            connection.send(dict(relay.counts))
        return False

    connection.send("ready")
    pump(tun.fd, handle, answer_questions)
    os.close(tun.fd)
