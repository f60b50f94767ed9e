# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Has each port of a set one virtual port, and netfilter a range that can be used?"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest

from harness.domains import RULES, domain
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.rule import MappingRule
from mapxdp.model.virtual_range import virtual_base, virtual_port, virtual_range

SETS = [
    PortSet(PortParameters(offset, length), psid)
    for offset, length in ((4, 8), (6, 8), (6, 2), (0, 1), (0, 8), (15, 1), (0, 16), (0, 0), (6, 0))
    for psid in sorted({0, (1 << length) // 3, (1 << length) - 1})
]


@pytest.mark.parametrize("ports", SETS, ids=str)
def test_virtual_ports_follow_each_other(ports: PortSet) -> None:
    base = virtual_base(ports)
    assert [virtual_port(ports, port) for port in ports] == list(range(base, base + len(ports)))
    assert base + len(ports) <= 65536


@pytest.mark.parametrize("count", RULES)
def test_the_range_of_a_shared_address(count: int) -> None:
    """As many ports as the set has, and none that is well known."""
    first, last = virtual_range(domain("map-t", RULES[count]))
    assert (first, last - first + 1) == (16384, count)


def test_port_0_is_no_port_of_netfilter() -> None:
    rule = MappingRule(
        IPv6Network("2001:db8:12:3400::/56"), IPv4Network("192.0.2.18"), 0, 0, 8, psid=0
    )
    assert virtual_range(domain("map-t", rule)) == (16385, 16384 + 255)


def test_the_range_of_an_address_that_is_not_shared() -> None:
    """Each port stands for itself, and the well-known ones are left out."""
    rule = MappingRule(IPv6Network("2001:db8:12:3400::/56"), IPv4Network("192.0.2.18"), 0)
    whole = domain("map-t", rule)
    assert virtual_range(whole) == (1024, 65535)
    assert virtual_port(whole.port_set, 1024) == 1024
