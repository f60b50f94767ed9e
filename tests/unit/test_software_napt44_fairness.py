# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does a greedy host leave ports to the others, and do newcomers find some?"""

from __future__ import annotations

import pytest
from nat_tools import (
    ACK,
    EIM,
    LARGE_SET,
    RST,
    SHARED,
    SYN,
    TCP,
    UDP,
    Nat,
    endpoint,
    peer,
    policy,
    refused,
    web,
)

from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.timeouts import Timeouts
from mapxdp.observed import MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.fairness import Limits, Use
from mapxdp.software.lifecycle import GRACE
from mapxdp.software.verdict import Refused

OWN, FLOW = MappingKind.OWN, MappingKind.FLOW
GREEDY, MODEST = "192.168.1.2", "192.168.1.3"
LARGE_PORTS = list(LARGE_SET)
QUIC = Timeouts().quic_unanswered


def owned_until_refused(nat: Nat, host: str, at_most: int = 300) -> tuple[int, Reason | None]:
    """How many ports a host gets for itself when it wants many, and why no more."""
    for number in range(at_most):
        try:
            nat.out(endpoint(host, number))
        except Refused as refusal:
            return number, refusal.reason
    return at_most, None


def fair(mapping: object = EIM, **changes: object) -> Nat:
    return Nat(policy(mapping, **{"host_ports_min": 8} | changes), LARGE_SET)  # type: ignore[arg-type]


def test_a_greedy_host_leaves_half_to_the_others() -> None:
    nat = fair()
    assert owned_until_refused(nat, GREEDY) == (128, Reason.HOST_LIMIT)
    assert owned_until_refused(nat, MODEST) == (64, Reason.HOST_LIMIT)
    assert owned_until_refused(nat, "192.168.1.4") == (32, Reason.HOST_LIMIT)


def test_newcomers_find_something_while_there_is_anything() -> None:
    nat = fair()
    got = [owned_until_refused(nat, f"192.168.1.{host}")[0] for host in range(2, 12)]
    assert got[:8] == [128, 64, 32, 16, 8, 8, 0, 0]
    assert sum(got) == 256
    assert owned_until_refused(nat, "192.168.1.200") == (0, Reason.PORTS_EXHAUSTED)
    assert owned_until_refused(nat, GREEDY) == (128, Reason.PORTS_EXHAUSTED)


def test_a_small_host_counts_ports_and_flows_together() -> None:
    limits = Limits.of(Napt44Policy(), 256, 1000)
    assert limits.is_small(Use(ports=7, flows=0))
    assert limits.is_small(Use(ports=0, flows=7))
    assert not limits.is_small(Use(ports=4, flows=4))


@pytest.mark.parametrize(("ports", "free", "may"), [(8, 8, False), (8, 9, True), (7, 0, True)])
def test_who_may_own_a_free_port(ports: int, free: int, may: bool) -> None:
    assert Limits.of(Napt44Policy(), 256, 1000).may_own(Use(ports, 0), free) is may


@pytest.mark.parametrize(("flows", "free", "may"), [(8, 16, False), (8, 17, True), (7, 1, True)])
def test_who_may_share_a_free_port(flows: int, free: int, may: bool) -> None:
    """More than a sixteenth of 256 ports."""
    assert Limits.of(Napt44Policy(), 256, 1000).may_share(Use(0, flows), free) is may


def test_the_limits_of_the_policy() -> None:
    limits = Limits.of(Napt44Policy(), 256, 1000)
    assert (limits.ports_max, limits.flows_max, limits.reserve) == (256, 500, 16)
    limits = Limits.of(Napt44Policy(host_ports_max=9, host_flows_max=10), 256, 1000)
    assert (limits.ports_max, limits.flows_max) == (9, 10)


def test_the_pool_leaves_a_sixteenth_to_small_hosts() -> None:
    nat = fair(SHARED)
    for number in range(240):
        nat.out(endpoint(GREEDY, number), web())
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(GREEDY, 240), web()))
    assert nat.out(endpoint(GREEDY, 240), web(1)) in LARGE_SET, "sharing costs no port"
    for number in range(8):
        nat.out(endpoint(MODEST, number), web())
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(MODEST, 9), web()))
    for number in range(8):
        nat.out(endpoint("192.168.1.4", number), web())
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(endpoint("192.168.1.5", 9), web()))


def test_the_pool_does_not_grow_for_a_host_that_may_take_nothing() -> None:
    """6.1 asks whether the host may have a free port, as 6.3 does."""
    nat = Nat(policy(host_ports_min=8, reserved_ports=frozenset(LARGE_PORTS[16:])), LARGE_SET)
    for number in range(8):
        nat.out(endpoint(GREEDY, number), web(number))
    assert nat.out(endpoint(GREEDY, 15), web(99)) != LARGE_PORTS[15], (
        "8 are free: fewer than a sixteenth of 256"
    )
    assert nat.out(endpoint(MODEST, 15), web(99)) == LARGE_PORTS[15]


@pytest.mark.parametrize(("most", "reason"), [(3, Reason.HOST_LIMIT), (None, None)])
def test_host_ports_max_is_absolute(most: int | None, reason: Reason | None) -> None:
    nat = fair(host_ports_max=most)
    assert owned_until_refused(nat, GREEDY, 5) == ((3, reason) if most else (5, None))
    nat.out(endpoint(GREEDY, 1), protocol=TCP)  # which is counted apart


def test_a_host_at_its_limit_gets_back_only_what_it_lost_itself() -> None:
    """What expired counts until it is taken, but does not stand in the host's own way."""
    nat = Nat(policy(EIM, host_ports_max=3))
    own = [nat.out(endpoint(GREEDY, number)) for number in range(3)]
    for number in range(9):
        nat.out(endpoint(f"192.168.3.{number}", 1))
    nat.wait(100_000)
    assert nat.out(endpoint(GREEDY, 9)) == own[0]
    for number in (1, 2):
        assert nat.out(endpoint(GREEDY, number)) == own[number], "revived"
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(GREEDY, 10)))
    assert nat.out(endpoint(MODEST, 1)) not in own


def test_a_host_at_its_limit_shares() -> None:
    nat = Nat(policy(host_ports_max=1))
    nat.out(endpoint(GREEDY, 1))
    nat.out(endpoint(GREEDY, 2))
    assert [use.kind for use in nat.uses()] == [OWN, FLOW]


def test_a_host_at_its_limit_takes_nothing_of_others_early() -> None:
    nat = Nat(policy(EIM, host_ports_max=1, early_reclaim=True))
    closing = {
        host: nat.out(endpoint(host, 1), flags=SYN, protocol=TCP) for host in (GREEDY, MODEST)
    }
    for host, port in closing.items():
        nat.out(endpoint(host, 1), flags=ACK, protocol=TCP)
        nat.back(port, flags=RST if host == MODEST else ACK, protocol=TCP)
    nat.wait(100)
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(GREEDY, 2), protocol=TCP))
    assert nat.out(endpoint(MODEST, 2), protocol=TCP) == closing[MODEST]
    assert nat.news()[Reason.EARLY_RECLAIMED] == 1


def test_host_flows_max_is_absolute_for_all_protocols_together() -> None:
    nat = Nat(policy(host_flows_max=2))
    nat.out(endpoint(GREEDY, 1), web(0), protocol=TCP)
    nat.out(endpoint(GREEDY, 1), web(1), protocol=UDP)
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(GREEDY, 1), web(2)))
    nat.out(endpoint(GREEDY, 1), peer())
    nat.out(endpoint(MODEST, 1), web(2))
    nat.wait(QUIC + GRACE + 1)
    nat.out(endpoint(GREEDY, 3), web(2))


def test_half_of_the_flow_table_is_a_hosts() -> None:
    nat = Nat(policy(SHARED), flows=10)
    for number in range(5):
        nat.out(endpoint(GREEDY, 1), web(number))
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint(GREEDY, 1), web(9)))


def test_hosts_are_told_apart_by_the_last_12_bits() -> None:
    nat = fair(host_ports_max=1)
    nat.out(endpoint("10.0.0.1", 1))
    nat.out(endpoint("10.0.1.1", 1))
    nat.out(endpoint("10.0.15.1", 1))
    refused(Reason.HOST_LIMIT, lambda: nat.out(endpoint("10.0.16.1", 1)))
