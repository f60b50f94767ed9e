# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections that pass the kernel by, with real sockets: what takes a shortcut, and what ends it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from harness.lab import running_lab
from mapxdp import netns, snapshot
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4
from mapxdp.reasons import Reason
from mapxdp.observed import Counters


@pytest.fixture(scope="module", params=["map-t", "map-e"])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(request.param) as running:
        yield running


def counters(lab: Running) -> Counters:
    with snapshot.watching(lab.lab.instance) as take:
        return take().counters


def test_exchange(lab: Running) -> None:
    with netns.entered(lab.lab.netns("client1")):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        for number in range(50):
            sock.sendto(bytes([number]), (SERVER_IPV4, UDP_PORT))
            assert sock.recv(10) == bytes([number])
    c = counters(lab)
    print(c.upstream[Reason.ACCELERATED], c.upstream[Reason.TRANSLATED], c.downstream[Reason.ACCELERATED], c.downstream[Reason.TRANSLATED])
    assert 0
