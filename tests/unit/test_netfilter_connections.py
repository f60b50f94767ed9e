# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which connections does netfilter have to forget when its table changes?"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.domains import domain
from mapxdp.bringup import netfilter
from mapxdp.conntrack import Arrival

LAN, MODEM = IPv4Network("192.168.1.0/24"), IPv4Network("192.168.100.0/24")


class Routes:
    """The LAN is on a link of its own, everything else beyond the WAN."""

    def ipv4_goes_through(self, link: object, destination: IPv4Address) -> bool:
        return destination not in LAN


def arrival(source: str, destination: str, port: int) -> Arrival:
    return Arrival(IPv4Address(source), IPv4Address(destination), port)


PLAN = cast(
    Any,
    SimpleNamespace(config=SimpleNamespace(domain=domain("map-t")), link=None, on_link=(MODEM,)),
)


@pytest.mark.parametrize(
    ("packet", "wrong"),
    [
        (arrival("192.168.1.2", "203.0.113.2", 443), False),
        (arrival("203.0.113.2", "192.0.2.18", 16384), False),
        (arrival("203.0.113.2", "192.0.2.18", 16635), False),
        (arrival("203.0.113.2", "192.0.2.18", 16636), True),
        (arrival("203.0.113.2", "192.0.2.18", 1232), True),
        (arrival("203.0.113.2", "192.0.2.17", 16384), True),
        (arrival("203.0.113.2", "192.168.1.2", 40000), True),
        (arrival("192.168.1.3", "192.168.1.2", 22), False),
        (arrival("192.168.100.1", "192.168.100.2", 40000), False),
    ],
)
def test_connections_that_are_not_of_the_table(packet: Arrival, wrong: bool) -> None:
    assert netfilter._not_of_the_table(PLAN, cast(Any, Routes()))(packet) is wrong


@pytest.mark.parametrize(
    ("packet", "wrong"),
    [
        (arrival("203.0.113.2", "192.0.2.18", 16384), True),
        (arrival("203.0.113.2", "192.168.1.2", 40000), False),
        (arrival("192.168.1.2", "203.0.113.2", 443), False),
    ],
)
def test_connections_of_a_table_that_went(packet: Arrival, wrong: bool) -> None:
    assert netfilter._of_the_table(PLAN)(packet) is wrong
