# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""lw4o6, and MAP-E with the MAP address of draft-03, end to end over the lab's BR.

The BR has to compute the CE's address as the CE does, or nothing comes back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.domains import DRAFT_03, LW4O6
from harness.lab import running_lab_of
from mapxdp import netns
from mapxdp.lab import checks, clients
from mapxdp.lab.checks import Running
from mapxdp.lab.topology import SERVER_IPV4

#: The lab asks for ports of several ranges; lw4o6 has one.
_OF_SEVERAL_RANGES = "ports seen by the server"


@pytest.fixture(scope="module", params=[LW4O6, DRAFT_03], ids=["lw4o6", "draft-03"])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab_of(request.param) as running:
        yield running


def test_checks_of_the_lab(lab: Running) -> None:
    """Ping, UDP, downloads, uploads, 200 connections, and the router's own traffic."""
    one_range = len(lab.lab.domain.port_set.ranges()) == 1
    failed = [
        check
        for check in checks.traffic(lab)
        if not check.passed and not (one_range and check.name == _OF_SEVERAL_RANGES)
    ]
    assert failed == []


def test_the_server_sees_ports_of_the_set(lab: Running) -> None:
    lab.server.take_peers()
    with netns.entered(lab.lab.netns("client1")):
        assert all(clients.udp_exchange(SERVER_IPV4, 100) for _ in range(10))
    seen = lab.server.take_peers()["udp"]
    assert seen
    assert all(
        address == "192.0.2.18" and port in lab.lab.domain.port_set for address, port in seen
    )


def test_counters_agree(lab: Running) -> None:
    assert [check for check in checks.counters(lab) if not check.passed] == []
