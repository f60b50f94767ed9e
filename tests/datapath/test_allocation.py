# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44 hands out every port of the set, and drops only when there is none (RFC 7597 section 4).

RFC 7599 section 8.1 and 9: what leaves has the CE's address and a port or identifier of its set.
Each endpoint has a port of its own here; test_sharing.py has the rest.
"""

from __future__ import annotations

import pytest

from harness.ce import LoadedCe, inconsistencies
from harness.domains import RULES, domain
from harness.exchange import port_given, send
from harness.loaded import LoadedCes
from harness.packets import HOST
from harness.policies import strict
from mapxdp.reasons import Reason

PROTOCOLS = ("tcp", "udp", "echo")


@pytest.fixture
def ce(ce: LoadedCe) -> LoadedCe:
    ce.reset(policy=strict())
    return ce


def with_ports(loaded_ces: LoadedCes, count: int) -> LoadedCe:
    return loaded_ces.get(domain("map-t", RULES[count]), policy=strict())


def endpoint(number: int) -> tuple[str, int]:
    """LAN endpoints that are all different, none with a port of any set tested here."""
    return f"10.0.{number >> 8}.{number & 0xFF}", 1


def given(ce: LoadedCe, number: int, protocol: str = "udp") -> int:
    """The port that an endpoint gets."""
    return port_given(send(ce, protocol, *endpoint(number)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", RULES)
def test_every_port_is_handed_out_once(count: int, protocol: str, loaded_ces: LoadedCes) -> None:
    ce = with_ports(loaded_ces, count)
    usable = {port for port in ce.domain.port_set if port not in ce.domain.reserved_ports}
    assert len(ce.domain.port_set) == count

    handed_out = [given(ce, number, protocol) for number in range(len(usable))]

    assert sorted(handed_out) == sorted(usable)
    assert send(ce, protocol, *endpoint(len(usable))).reason is Reason.PORTS_EXHAUSTED
    again = [given(ce, number, protocol) for number in range(len(usable))]
    assert again == handed_out, "an endpoint got another port"


@pytest.mark.parametrize("count", RULES)
def test_protocols_have_the_set_each_for_itself(count: int, loaded_ces: LoadedCes) -> None:
    ce = with_ports(loaded_ces, count)
    for number in range(count):
        send(ce, "udp", *endpoint(number))
    assert send(ce, "tcp", *endpoint(0)).reason is Reason.TRANSLATED
    assert send(ce, "echo", *endpoint(0)).reason is Reason.TRANSLATED


@pytest.mark.parametrize("position", [0, 1, 63, 64, 511, 512, 1000, 2046])
def test_the_one_expired_port_is_found(position: int, loaded_ces: LoadedCes) -> None:
    """Whatever the port set's size: no drop while an expired port exists."""
    ce = with_ports(loaded_ces, 2048)
    usable = [port for port in ce.domain.port_set if port != 0]
    for port in usable:
        assert port_given(send(ce, port=port)) == port, "its own port was free"
    ce.advance(122)
    for port in usable:
        if port != usable[position]:
            send(ce, port=port)  # kept alive, or revived

    assert given(ce, 1) == usable[position]
    assert send(ce, "udp", *endpoint(2)).reason is Reason.PORTS_EXHAUSTED


def test_a_search_in_vain_is_not_repeated_in_the_same_tick(loaded_ces: LoadedCes) -> None:
    ce = with_ports(loaded_ces, 252)
    for number in range(252):
        send(ce, "udp", *endpoint(number))
    assert send(ce, "udp", *endpoint(252)).reason is Reason.PORTS_EXHAUSTED
    full_tick = ce.maps.contract["pool"].unpack(ce.maps.value("pool"))["full_tick"]
    udp = ce.maps.contract.number("INDEX_UDP")
    assert full_tick[udp] == ce.now + 1
    assert [full_tick[other] for other in range(3) if other != udp] == [0, 0]
    ce.advance(122)
    assert send(ce, "udp", *endpoint(252)).reason is Reason.TRANSLATED


def test_the_lan_port_is_kept_if_it_is_free(ce: LoadedCe) -> None:
    port = 2257
    assert port_given(send(ce, "udp", HOST, port)) == port
    assert port_given(send(ce, "udp", "192.168.1.3", port)) != port
    assert port_given(send(ce, "tcp", "192.168.1.3", port)) == port


def test_ports_are_drawn_from_all_ranges(ce: LoadedCe) -> None:
    """A quarter of the ports, drawn at random, lies in more than a quarter of the ranges."""
    ports = {given(ce, number) for number in range(63)}
    ranges = {port >> 10 for port in ports}
    assert len(ports) == 63
    assert len(ranges) > 20


def test_two_runs_draw_differently(ce: LoadedCe) -> None:
    first = [given(ce, number) for number in range(40)]
    ce.reset(policy=strict())
    second = [given(ce, number) for number in range(40)]
    assert first != second


def test_unshared_address_never_uses_a_well_known_port(loaded_ces: LoadedCes) -> None:
    rule = RULES[252]
    full = domain("map-t", type(rule)(rule.ipv6, rule.ipv4, ea_length=8))
    ce = loaded_ces.get(full, policy=strict())
    ports = [given(ce, number) for number in range(500)]
    assert len(set(ports)) == 500
    assert min(ports) >= 1024
    assert port_given(send(ce, "udp", HOST, 40000)) == 40000
    assert port_given(send(ce, "udp", HOST, 80)) >= 1024


def test_nothing_leaks(ce: LoadedCe) -> None:
    """After exhaustion, expiry and take-over: bitmap, index and slots agree."""
    for number in range(252):
        send(ce, "udp", *endpoint(number))
    for number in range(400):
        send(ce, "tcp", *endpoint(number))
    ce.advance(10_000)
    for number in range(300, 500):
        send(ce, "udp", *endpoint(number))
    assert inconsistencies(ce.maps, ce.domain) == []
