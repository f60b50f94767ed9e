# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the BR of the lab take apart and put together what the CE does, both ways?"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.packet import Packet
from scapy_tools import HOST, MODES, OWN_IPV4, PORT, SERVER, assert_sound, from_host, new_ce

from harness.domains import BR, DMR, EXAMPLE_RULE
from mapxdp.model.domain import Mode
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.br_fragments import FragmentRelay

WAN_MTU = 1500
LENGTHS = [1472, 4000, 30000]


def relay_of(mode: Mode) -> FragmentRelay:
    far_end = {"dmr": DMR} if mode.translates else {"address": BR}
    return FragmentRelay(BorderRelay(BrSettings(mode, (EXAMPLE_RULE,), **far_end)), WAN_MTU)


def pieces(packet: Packet, order: int) -> list[bytes]:
    return [bytes(part) for part in fragment(IP(bytes(packet)), fragsize=1400)][::order]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
@pytest.mark.parametrize("octets", LENGTHS)
@pytest.mark.parametrize("kind", ["udp", "ping"])
@pytest.mark.parametrize("mode", MODES)
def test_there_and_back(mode: Mode, kind: str, octets: int, order: int) -> None:
    ce, relay = new_ce(mode, mtu=WAN_MTU - mode.overhead), relay_of(mode)
    data = bytes(number & 0xFF for number in range(octets))
    query: Packet = UDP(sport=40000, dport=80) / data
    answer: Packet = UDP(sport=80, dport=PORT) / data
    if kind == "ping":
        query, answer = ICMP(id=40000) / data, ICMP(type="echo-reply", id=PORT) / data

    arrived: list[bytes] = []
    for part in pieces(from_host(query, id=7), order):
        for packet in ce.from_lan(part).packets[::order]:
            assert len(packet) <= WAN_MTU
            arrived += relay.from_domain(packet)
    (whole,) = arrived
    assert_sound(whole)
    assert (IP(whole).src, IP(whole).dst) == (OWN_IPV4, SERVER)
    assert whole[28:] == data

    back: list[bytes] = []
    for part in pieces(IP(src=SERVER, dst=OWN_IPV4, id=8) / answer, order):
        for packet in relay.to_domain(part)[::order]:
            assert len(packet) <= WAN_MTU
            back += ce.from_wan(packet).packets
    received = b"".join(packet[20:] for packet in sorted(back, key=lambda packet: IP(packet).frag))
    assert received[8:] == data
    assert all(IP(packet).dst == HOST for packet in back)
