# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's BR: the software path behind a TUN device, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from mapxdp import netns
from mapxdp.lab import child
from mapxdp.lab.child import Child
from mapxdp.lab.topology import BR_TUN
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.br_fragments import FragmentRelay
from mapxdp.software.tun import open_tun, pump


class Relay:
    """The running BR, seen from the lab."""

    def __init__(self, process: Child) -> None:
        self._process = process

    def counts(self) -> dict[str, int]:
        """How many packets crossed, and how many were refused, by reason."""
        counts: dict[str, int] = self._process.ask("counts")
        return counts


@contextmanager
def running(settings: BrSettings, namespace: str, mtu: int) -> Iterator[Relay]:
    """A BR that runs in ``namespace`` meanwhile, in a domain whose links carry ``mtu`` octets."""
    with child.running("the lab's BR", _serve, settings, namespace, mtu) as process:
        yield Relay(process)


def _serve(settings: BrSettings, namespace: str, mtu: int, connection: Connection) -> None:
    """The process: packets from the TUN device, questions from the lab."""
    with netns.entered(namespace):
        tun = open_tun(BR_TUN)
    relay = BorderRelay(settings)

    fragments = FragmentRelay(relay, mtu)

    def handle(packet: bytes) -> tuple[bytes, ...]:
        from_domain = packet[0] >> 4 == 6
        return fragments.from_domain(packet) if from_domain else fragments.to_domain(packet)

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
