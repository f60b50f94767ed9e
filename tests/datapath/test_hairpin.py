# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From the LAN to a port of this CE: as if the packet had been to the BR (RFC 4787 REQ-9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import domain
from harness.exchange import endpoint_reached, lan_packet, port_given, send
from harness.loaded import LoadedCes
from harness.policies import policy, shared
from mapxdp.model.napt44 import Filtering
from mapxdp.reasons import Reason

PUBLIC = str(domain("map-t").ipv4_address)
FOREIGN_PORT = 1236
ALICE, BOB = ("192.168.1.10", 40010), ("192.168.1.11", 40011)


@pytest.fixture
def ce(ce: LoadedCe) -> Iterator[LoadedCe]:
    """Anyone may send to a port; recounted at the end."""
    ce.reset(policy=policy(filtering=Filtering.EIF))
    yield ce
    assert not ce.recounted()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_receiver_sees_the_sender_from_outside(protocol: str, ce: LoadedCe) -> None:
    alices = port_given(send(ce, protocol, *ALICE))
    bobs = port_given(send(ce, protocol, *BOB))
    outcome = send(ce, protocol, *BOB, PUBLIC, alices)
    assert outcome.reason is Reason.HAIRPINNED
    (packet,) = outcome.packets
    assert packet[12:16] == packets.v4(PUBLIC)
    assert int.from_bytes(packet[20:22], "big") == bobs
    assert endpoint_reached(outcome) == ALICE
    assert packets.checksums_are_right(packet)
    answer = send(ce, protocol, *ALICE, PUBLIC, bobs, packets.SYN | packets.ACK)
    assert answer.reason is Reason.HAIRPINNED
    assert endpoint_reached(answer) == BOB
    assert packets.checksums_are_right(answer.packets[0])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_nothing_else_of_the_packet_changes(protocol: str, ce: LoadedCe) -> None:
    alices = port_given(send(ce, protocol, *ALICE))
    sent = lan_packet(protocol, *BOB, PUBLIC, alices, payload=bytes(range(99)))
    (packet,) = ce.from_lan(sent).packets
    checksum = 36 if protocol == "tcp" else 26
    changed = {10, 11, *range(12, 24), checksum, checksum + 1}
    assert len(packet) == len(sent)
    assert {at for at in range(len(sent)) if packet[at] != sent[at]} <= changed
    assert packets.checksums_are_right(packet)


def test_the_sender_gets_a_mapping_by_it(ce: LoadedCe) -> None:
    alices = port_given(send(ce, "udp", *ALICE))
    send(ce, "udp", *BOB, PUBLIC, alices)
    assert len(ce.slots()) == 2


def test_to_oneself(ce: LoadedCe) -> None:
    own = port_given(send(ce, "udp", *ALICE))
    outcome = send(ce, "udp", *ALICE, PUBLIC, own)
    assert outcome.reason is Reason.HAIRPINNED
    assert endpoint_reached(outcome) == ALICE


def test_udp_without_a_checksum_stays_without(loaded_ces: LoadedCes) -> None:
    """MAP-T does not take it at all."""
    ce = loaded_ces.example("map-e", policy=policy(filtering=Filtering.EIF))
    alices = port_given(send(ce, "udp", *ALICE))
    data = packets.udp(BOB[0], PUBLIC, BOB[1], alices, checksum=False)
    outcome = ce.from_lan(packets.ipv4(data, packets.UDP, BOB[0], PUBLIC))
    assert outcome.packets[0][26:28] == b"\0\0"
    assert not ce.recounted()


def test_a_forward_is_reached_from_within(ce: LoadedCe) -> None:
    ce.reset(policy=policy(filtering=Filtering.APDF))
    port = list(ce.domain.port_set)[7]
    to = {"ipv4": packets.v4(ALICE[0]), "port": 80, "protocol": 0, "zero": 0}
    assert ce.command("COMMAND_FORWARD", ce.slot_index("TCP", port), endpoint=to) == 0
    outcome = send(ce, "tcp", *BOB, PUBLIC, port)
    assert outcome.reason is Reason.HAIRPINNED
    assert endpoint_reached(outcome) == (ALICE[0], 80)


def test_the_filter_applies(ce: LoadedCe) -> None:
    """Alice has to have sent to the CE's address, or to the very port, before."""
    for filtering, from_another_port in {
        Filtering.ADF: Reason.HAIRPINNED,
        Filtering.APDF: Reason.FILTERED,
    }.items():
        ce.reset(policy=policy(filtering=filtering))
        alices = port_given(send(ce, "udp", *ALICE))
        assert send(ce, "udp", *BOB, PUBLIC, alices).reason is Reason.FILTERED
        bobs = port_given(send(ce, "udp", *BOB))
        assert send(ce, "udp", *ALICE, PUBLIC, bobs).reason is Reason.HAIRPINNED
        assert send(ce, "udp", *BOB, PUBLIC, alices).reason is Reason.HAIRPINNED
        carol = send(ce, "udp", "192.168.1.12", 1, PUBLIC, alices)
        assert carol.reason is from_another_port


def test_nobody_behind_the_port(ce: LoadedCe) -> None:
    port = list(ce.domain.port_set)[7]
    assert send(ce, "udp", *BOB, PUBLIC, port).reason is Reason.NO_MAPPING
    alices = port_given(send(ce, "udp", *ALICE))
    ce.advance(121)
    assert send(ce, "udp", *BOB, PUBLIC, alices).reason is Reason.MAPPING_EXPIRED


def test_a_flow_lets_in_its_remote_alone(ce: LoadedCe) -> None:
    ce.reset(policy=shared(Filtering.EIF))
    alices = port_given(send(ce, "udp", *ALICE))
    assert send(ce, "udp", *BOB, PUBLIC, alices).reason is Reason.FILTERED


def test_another_ce_of_the_address_is_outside(ce: LoadedCe) -> None:
    assert send(ce, "udp", *BOB, PUBLIC, FOREIGN_PORT).reason is Reason.TRANSLATED


def test_echo_to_the_own_address_leaves(ce: LoadedCe) -> None:
    """It has no destination port that could say whose it is."""
    assert send(ce, "echo", *BOB, PUBLIC).reason is Reason.TRANSLATED
