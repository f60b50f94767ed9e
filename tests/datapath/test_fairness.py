# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One greedy LAN host does not starve the others (docs/napt44.md, "Fairness between hosts")."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.ce import LoadedCe
from harness.exchange import port_given, send, servers
from harness.policies import NO_LIMIT, policy
from mapxdp.model.napt44 import MappingPolicy
from mapxdp.reasons import Reason

EIM, SHARED = MappingPolicy.EIM, MappingPolicy.SHARED
PORTS = 252
RESERVE = PORTS // 16
SMALL = 8
HTTPS = 443


@pytest.fixture
def ce(ce: LoadedCe) -> Iterator[LoadedCe]:
    """Recounted at the end."""
    yield ce
    assert not ce.recounted()


def host(number: int) -> str:
    return f"192.168.1.{number + 1}"


def take_all(ce: LoadedCe, address: str, remote_port: int = 5000, most: int = 1000) -> int:
    """How many endpoints of a host get something before the first is refused for its limit."""
    for number in range(most):
        sent = send(ce, "udp", address, 10_000 + number, remote_port=remote_port)
        if sent.reason is not Reason.TRANSLATED:
            assert sent.reason in (Reason.HOST_LIMIT, Reason.PORTS_EXHAUSTED)
            return number
    return most


def refused(ce: LoadedCe, address: str) -> int:
    bucket = int(address.split(".")[2]) % 16 * 256 + int(address.split(".")[3])
    return ce.maps.contract["host"].unpack(ce.maps.value("hosts", bucket))["refused"]  # type: ignore[no-any-return]


def test_a_greedy_host_takes_half_of_what_it_finds(ce: LoadedCe) -> None:
    """And so does the next, and the next; small ones take what there is."""
    ce.reset(policy=policy(EIM))
    taken = [take_all(ce, host(number)) for number in range(10)]
    assert taken == [126, 63, 32, 16, SMALL, 7, 0, 0, 0, 0]
    assert sum(taken) == PORTS


def test_a_limit_has_a_name_of_its_own(ce: LoadedCe) -> None:
    ce.reset(policy=policy(EIM))
    take_all(ce, host(0))
    assert send(ce, "udp", host(0), 1).reason is Reason.HOST_LIMIT
    assert send(ce, "udp", host(1), 1).reason is Reason.TRANSLATED
    assert (refused(ce, host(0)), refused(ce, host(1))) == (2, 0)


def test_a_greedy_host_may_still_have_expired_ports(ce: LoadedCe) -> None:
    ce.reset(policy=policy(EIM))
    take_all(ce, host(0))
    assert send(ce, "udp", host(0), 1).reason is Reason.HOST_LIMIT
    ce.advance(122)
    assert send(ce, "udp", host(0), 1).reason is Reason.TRANSLATED
    assert ce.events()[Reason.MAPPING_RECLAIMED] == 1


def test_a_greedy_host_shares_where_it_may(ce: LoadedCe) -> None:
    """With more endpoints than it may have ports for, no packet is lost under auto."""
    ce.reset(policy=policy())
    assert take_all(ce, host(0), most=PORTS - RESERVE) == PORTS - RESERVE
    events = ce.events()
    assert events[Reason.MAPPING_CREATED] == PORTS // 2
    assert events[Reason.FLOW_CREATED] == PORTS // 2 - RESERVE


def test_flows_leave_newcomers_a_sixteenth_of_the_ports(ce: LoadedCe) -> None:
    ce.reset(policy=policy())
    assert take_all(ce, host(0), HTTPS) == PORTS - RESERVE
    assert take_all(ce, host(1), HTTPS) == SMALL, "to the same remote: one port for each"
    assert take_all(ce, host(2), most=4) == 4, "of its own"
    assert ce.pool()["used"][1] == PORTS - RESERVE + SMALL + 4


def test_flows_make_a_host_as_big_as_ports_do(ce: LoadedCe) -> None:
    ce.reset(policy=policy())
    take_all(ce, host(0), HTTPS)
    for remote in servers(SMALL):
        send(ce, "udp", host(1), 20_000, remote, HTTPS)
    assert send(ce, "udp", host(1), 20_001, remote_port=HTTPS).reason is Reason.HOST_LIMIT
    assert send(ce, "udp", host(2), 20_001, remote_port=HTTPS).reason is Reason.TRANSLATED


@pytest.mark.parametrize(
    ("limit", "mapping"), [("host_ports_max", EIM), ("host_flows_max", SHARED)]
)
def test_absolute_limits(limit: str, mapping: MappingPolicy, ce: LoadedCe) -> None:
    ce.reset(policy=policy(mapping, host_ports_min=NO_LIMIT, **{limit: 5}))
    assert take_all(ce, host(0)) == 5
    assert take_all(ce, host(1)) == 5
    assert send(ce, "udp", host(0), 10_000).reason is Reason.TRANSLATED, "it has that one"


def test_ports_are_limited_for_each_protocol_and_flows_for_all(ce: LoadedCe) -> None:
    ce.reset(policy=policy(host_ports_max=2, host_flows_max=2))
    for protocol in ("tcp", "udp", "echo"):
        for port in (10, 11):
            assert send(ce, protocol, host(0), port).reason is Reason.TRANSLATED
    assert ce.events() == {Reason.MAPPING_CREATED: 6}
    for protocol in ("tcp", "udp"):
        assert send(ce, protocol, host(0), 12, remote_port=HTTPS).reason is Reason.TRANSLATED
    for protocol in ("tcp", "udp"):
        assert send(ce, protocol, host(0), 13, remote_port=HTTPS).reason is Reason.HOST_LIMIT


def test_a_host_at_its_limit_of_ports_shares(ce: LoadedCe) -> None:
    ce.reset(policy=policy(host_ports_max=1))
    own = port_given(send(ce, "udp", host(0), 10))
    assert port_given(send(ce, "udp", host(0), 11)) != own
    assert ce.events()[Reason.FLOW_CREATED] == 1


def test_hosts_are_told_apart_by_the_last_12_bits(ce: LoadedCe) -> None:
    ce.reset(policy=policy(EIM, host_ports_max=3))
    assert take_all(ce, "10.0.0.9") == 3
    assert take_all(ce, "10.0.16.9") == 0, "4096 addresses further"
    assert take_all(ce, "10.0.15.9") == 3


def test_what_ends_no_longer_counts(ce: LoadedCe) -> None:
    ce.reset(policy=policy(SHARED, host_flows_max=5))
    assert take_all(ce, host(0)) == 5
    ce.advance(122)
    assert take_all(ce, host(0)) == 5


@pytest.mark.parametrize("most", [5, None])
def test_a_host_at_its_limit_gets_its_expired_ports_again(most: int | None, ce: LoadedCe) -> None:
    """A router behind this one is one host: without a limit, all ports are its own."""
    ce.reset(policy=policy(EIM, host_ports_min=NO_LIMIT, host_ports_max=most))
    assert take_all(ce, host(0)) == most or PORTS
    ce.advance(122)
    assert send(ce, "udp", host(0), 1).reason is Reason.TRANSLATED
