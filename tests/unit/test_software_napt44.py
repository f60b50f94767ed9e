# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does NAPT44 of the software path keep the promises of RFC 4787, 5382, 5508 and 7857?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nat_tools import (
    ACK,
    EIF,
    EIM,
    FIN,
    HOST,
    ICMP,
    NO_FLAGS,
    OTHER_HOST,
    RST,
    SHARED,
    SMALL_SET,
    SYN,
    TCP,
    UDP,
    Nat,
    endpoint,
    policy,
    refused,
)

from mapxdp.model.napt44 import MappingPolicy
from mapxdp.model.timeouts import MappingFacts, Protocol, TimeoutClass, Timeouts, timeout_of
from mapxdp.reasons import Reason
from mapxdp.software.choices import choose_at_random
from mapxdp.software.lifecycle import GRACE, Endpoint
from mapxdp.software.transport import TcpFlags
from mapxdp.software.verdict import Refused

#: TCP's all differ.
TIMEOUTS = Timeouts(tcp_opening=200)
PEER, OTHER_PEER = endpoint("203.0.113.0", 4430), endpoint("203.0.113.0", 4431)


# Which port.


def test_the_port_set_of_these_tests() -> None:
    assert list(SMALL_SET) == [a << 14 | j for a in (1, 2, 3) for j in range(4)]


@pytest.mark.parametrize("protocol", Protocol)
def test_an_endpoint_has_one_port_towards_everyone(protocol: Protocol) -> None:
    """RFC 4787 REQ-1, RFC 5382 REQ-1."""
    nat = Nat()
    port = nat.out(protocol=protocol, flags=SYN)
    assert port in SMALL_SET
    assert nat.out(remote=OTHER_PEER, protocol=protocol, flags=SYN) == port
    assert nat.out(remote=endpoint("203.0.113.9", 443), protocol=protocol) == port
    assert len(nat.offered) == 1


@pytest.mark.parametrize("protocol", Protocol)
def test_anyone_may_answer(protocol: Protocol) -> None:
    """Endpoint-independent filtering: RFC 4787 REQ-8, RFC 5382 REQ-3."""
    nat = Nat(policy(EIM, EIF))
    port = nat.out(protocol=protocol)
    assert nat.back(port, OTHER_PEER, protocol=protocol) == HOST
    assert nat.back(port, endpoint("203.0.113.9", 1), protocol=protocol) == HOST


def test_two_endpoints_never_share_a_port() -> None:
    nat = Nat()
    hosts = [HOST, OTHER_HOST, endpoint("192.168.1.2", 40001)]
    ports = [nat.out(host) for host in hosts]
    assert len(set(ports)) == 3
    assert [nat.back(port) for port in ports] == hosts


def test_each_protocol_has_the_whole_set() -> None:
    nat = Nat()
    assert nat.out(protocol=TCP, flags=SYN) == nat.out(protocol=UDP) == nat.out(protocol=ICMP)
    port = nat.out(OTHER_HOST, protocol=UDP)
    refused(Reason.NO_MAPPING, lambda: nat.back(port, protocol=TCP))


def test_a_port_of_the_set_is_kept() -> None:
    """RFC 4787 REQ-3 a: port preservation, as long as nobody else has it."""
    nat = Nat()
    assert nat.out(endpoint("192.168.1.2", 32770)) == 32770
    assert nat.out(endpoint("192.168.1.3", 32770)) == 16384
    assert nat.offered == [[32770], [port for port in SMALL_SET if port != 32770]]


def test_any_free_port_may_be_chosen() -> None:
    nat = Nat()
    nat.out(HOST)
    nat.out(OTHER_HOST)
    assert nat.offered == [list(SMALL_SET), list(SMALL_SET)[1:]]


def test_the_chosen_port_is_used() -> None:
    nat = Nat()
    nat.table.choose = lambda _, ports: ports[-1]
    assert nat.out() == 49155


def test_reserved_ports_are_never_handed_out() -> None:
    nat = Nat(reserved=range(32768, 65536))
    assert nat.out(endpoint("192.168.1.2", 49152)) == 16384
    assert nat.offered == [[16384, 16385, 16386, 16387]]
    for number in range(3):
        nat.out(endpoint("192.168.1.9", number))
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(OTHER_HOST))


def test_chance_takes_every_port() -> None:
    ports = list(SMALL_SET)
    assert {choose_at_random(UDP, ports) for _ in range(1000)} == set(ports)


def filled() -> Nat:
    nat = Nat()
    for number in range(len(SMALL_SET)):
        nat.out(endpoint("192.168.1.9", number))
    return nat


def test_no_port_is_left() -> None:
    nat = filled()
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST))
    assert nat.out(endpoint("192.168.1.9", 3)) == 16387, "those that have one keep it"
    assert nat.out(HOST, protocol=TCP, flags=SYN) == 16384


def test_an_expired_port_is_taken_over_after_its_grace() -> None:
    nat = filled()
    assert GRACE == 1
    nat.wait(TIMEOUTS.udp_unanswered + 1)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST))
    nat.out(endpoint("192.168.1.9", 0))  # this one is alive again
    nat.wait(1)
    assert nat.out(HOST) == 16385
    assert nat.back(16385) == HOST
    assert nat.back(16384) == endpoint("192.168.1.9", 0)
    # The former owner has no port any more, and gets another.
    assert nat.out(endpoint("192.168.1.9", 1)) == 16386


def test_a_free_port_is_preferred_to_an_expired_one() -> None:
    nat = Nat()
    nat.out(HOST)
    nat.wait(100_000)
    assert nat.out(OTHER_HOST) == 16385


def test_the_owner_alone_revives_an_expired_port() -> None:
    nat = Nat()
    port = nat.out(HOST)
    nat.wait(100_000)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port))
    assert nat.out(HOST, OTHER_PEER) == port
    assert nat.back(port) == HOST


def test_a_reset_opens_nothing() -> None:
    nat = Nat()
    for flags in (RST, RST | ACK):
        refused(Reason.NO_MAPPING, lambda flags=flags: nat.out(flags=flags, protocol=TCP))
    assert nat.offered == []


@pytest.mark.parametrize("mapping", [EIM, SHARED])
def test_a_reset_revives_nothing(mapping: MappingPolicy) -> None:
    nat = Nat(policy(mapping, EIF))
    port = nat.out(flags=SYN, protocol=TCP)
    nat.wait(Timeouts().tcp_opening + GRACE)
    for flags in (RST, RST | ACK, RST | SYN):
        refused(Reason.NO_MAPPING, lambda flags=flags: nat.out(flags=flags, protocol=TCP))
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, protocol=TCP))
    assert nat.out(flags=SYN, protocol=TCP) == port


def test_an_echo_reply_begins_and_revives_nothing() -> None:
    """RFC 5508 REQ-1 speaks of requests: who answers a ping has been sent one."""
    nat = Nat(policy(EIM, EIF))
    answer = partial(
        nat.table.from_lan, ICMP, HOST, endpoint("203.0.113.0", 0), NO_FLAGS, is_echo_reply=True
    )
    refused(Reason.NO_MAPPING, answer)
    port = nat.out(protocol=ICMP)
    nat.wait(TIMEOUTS.icmp_query)
    assert answer() == port, "it keeps alive what lives"
    nat.wait(TIMEOUTS.icmp_query + 1)
    refused(Reason.NO_MAPPING, answer)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, protocol=ICMP))


@pytest.mark.parametrize("port", [16388, 0, 80, 65535])
def test_a_port_nobody_uses(port: int) -> None:
    refused(Reason.NO_MAPPING, lambda: Nat().back(port))


# How long a mapping lives.


@dataclass(frozen=True)
class Step:
    """One packet, and how long to wait before it."""

    direction: str
    flags: TcpFlags = NO_FLAGS
    peer: Endpoint = PEER
    after: int = 0


def out(flags: TcpFlags = NO_FLAGS, peer: Endpoint = PEER, after: int = 0) -> Step:
    return Step("out", flags, peer, after)


def back(flags: TcpFlags = NO_FLAGS, peer: Endpoint = PEER, after: int = 0) -> Step:
    return Step("back", flags, peer, after)


OPENING, ESTABLISHED, CLOSING = (
    TIMEOUTS.tcp_opening,
    TIMEOUTS.tcp_established,
    TIMEOUTS.tcp_closing,
)
UNANSWERED, ANSWERED = TIMEOUTS.udp_unanswered, TIMEOUTS.udp_answered
OPEN = (out(SYN), back(SYN | ACK), out(ACK))

#: A conversation, and how long after its last packet the mapping is still alive.
LIVES: dict[str, tuple[Protocol, tuple[Step, ...], int]] = {
    "UDP, nobody answered": (UDP, (out(),), UNANSWERED),
    "UDP, a stranger answered": (UDP, (out(), back(peer=OTHER_PEER)), UNANSWERED),
    "UDP, answered": (UDP, (out(), back()), ANSWERED),
    "UDP, to two peers": (UDP, (out(), out(peer=OTHER_PEER)), ANSWERED),
    "UDP, another port of the peer": (UDP, (out(), back(), out(peer=OTHER_PEER)), ANSWERED),
    "ICMP": (ICMP, (out(),), TIMEOUTS.icmp_query),
    "ICMP, answered": (ICMP, (out(), back()), TIMEOUTS.icmp_query),
    "ICMP, to two peers": (ICMP, (out(), out(peer=OTHER_PEER)), TIMEOUTS.icmp_query),
    "TCP, SYN": (TCP, (out(SYN),), OPENING),
    "TCP, SYN twice": (TCP, (out(SYN), out(SYN)), OPENING),
    "TCP, SYN and a stranger's answer": (TCP, (out(SYN), back(SYN | ACK, OTHER_PEER)), OPENING),
    "TCP, half-open": (TCP, (out(SYN), back(SYN | ACK)), OPENING),
    "TCP, half-open, SYN again": (TCP, (out(SYN), back(SYN | ACK), out(SYN)), OPENING),
    "TCP, half-open, we do not wait": (TCP, (out(SYN), out(ACK)), OPENING),
    "TCP, half-open, answered late": (TCP, (out(SYN), out(ACK), back(SYN | ACK)), ESTABLISHED),
    "TCP, simultaneous SYNs": (TCP, (out(SYN), back(SYN)), OPENING),
    "TCP, simultaneous SYNs answered": (TCP, (out(SYN), back(SYN), out(SYN | ACK)), OPENING),
    "TCP, simultaneous open": (
        TCP,
        (out(SYN), back(SYN), out(SYN | ACK), back(SYN | ACK), out(ACK)),
        ESTABLISHED,
    ),
    "TCP, refused by us": (TCP, (out(SYN), back(SYN | ACK), out(RST)), CLOSING),
    "TCP, established": (TCP, OPEN, ESTABLISHED),
    "TCP, seen in its middle": (TCP, (out(ACK), back(ACK)), ESTABLISHED),
    "TCP, one FIN from us": (TCP, (*OPEN, out(FIN | ACK)), ESTABLISHED),
    "TCP, one FIN from them": (TCP, (*OPEN, back(FIN | ACK)), ESTABLISHED),
    "TCP, both FINs": (TCP, (*OPEN, out(FIN | ACK), back(FIN | ACK)), CLOSING),
    "TCP, both FINs and the last ACK": (
        TCP,
        (*OPEN, back(FIN | ACK), out(FIN | ACK), back(ACK)),
        CLOSING,
    ),
    "TCP, FIN of a stranger": (
        TCP,
        (*OPEN, out(FIN | ACK), back(FIN | ACK, OTHER_PEER)),
        ESTABLISHED,
    ),
    "TCP, reset by us": (TCP, (*OPEN, out(RST)), CLOSING),
    "TCP, reset by them": (TCP, (*OPEN, back(RST)), CLOSING),
    "TCP, SYN refused": (TCP, (out(SYN), back(RST | ACK)), CLOSING),
    "TCP, reset by a stranger": (TCP, (*OPEN, back(RST, OTHER_PEER)), ESTABLISHED),
    "TCP, we talk after their reset": (TCP, (*OPEN, back(RST), out(ACK)), ESTABLISHED),
    "TCP, they talk after their reset": (TCP, (*OPEN, back(RST), back(ACK)), CLOSING),
    "TCP, they talk after our reset": (TCP, (*OPEN, out(RST), back(ACK)), CLOSING),
    "TCP, both talk after our reset": (TCP, (*OPEN, out(RST), back(ACK), out(ACK)), ESTABLISHED),
    "TCP, opened again after FINs": (
        TCP,
        (*OPEN, out(FIN | ACK), back(FIN | ACK), out(SYN)),
        OPENING,
    ),
    "TCP, half-open elsewhere": (
        TCP,
        (*OPEN, back(RST), out(SYN, OTHER_PEER), back(SYN | ACK, OTHER_PEER)),
        OPENING,
    ),
    "TCP, opened again elsewhere": (
        TCP,
        (
            *OPEN,
            back(RST),
            out(SYN, OTHER_PEER),
            back(SYN | ACK, OTHER_PEER),
            out(ACK, OTHER_PEER),
        ),
        ESTABLISHED,
    ),
    "TCP, opened again by SYN and FIN": (TCP, (*OPEN, back(RST), out(SYN | FIN)), OPENING),
    "TCP, opened again by SYN and FIN, and closed": (
        TCP,
        (*OPEN, back(RST), out(SYN | FIN), back(FIN | ACK)),
        CLOSING,
    ),
    "TCP, opened again by SYN and RST": (TCP, (*OPEN, back(RST), out(SYN | RST)), CLOSING),
    "TCP, opened again and closed again": (
        TCP,
        (*OPEN, out(RST), out(SYN), back(SYN | ACK), back(RST)),
        CLOSING,
    ),
    "TCP, SYN in an open connection": (TCP, (*OPEN, out(SYN)), ESTABLISHED),
    "TCP, SYN and ACK after closing": (TCP, (*OPEN, out(RST), out(SYN | ACK)), ESTABLISHED),
    "TCP, two peers": (TCP, (out(SYN), out(SYN, OTHER_PEER)), ESTABLISHED),
    "TCP, two peers, one closed": (
        TCP,
        (*OPEN, out(SYN, OTHER_PEER), out(FIN | ACK), back(FIN | ACK)),
        ESTABLISHED,
    ),
    "TCP, two peers, closed and opened": (
        TCP,
        (*OPEN, out(SYN, OTHER_PEER), back(RST), out(SYN)),
        ESTABLISHED,
    ),
    "TCP, revived is new": (TCP, (*OPEN, out(SYN, after=ESTABLISHED + 1)), OPENING),
    "UDP, revived is new": (UDP, (out(), back(), out(after=ANSWERED + 1)), UNANSWERED),
    "TCP, revived by a FIN": (
        TCP,
        (*OPEN, out(FIN, after=ESTABLISHED + 1), back(FIN)),
        CLOSING,
    ),
}


def converse(nat: Nat, protocol: Protocol, steps: Sequence[Step]) -> int:
    """Sends the packets; the port."""
    port = -1
    for step in steps:
        nat.wait(step.after)
        if step.direction == "out":
            port = nat.out(HOST, step.peer, step.flags, protocol)
        else:
            nat.back(port, step.peer, step.flags, protocol)
    return port


@pytest.mark.parametrize(
    ("steps", "peer"),
    [
        pytest.param(OPEN, PEER, id="open"),
        pytest.param((*OPEN, out(SYN, OTHER_PEER)), PEER, id="another beside it"),
        pytest.param((*OPEN, back(RST), out(SYN, OTHER_PEER)), OTHER_PEER, id="another after it"),
        pytest.param(
            (*OPEN, out(SYN, OTHER_PEER), back(RST), out(SYN, OTHER_PEER)),
            PEER,
            id="one of two closed",
        ),
        pytest.param(
            (out(SYN), out(SYN, OTHER_PEER, after=ESTABLISHED + 1)), OTHER_PEER, id="revived"
        ),
    ],
)
def test_which_peer_is_believed(steps: tuple[Step, ...], peer: Endpoint) -> None:
    nat = Nat()
    port = converse(nat, TCP, steps)
    (mapping,) = nat.table.mappings()
    assert (mapping.protocol, mapping.port, mapping.idle) == (TCP, port, 0)
    assert (mapping.host.packed, mapping.host_port) == HOST
    assert (mapping.peer.packed, mapping.peer_port) == peer


STRANGER = endpoint("203.0.113.200", 1)


@pytest.mark.parametrize("conversation", LIVES)
def test_how_long_a_mapping_lives(conversation: str) -> None:
    protocol, steps, lifetime = LIVES[conversation]
    nat = Nat(policy(EIM, EIF, timeouts=TIMEOUTS))
    port = converse(nat, protocol, steps)
    nat.wait(lifetime)
    assert nat.back(port, STRANGER, protocol=protocol) == HOST
    nat.wait(1)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, STRANGER, protocol=protocol))


def test_what_comes_from_outside_keeps_nothing_alive() -> None:
    """RFC 4787 REQ-6: only the LAN refreshes a mapping."""
    nat = Nat()
    port = nat.out()
    nat.back(port)
    for _ in range(10):
        nat.wait(ANSWERED // 10)
        nat.back(port)
    nat.wait(1)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port))


def test_what_comes_from_the_lan_keeps_it_alive() -> None:
    nat = Nat()
    port = nat.out()
    for _ in range(10):
        nat.wait(UNANSWERED)
        assert nat.out() == port
    nat.wait(UNANSWERED)
    assert nat.back(port) == HOST


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        pytest.param((out(SYN),), back(SYN | ACK, after=100), id="answer"),
        pytest.param(OPEN, back(RST, after=7000), id="reset"),
        pytest.param((*OPEN, out(FIN)), back(FIN, after=7000), id="second FIN"),
        pytest.param((*OPEN, out(RST)), back(FIN, after=100), id="FIN after our reset"),
    ],
)
def test_a_change_of_state_from_outside_starts_the_clock_anew(
    steps: tuple[Step, ...], last: Step
) -> None:
    """RFC 7857 section 2.2: 4 minutes after a reset, however long it was silent before."""
    nat = Nat(policy(EIM, EIF, timeouts=TIMEOUTS))
    port = converse(nat, TCP, (*steps, last))
    (mapping,) = nat.uses()
    assert mapping.idle == 0
    nat.wait(mapping.timeout)
    assert nat.back(port, STRANGER, protocol=TCP) == HOST


def test_a_remote_cannot_hold_a_port_by_taking_its_reset_back() -> None:
    nat = Nat(policy(EIM, EIF, timeouts=TIMEOUTS))
    port = converse(nat, TCP, OPEN)
    nat.back(port, PEER, RST, TCP)
    for _ in range(CLOSING // 60):
        nat.wait(60)
        nat.back(port, PEER, ACK, TCP)
        nat.back(port, PEER, RST, TCP)
    nat.wait(1)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, PEER, ACK, TCP))


def test_the_defaults_are_those_of_the_rfcs() -> None:
    defaults = Timeouts()
    assert defaults.tcp_established == 2 * 3600 + 4 * 60  # RFC 5382 REQ-5
    assert defaults.tcp_opening == defaults.tcp_closing == 4 * 60
    assert (defaults.udp_unanswered, defaults.udp_answered) == (2 * 60, 5 * 60)  # RFC 4787 REQ-5
    assert defaults.icmp_query == 60  # RFC 5508 REQ-2


def test_each_timeout_is_used_somewhere() -> None:
    timeouts = Timeouts(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    facts = [
        MappingFacts(answered, closing, several)
        for answered in (False, True)
        for closing in (False, True)
        for several in (False, True)
    ]
    expected = {
        # In the order of the facts: closing and several peers change fastest.
        TimeoutClass.TCP: [1, 2, 3, 2, 2, 2, 3, 2],
        TimeoutClass.UDP: [5, 6, 5, 6, 6, 6, 6, 6],
        TimeoutClass.QUERY: [7, 6, 7, 6, 8, 6, 8, 6],
        TimeoutClass.QUIC: [9, 6, 9, 6, 10, 6, 10, 6],
        TimeoutClass.ICMP: [11] * 8,
    }
    found = {which: [timeout_of(timeouts, which, fact) for fact in facts] for which in TimeoutClass}
    assert found == expected


# Whatever happens.


@dataclass(frozen=True)
class Packet:
    host: int
    peer: Endpoint
    flags: TcpFlags
    protocol: Protocol


PACKETS = st.builds(
    Packet,
    host=st.integers(0, 15),
    peer=st.sampled_from([PEER, OTHER_PEER]),
    flags=st.sampled_from([NO_FLAGS, SYN, ACK, FIN | ACK, RST]),
    protocol=st.sampled_from([TCP, UDP]),
)
EVENTS = st.one_of(PACKETS, st.sampled_from([1, 60, 121, 241, 301, 7441]))


@given(st.lists(EVENTS, max_size=60))
@settings(deadline=None, derandomize=True, database=None, max_examples=200)
def test_a_port_leads_back_to_whoever_had_it_last(events: list[Packet | int]) -> None:
    nat = Nat(reserved=range(16384, 16386))
    owners: dict[Protocol, dict[int, Endpoint]] = {TCP: {}, UDP: {}}
    for event in events:
        if isinstance(event, int):
            nat.wait(event)
            continue
        host = endpoint("192.168.1.2", 16380 + event.host)
        owned = owners[event.protocol]
        try:
            port = nat.out(host, event.peer, event.flags, event.protocol)
        except Refused as refusal:
            assert refusal.reason in (Reason.PORTS_EXHAUSTED, Reason.NO_MAPPING)
            for number in (number for number, owner in owned.items() if owner == host):
                # Only a reset leaves an expired port at that.
                assert event.flags & RST
                refused(
                    Reason.MAPPING_EXPIRED,
                    partial(nat.back, number, STRANGER, protocol=event.protocol),
                )
            continue
        assert port in SMALL_SET
        assert port not in (16384, 16385)
        assert owned.get(port) == host or host not in owned.values()
        owned[port] = host
        for number, owner in owned.items():
            try:
                assert nat.back(number, STRANGER, protocol=event.protocol) == owner
            except Refused as refusal:
                assert refusal.reason is Reason.MAPPING_EXPIRED
