# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Ports shared by flows: what a household gets out of few ports, and what nobody loses by it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import RULES, domain
from harness.exchange import HIGH, endpoint, port_given, receive, send, servers
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from harness.policies import policy, shared, strict
from mapxdp.reasons import Reason

HTTPS = 443
UDP_UNANSWERED, TCP_OPENING = 120, 240


@pytest.fixture
def household(loaded_ces: LoadedCes) -> Iterator[LoadedCe]:
    """240 ports, and everything as it is by default; recounted at the end."""
    ce = loaded_ces.get(domain("map-t", RULES[240]), policy=policy())
    yield ce
    assert not ce.recounted()


def connect_all(ce: LoadedCe, each: int, remotes: list[str]) -> list[tuple[int, str]]:
    """So many TCP connections to each remote, by four hosts in turn: their ports and remotes."""
    return [
        (port_given(send(ce, "tcp", f"192.168.1.{2 + n % 4}", 20_000 + n, remote, HTTPS)), remote)
        for n, (_, remote) in enumerate(product(range(each), remotes))
    ]


def test_240_ports_carry_4800_connections_to_40_servers(household: LoadedCe) -> None:
    claims = connect_all(household, 120, servers(40))
    assert len(claims) == len(set(claims)) == 4800, "two connections share a port and a remote"
    assert {port for port, _ in claims} <= set(household.domain.port_set)
    assert household.pool()["flow_count"] == household.events()[Reason.FLOW_CREATED] == 4800
    assert household.pool()["shared_count"][0] < 240 - 240 // 16 + 1


def test_every_connection_is_answered_by_its_own_remote_alone(household: LoadedCe) -> None:
    for port, remote in connect_all(household, 30, servers(4)):
        assert receive(household, port, "tcp", remote, HTTPS).reason is Reason.TRANSLATED
        assert receive(household, port, "tcp", remote, 80).reason is Reason.FILTERED
        assert receive(household, port, "tcp", "203.0.113.1", HTTPS).reason is Reason.FILTERED


def test_one_endpoint_keeps_one_external_port(household: LoadedCe) -> None:
    connect_all(household, 10, servers(4))
    others = [f"203.0.113.{number}" for number in range(1, 120)]
    for number in range(3):
        mine = others[number::3]
        ports = {
            port_given(send(household, "udp", *endpoint(number), remote, HTTPS)) for remote in mine
        }
        assert len(ports) == 1
        again = {port_given(send(household, "udp", *endpoint(number), remote)) for remote in mine}
        assert len(again) == 1


def test_an_own_port_serves_its_owner_towards_servers_too(household: LoadedCe) -> None:
    own = port_given(send(household))
    assert port_given(send(household, remote_port=HTTPS)) == own
    assert household.events() == {Reason.MAPPING_CREATED: 1}


def test_sharing_takes_nothing_from_an_owner(household: LoadedCe) -> None:
    """Endpoint-independent mapping and filtering stay what they were under any load."""
    owned = {number: port_given(send(household, "tcp", *endpoint(number))) for number in range(50)}
    claims = connect_all(household, 150, servers(20))
    assert not {port for port, _ in claims} & set(owned.values())
    for number, port in owned.items():
        assert port_given(send(household, "tcp", *endpoint(number), "203.0.113.1", HIGH)) == port
        for remote in (SERVER, "203.0.113.1"):
            assert receive(household, port, "tcp", remote).reason is Reason.TRANSLATED
    assert household.events()[Reason.MAPPING_CREATED] == 50


def test_owners_get_what_is_left_by_the_pool(household: LoadedCe) -> None:
    """A sixteenth of the ports is not for the pool; when they are used up, owners share."""
    connect_all(household, 225, ["203.0.113.1"])
    assert household.pool()["used"][0] == 225
    for number in range(15):
        assert send(household, "tcp", *endpoint(number)).reason is Reason.TRANSLATED
    assert household.events()[Reason.MAPPING_CREATED] == 15
    assert household.pool()["used"][0] == 240
    assert send(household, "tcp", *endpoint(15)).reason is Reason.TRANSLATED
    assert household.events()[Reason.MAPPING_CREATED] == 15


def test_the_pool_grows_first_and_then_shares(household: LoadedCe) -> None:
    """Homes become shared up to a quarter of the ports; from then on only what has to."""
    for number in range(300):
        send(household, "udp", *endpoint(number), f"203.0.113.{number % 250}", HTTPS)
    assert household.pool()["shared_count"][1] == 60


def test_the_pool_shrinks_back_to_nothing(household: LoadedCe) -> None:
    connect_all(household, 30, servers(20))
    household.advance(TCP_OPENING + 2)
    pool = household.pool()
    assert (pool["flow_count"], *pool["shared_count"], *pool["used"]) == (0,) * 7
    events = household.events()
    assert events[Reason.FLOW_RELEASED] == events[Reason.FLOW_CREATED] == 600
    assert events[Reason.PORT_UNSHARED] == events[Reason.PORT_SHARED] > 0
    assert (household.slots().keys(), household.flows()) == (set(), {})


def test_the_sweep_rides_on_packets_of_the_lan(household: LoadedCe) -> None:
    connect_all(household, 5, servers(10))
    household.set_clock(household.now + TCP_OPENING + 2)
    left = [household.pool()["flow_count"]]
    for _ in range(200):
        send(household, "echo")
        left.append(household.pool()["flow_count"])
    assert (left[0], left[-1]) == (50, 0)
    assert {before - after for before, after in pairwise(left)} == {0, 1}


@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
def test_eim_never_shares(protocol: str, ce: LoadedCe) -> None:
    ce.reset(policy=strict())
    for number in range(252):
        sent = send(ce, protocol, *endpoint(number), remote_port=HTTPS)
        assert sent.reason is Reason.TRANSLATED
    sent = send(ce, protocol, *endpoint(252), remote_port=HTTPS)
    assert sent.reason is Reason.PORTS_EXHAUSTED
    assert not {Reason.FLOW_CREATED, Reason.PORT_SHARED} & ce.events().keys()
    assert not ce.recounted()


@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
def test_shared_always_shares(protocol: str, ce: LoadedCe) -> None:
    ce.reset(policy=shared())
    claims = set()
    for number, remote in product(range(300), servers(2)):
        claims.add((port_given(send(ce, protocol, *endpoint(number), remote)), remote))
        if len(claims) == 252 * 2:
            break
    assert len(claims) == 252 * 2
    assert send(ce, protocol, *endpoint(400), servers(2)[0]).reason is Reason.PORTS_EXHAUSTED
    assert ce.events()[Reason.FLOW_CREATED] == 252 * 2
    assert Reason.MAPPING_CREATED not in ce.events()
    assert not ce.recounted()


@pytest.mark.parametrize(
    ("protocol", "remote_port", "is_shared"),
    [
        ("tcp", 1023, True),
        ("tcp", 1024, False),
        ("udp", 0, True),
        ("udp", HIGH, False),
        ("echo", 0, False),
    ],
)
def test_auto_shares_towards_servers(
    protocol: str, remote_port: int, is_shared: bool, ce: LoadedCe
) -> None:
    send(ce, protocol, remote_port=remote_port)
    assert (Reason.FLOW_CREATED in ce.events()) is is_shared
    assert (Reason.MAPPING_CREATED in ce.events()) is not is_shared
    assert not ce.recounted()


def test_a_flow_ends_exactly_when_it_should(ce: LoadedCe) -> None:
    """Live to the end of its timeout, its owner's alone in the tick after, then gone."""
    ce.reset(policy=shared())
    port = port_given(send(ce))
    ce.advance(UDP_UNANSWERED)
    assert receive(ce, port).reason is Reason.TRANSLATED  # from now on it is an answered one
    ce.advance(301)
    assert receive(ce, port).reason is Reason.MAPPING_EXPIRED
    assert len(ce.flows()) == 1
    assert port_given(send(ce)) == port
    assert ce.events()[Reason.MAPPING_REVIVED] == 1
    ce.advance(UDP_UNANSWERED + 1)
    assert (len(ce.flows()), len(ce.slots())) == (1, 1)
    ce.advance(1)
    assert (ce.flows(), ce.slots()) == ({}, {})
    assert receive(ce, port).reason is Reason.NO_MAPPING
    assert not ce.recounted()


def test_an_expired_claim_is_taken_without_the_sweep(ce: LoadedCe) -> None:
    """Whoever needs the place of an expired flow releases it, and its port is not lost."""
    ce.reset(policy=shared())
    for number in range(252):
        send(ce, "udp", *endpoint(number))
    ce.set_clock(ce.now + UDP_UNANSWERED + 1)
    assert send(ce, "udp", *endpoint(252)).reason is Reason.PORTS_EXHAUSTED
    ce.set_clock(ce.now + 1)
    assert send(ce, "udp", *endpoint(252)).reason is Reason.TRANSLATED
    assert not ce.recounted()


def test_flows_full() -> None:
    with LoadedCe(domain("map-t"), FLOWS=64) as ce:
        ce.reset(policy=policy(host_flows_max=1000))
        for number in range(64):
            assert send(ce, "udp", *endpoint(number), remote_port=HTTPS).packets
        assert send(ce, "udp", *endpoint(64), remote_port=HTTPS).reason is Reason.FLOWS_FULL
        assert send(ce, "udp", *endpoint(64)).reason is Reason.TRANSLATED, "of its own"
        assert not ce.recounted()
        ce.advance(32)
        assert send(ce, "udp", *endpoint(65), remote_port=HTTPS).reason is Reason.TRANSLATED
        assert not ce.recounted()


def test_shared_ports_of_one_protocol_are_not_those_of_another(ce: LoadedCe) -> None:
    """All ports shared for TCP and none for UDP; the endpoint's home is taken."""
    ce.reset(policy=shared())
    for number in range(252):
        send(ce, "tcp", *endpoint(number))
    home = port_given(send(ce, "udp"))
    ce.advance(UDP_UNANSWERED + 2)
    somebody = {"ipv4": packets.v4(HOST), "port": 1, "protocol": 1, "zero": 0}
    assert ce.command("COMMAND_FORWARD", ce.slot_index("UDP", home), endpoint=somebody) == 0
    ports = list(ce.domain.port_set)
    assert port_given(send(ce, "udp")) == ports[(ports.index(home) + 1) % 252]
    assert not ce.recounted()
