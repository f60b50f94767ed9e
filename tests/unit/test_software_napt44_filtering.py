# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who gets in from the WAN, by docs/napt44.md; and port forwards, where anyone does."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from nat_tools import (
    ACK,
    ADF,
    APDF,
    AUTO,
    EIF,
    EIM,
    FIN,
    HOST,
    ICMP,
    OTHER_HOST,
    PORTS,
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

from mapxdp.errors import InvalidValue
from mapxdp.model.napt44 import Filtering, Forward, MappingPolicy
from mapxdp.model.timeouts import Timeouts
from mapxdp.observed import MappingKind
from mapxdp.reasons import Reason
from mapxdp.software import permissions
from mapxdp.software.lifecycle import GRACE

TIMEOUTS = Timeouts()
UNANSWERED, ANSWERED = TIMEOUTS.udp_unanswered, TIMEOUTS.udp_answered
FIRST, SAME_ADDRESS, OTHER = peer(), peer()._replace(port=9), peer(1)


def test_free_and_reserved_ports_are_nobodys() -> None:
    nat = Nat(policy(), reserved=[PORTS[0]])
    for port in PORTS:
        refused(Reason.NO_MAPPING, lambda port=port: nat.back(port))


@pytest.mark.parametrize(
    ("filtering", "same_address", "stranger"),
    [(EIF, True, True), (ADF, True, False), (APDF, False, False)],
)
def test_who_gets_in(filtering: Filtering, same_address: bool, stranger: bool) -> None:
    nat = Nat(policy(EIM, filtering))
    port = nat.out(HOST, FIRST)
    assert nat.back(port, FIRST) == HOST
    for remote, gets_in in ((SAME_ADDRESS, same_address), (OTHER, stranger)):
        if gets_in:
            assert nat.back(port, remote) == HOST
        else:
            refused(Reason.FILTERED, lambda remote=remote: nat.back(port, remote))


@pytest.mark.parametrize("filtering", [ADF, APDF])
def test_whoever_the_endpoint_has_sent_to_gets_in(filtering: Filtering) -> None:
    nat = Nat(policy(EIM, filtering))
    port = nat.out(HOST, FIRST)
    nat.out(HOST, OTHER)
    assert nat.back(port, OTHER) == HOST
    elsewhere = OTHER._replace(port=9)
    if filtering is ADF:
        assert nat.back(port, elsewhere) == HOST
    else:
        refused(Reason.FILTERED, lambda: nat.back(port, elsewhere))
    other_port = nat.out(OTHER_HOST, FIRST)
    refused(Reason.FILTERED, lambda: nat.back(other_port, OTHER))
    refused(Reason.NO_MAPPING, lambda: nat.back(port, OTHER, protocol=TCP))


@pytest.mark.parametrize("filtering", [ADF, APDF])
def test_a_permission_is_as_young_as_the_timeout(filtering: Filtering) -> None:
    nat = Nat(policy(EIM, filtering))
    port = nat.out(HOST, FIRST)
    nat.out(HOST, OTHER)  # two remotes: the longest timeout
    nat.wait(ANSWERED - 1)
    nat.out(HOST, FIRST)
    nat.wait(1)
    assert nat.back(port, OTHER) == HOST
    nat.wait(1)
    refused(Reason.FILTERED, lambda: nat.back(port, OTHER))
    assert nat.back(port, FIRST) == HOST, "the first remote may always send"
    nat.out(HOST, OTHER)
    assert nat.back(port, OTHER) == HOST
    nat.wait(ANSWERED)
    assert nat.back(port, OTHER) == HOST, "each packet to it renews the permission"


def test_what_comes_in_renews_no_permission() -> None:
    nat = Nat(policy(EIM))
    port = nat.out(HOST, FIRST)
    nat.out(HOST, OTHER)
    nat.wait(ANSWERED)
    assert nat.back(port, OTHER) == HOST
    nat.out(HOST, FIRST)
    nat.wait(1)
    refused(Reason.FILTERED, lambda: nat.back(port, OTHER))


def test_an_expired_mapping_lets_nobody_in() -> None:
    nat = Nat(policy(EIM))
    port = nat.out(HOST, FIRST)
    nat.wait(UNANSWERED + 1)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, FIRST))
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, OTHER))


def test_a_new_mapping_forgets_all_permissions() -> None:
    nat = Nat(policy(EIM))
    for number in range(12):
        nat.out(endpoint(f"192.168.2.{number}", 1), FIRST)
    port = nat.out(endpoint("192.168.2.0", 1), OTHER)
    for number in range(1, 12):
        nat.out(endpoint(f"192.168.2.{number}", 1), peer(2))
    nat.wait(ANSWERED + GRACE + 1)
    nat.table.choose = lambda *_: port
    assert nat.out(HOST, peer(3)) == port
    for remote in (FIRST, OTHER):
        refused(Reason.FILTERED, lambda remote=remote: nat.back(port, remote))


def test_a_revival_forgets_all_permissions_and_has_another_first_remote() -> None:
    timeouts = Timeouts(udp_unanswered=1000, udp_answered=120)  # a permission outlives it
    nat = Nat(policy(EIM, timeouts=timeouts))
    port = nat.out(HOST, FIRST)
    nat.out(HOST, OTHER)
    nat.wait(121)
    assert nat.out(HOST, peer(3)) == port
    refused(Reason.FILTERED, lambda: nat.back(port, OTHER))
    refused(Reason.FILTERED, lambda: nat.back(port, FIRST))
    assert nat.back(port, peer(3)) == HOST


def test_a_connection_opened_again_elsewhere_has_another_first_remote() -> None:
    nat = Nat(policy(EIM))
    port = nat.out(HOST, FIRST, SYN, TCP)
    nat.out(HOST, FIRST, ACK, TCP)  # needs no permission, so leaves none
    nat.back(port, FIRST, RST, TCP)
    nat.out(HOST, OTHER, SYN, TCP)
    assert nat.back(port, OTHER, SYN | ACK, TCP) == HOST
    refused(Reason.FILTERED, lambda: nat.back(port, FIRST, protocol=TCP))


def test_what_was_filtered_changes_nothing() -> None:
    nat = Nat(policy(EIM))
    port = nat.out(HOST, FIRST, SYN, TCP)
    nat.wait(TIMEOUTS.tcp_opening)
    refused(Reason.FILTERED, lambda: nat.back(port, OTHER, SYN | ACK, TCP))
    nat.wait(1)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, FIRST, SYN | ACK, TCP))


@pytest.mark.parametrize("filtering", [ADF, APDF])
def test_icmp_remotes_have_no_port(filtering: Filtering) -> None:
    nat = Nat(policy(EIM, filtering))
    port = nat.out(HOST, FIRST._replace(port=0), protocol=ICMP)
    nat.out(HOST, OTHER._replace(port=0), protocol=ICMP)
    assert nat.back(port, FIRST._replace(port=0), protocol=ICMP) == HOST
    assert nat.back(port, OTHER._replace(port=0), protocol=ICMP) == HOST
    refused(Reason.FILTERED, lambda: nat.back(port, peer(2)._replace(port=0), protocol=ICMP))


def test_remotes_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "PERMISSIONS", 2)
    nat = Nat(policy(EIM))
    port = nat.out(HOST, FIRST)
    for number in (1, 2, 1, 3):
        nat.out(HOST, peer(number))
    assert nat.back(port, peer(1)) == HOST
    assert nat.back(port, peer(3)) == HOST
    refused(Reason.FILTERED, lambda: nat.back(port, peer(2)))


@pytest.mark.parametrize("filtering", [EIF, ADF, APDF])
def test_a_flow_lets_in_its_remote_alone(filtering: Filtering) -> None:
    nat = Nat(policy(AUTO, filtering))
    port = nat.out(HOST, web())
    nat.table.choose_shared = lambda *_: port
    assert nat.out(OTHER_HOST, web(1)) == port
    assert nat.back(port, web()) == HOST
    assert nat.back(port, web(1)) == OTHER_HOST
    for remote in (web(2), web()._replace(port=444)):
        refused(Reason.FILTERED, lambda remote=remote: nat.back(port, remote))


def test_the_life_of_a_flow() -> None:
    nat = Nat(policy())
    port = nat.out(HOST, web(), SYN, TCP)
    nat.wait(TIMEOUTS.tcp_opening)
    nat.back(port, web(), SYN | ACK, TCP)  # half-open, the clock begins anew
    nat.wait(TIMEOUTS.tcp_opening)
    nat.out(HOST, web(), ACK, TCP)
    nat.wait(TIMEOUTS.tcp_established)
    nat.back(port, web(), protocol=TCP)  # keeps nothing alive
    nat.out(HOST, web(), FIN | ACK, TCP)
    nat.back(port, web(), FIN | ACK, TCP)
    nat.wait(TIMEOUTS.tcp_closing)
    assert nat.back(port, web(), protocol=TCP) == HOST
    nat.wait(GRACE)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, web(), protocol=TCP))
    nat.wait(1)
    refused(Reason.NO_MAPPING, lambda: nat.back(port, web(), protocol=TCP))


@pytest.mark.parametrize(
    ("remote_port", "unanswered", "answered"),
    [
        (53, TIMEOUTS.query_unanswered, TIMEOUTS.query_answered),
        (123, TIMEOUTS.query_unanswered, TIMEOUTS.query_answered),
        (443, TIMEOUTS.quic_unanswered, TIMEOUTS.quic_answered),
        (4430, UNANSWERED, ANSWERED),
    ],
)
@pytest.mark.parametrize("mapping", [EIM, SHARED])
def test_the_first_remotes_port_chooses_the_timeouts(
    mapping: MappingPolicy, remote_port: int, unanswered: int, answered: int
) -> None:
    nat = Nat(policy(mapping))
    remote = endpoint("198.51.100.1", remote_port)
    port = nat.out(HOST, remote)
    assert [use.timeout for use in nat.uses()] == [unanswered]
    nat.back(port, remote)
    assert [use.timeout for use in nat.uses()] == [answered]
    if mapping is EIM:
        nat.out(HOST, OTHER)
        assert [use.timeout for use in nat.uses()] == [ANSWERED], "the longest of the protocol"


# Forwards.

CONSOLE = IPv4Address("192.168.1.20")
FORWARD = Forward(UDP, PORTS[3], CONSOLE, 3074)
INSIDE = endpoint("192.168.1.20", 3074)


@pytest.mark.parametrize("mapping", [AUTO, EIM, SHARED])
def test_a_forward_lets_in_anyone_for_ever(mapping: MappingPolicy) -> None:
    nat = Nat(policy(mapping, APDF, forwards=(FORWARD,)))
    nat.wait(1_000_000)
    for remote in (web(), peer()):
        assert nat.back(PORTS[3], remote) == INSIDE
    refused(Reason.NO_MAPPING, lambda: nat.back(PORTS[3], protocol=TCP))
    nat.out(INSIDE, peer())
    nat.wait(1_000_000)
    assert nat.back(PORTS[3], web()) == INSIDE
    assert nat.out(INSIDE, web()) == PORTS[3]
    assert nat.news() == {}


def test_a_forward_is_seen() -> None:
    nat = Nat(policy(forwards=(FORWARD,)))
    nat.wait(7)
    (use,) = nat.uses()
    assert (use.kind, use.port, use.host, use.host_port) == (
        MappingKind.FORWARD,
        PORTS[3],
        CONSOLE,
        3074,
    )
    assert (str(use.peer), use.peer_port, use.idle, use.age) == ("0.0.0.0", 0, 0, 7)
    nat.out(INSIDE, web())
    nat.wait(1000)
    (use,) = nat.uses()
    assert (use.peer.packed, use.peer_port) == web()
    assert (use.idle, use.age, use.timeout, use.is_live) == (1000, 1007, UNANSWERED, True)


def test_nobody_gets_the_port_of_a_forward() -> None:
    nat = Nat(policy(EIM, forwards=(FORWARD,)))
    nat.out(endpoint("192.168.1.2", PORTS[3]))
    assert PORTS[3] not in nat.offered[0]
    for number in range(10):
        nat.out(endpoint("192.168.2.1", number))
    nat.wait(1_000_000)
    for number in range(10):
        nat.out(endpoint("192.168.2.1", number))
    nat.out(endpoint("192.168.2.1", 11))
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(endpoint("192.168.2.1", 12)))


def test_forwards_are_not_counted_as_ports_of_the_host() -> None:
    nat = Nat(policy(EIM, host_ports_max=1, forwards=(FORWARD,)))
    nat.out(INSIDE)
    nat.out(INSIDE._replace(port=9))
    refused(Reason.HOST_LIMIT, lambda: nat.out(INSIDE._replace(port=10)))


def test_of_several_forwards_the_first_is_used_from_the_lan() -> None:
    second = Forward(UDP, PORTS[1], CONSOLE, 3074)
    nat = Nat(policy(forwards=(FORWARD, second)))
    assert nat.out(INSIDE) == PORTS[3]
    assert nat.back(PORTS[1]) == INSIDE


def test_a_forward_may_have_a_reserved_port() -> None:
    nat = Nat(policy(EIM, forwards=(FORWARD,)), reserved=PORTS[:6])
    assert nat.back(PORTS[3]) == INSIDE
    nat.out(HOST)
    assert nat.offered == [PORTS[6:]]


def test_a_forward_to_any_port() -> None:
    anywhere = Forward(UDP, None, CONSOLE, 3074)
    own_number = Forward(UDP, None, CONSOLE, PORTS[7])
    first = Forward(UDP, PORTS[0], CONSOLE, 1)
    nat = Nat(policy(forwards=(anywhere, own_number, first)))
    assert {use.host_port: use.port for use in nat.uses()} == {
        1: PORTS[0],
        3074: PORTS[1],
        PORTS[7]: PORTS[7],
    }


@pytest.mark.parametrize("port", [80, PORTS[3]])
def test_a_forward_that_cannot_be(port: int) -> None:
    with pytest.raises(InvalidValue, match="forward"):
        Nat(policy(forwards=(FORWARD, Forward(UDP, port, CONSOLE, 1))))


def test_no_port_is_left_for_a_forward() -> None:
    with pytest.raises(InvalidValue, match="none is left"):
        Nat(policy(forwards=(Forward(UDP, None, CONSOLE, 1),)), reserved=PORTS)
