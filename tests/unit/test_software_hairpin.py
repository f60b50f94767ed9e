# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do hosts of the LAN reach each other by the public address (RFC 4787 REQ-9)?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy_tools import (
    EACH_ITS_OWN,
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SECOND_PORT,
    SERVER,
    new_ce,
    sole,
)

from mapxdp.model.domain import Mode
from mapxdp.model.napt44 import Filtering, Napt44Policy
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software.ce import CustomerEdge

OTHER_HOST = "192.168.1.3"
OPEN = replace(EACH_ITS_OWN, filtering=dict.fromkeys(Protocol, Filtering.EIF))


def with_a_server_inside(
    mode: Mode, policy: Napt44Policy = OPEN, mss: int | None = None
) -> CustomerEdge:
    """OTHER_HOST has PORT, for each protocol."""
    ce = new_ce(mode, policy=policy, mss=mss)
    for transport in (TCP(sport=7000, dport=4430), UDP(sport=7000, dport=4430), ICMP(id=7000)):
        sole(ce.from_lan(bytes(IP(src=OTHER_HOST, dst=SERVER) / transport)))
    return ce


SYN = TCP(flags="S", options=[("MSS", 1460)])


@pytest.mark.parametrize(
    ("mode", "transport"),
    [
        *((mode, transport) for mode in MODES for transport in (SYN, UDP() / b"odd")),
        (Mode.MAP_E, UDP(chksum=0)),  # which MAP-T refuses, whatever the destination
    ],
)
def test_the_receiver_sees_the_public_address_of_the_sender(mode: Mode, transport: Packet) -> None:
    ce = with_a_server_inside(mode, mss=1000)
    fields = {"ttl": 63, "tos": 0xB9, "id": 0x1234, "flags": "DF"}
    sent = transport.copy()
    sent.sport, sent.dport = 40000, PORT
    outcome = ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4, **fields) / sent))
    assert outcome.reason is Reason.HAIRPINNED
    received = transport.copy()
    received.sport, received.dport = SECOND_PORT, 7000
    expected = IP(src=OWN_IPV4, dst=OTHER_HOST, **fields) / received
    assert [packet.hex() for packet in outcome.packets] == [bytes(expected).hex()]


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_finds_its_way_back(mode: Mode) -> None:
    ce = with_a_server_inside(mode)
    ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4) / UDP(sport=40000, dport=PORT)))
    answer = IP(src=OTHER_HOST, dst=OWN_IPV4) / UDP(sport=7000, dport=SECOND_PORT)
    outcome = ce.from_lan(bytes(answer))
    assert outcome.reason is Reason.HAIRPINNED
    expected = IP(src=OWN_IPV4, dst=HOST) / UDP(sport=PORT, dport=40000)
    assert outcome.packets == (bytes(expected),)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("identifier", [PORT, 40000])
def test_echo_does_not_turn_back(mode: Mode, identifier: int) -> None:
    """Whose it is does not show: an identifier is the sender's and the receiver's in one."""
    ce = with_a_server_inside(mode)
    outcome = ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4) / ICMP(id=identifier)))
    assert outcome.reason is Reason.TRANSLATED
    assert IPv6(sole(outcome)).src == OWN_IPV6


@pytest.mark.parametrize("mode", MODES)
def test_another_ces_ports_are_remote(mode: Mode) -> None:
    ce = with_a_server_inside(mode)
    outcome = ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4) / UDP(sport=40000, dport=1236)))
    assert outcome.reason is Reason.TRANSLATED
    outcome = ce.from_lan(bytes(IP(src=HOST, dst="192.0.2.19") / UDP(sport=40000, dport=PORT)))
    assert outcome.reason is Reason.TRANSLATED


@pytest.mark.parametrize("mode", MODES)
def test_the_rules_for_the_wan_hold(mode: Mode) -> None:
    ce = with_a_server_inside(mode, EACH_ITS_OWN)
    to_server = bytes(IP(src=HOST, dst=OWN_IPV4) / UDP(sport=40000, dport=PORT))
    assert ce.from_lan(to_server).reason is Reason.FILTERED
    to_nobody = bytes(IP(src=HOST, dst=OWN_IPV4) / UDP(sport=40000, dport=PORT + 3))
    assert ce.from_lan(to_nobody).reason is Reason.NO_MAPPING
    # The sender has its port, and who is sent to may send: so both get through now.
    answer = bytes(IP(src=OTHER_HOST, dst=OWN_IPV4) / UDP(sport=7000, dport=SECOND_PORT))
    assert ce.from_lan(answer).reason is Reason.HAIRPINNED
    assert ce.from_lan(to_server).reason is Reason.HAIRPINNED


@pytest.mark.parametrize("mode", MODES)
def test_without_napt44_nothing_turns_back(mode: Mode) -> None:
    sent = IP(src=OWN_IPV4, dst=OWN_IPV4) / UDP(sport=PORT, dport=SECOND_PORT)
    assert new_ce(mode, nat=False).from_lan(bytes(sent)).reason is Reason.TRANSLATED


def test_only_what_leaves_is_clamped() -> None:
    ce = with_a_server_inside(Mode.MAP_T, mss=1000)
    syn = TCP(sport=40000, dport=PORT, flags="S", options=[("MSS", 1460)])
    ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4) / syn))
    assert Reason.MSS_CLAMPED not in ce.events("upstream")
