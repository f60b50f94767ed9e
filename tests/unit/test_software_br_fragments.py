# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the BR of the lab take apart and put together what the CE does, both ways?"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    assert_sound,
    from_host,
    new_ce,
)

from harness.domains import BR, DMR, EXAMPLE_RULE
from mapxdp.model.domain import Mode
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.br_fragments import FragmentRelay

WAN_MTU = 1500
#: The last one is the longest that IPv4 has.
LENGTHS = [1472, 4000, 30000, 65507]


def border_relay(mode: Mode) -> BorderRelay:
    far_end = {"dmr": DMR} if mode.translates else {"address": BR}
    return BorderRelay(BrSettings(mode, (EXAMPLE_RULE,), **far_end))


def relay_of(mode: Mode) -> FragmentRelay:
    return FragmentRelay(border_relay(mode), WAN_MTU)


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


def to_ce(offset: int, octets: int, *, more: bool = False) -> bytes:
    """A fragment from the Internet, at an offset in units of 8 octets."""
    fields = {"frag": offset, "flags": "MF" if more else 0, "proto": 17, "id": 8}
    return bytes(IP(src=SERVER, dst=OWN_IPV4, **fields) / bytes(octets))


def from_ce(mode: Mode, offset: int, octets: int, *, more: bool = False) -> bytes:
    """The same from a CE, in MAP-E of the IPv4 packet in the tunnel."""
    if mode.translates:
        header = IPv6ExtHdrFragment(id=8, nh=17, offset=offset, m=int(more))
        return bytes(IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / header / bytes(octets))
    fields = {"frag": offset, "flags": "MF" if more else 0, "proto": 17, "id": 8}
    inner = IP(src=OWN_IPV4, dst=SERVER, **fields) / bytes(octets)
    return bytes(IPv6(src=OWN_IPV6, dst=str(BR)) / inner)


@pytest.mark.parametrize("mode", MODES)
def test_fragments_of_no_datagram(mode: Mode) -> None:
    """None ends the BR, and each is counted."""
    relay = border_relay(mode)
    fragments = FragmentRelay(relay, WAN_MTU)
    for fragment_from_ce in (from_ce(mode, 8189, 24), from_ce(mode, 1, 9, more=True)):
        assert fragments.from_domain(fragment_from_ce) == ()
    for fragment_to_ce in (to_ce(8189, 24), to_ce(1, 9, more=True)):
        assert fragments.to_domain(fragment_to_ce) == ()
    assert relay.counts == {"FRAGMENT_INVALID": 4}


@pytest.mark.parametrize("mode", MODES)
def test_overlapping_fragments_are_the_end_of_a_datagram(mode: Mode) -> None:
    relay = border_relay(mode)
    fragments = FragmentRelay(relay, WAN_MTU)
    for offset, more in ((4, True), (5, True), (0, True)):
        fragments.from_domain(from_ce(mode, offset, 16, more=more))
        fragments.to_domain(to_ce(offset, 16, more=more))
    assert relay.counts == {"FRAGMENT_KEPT": 2, "FRAGMENT_INVALID": 4}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_packet_is_counted(mode: Mode) -> None:
    relay = border_relay(mode)
    fragments = FragmentRelay(relay, WAN_MTU)
    assert fragments.from_domain(b"\x60") == ()
    assert fragments.from_domain(from_ce(mode, 1, 8)[:39]) == ()
    assert fragments.to_domain(b"\x45") == ()
    assert relay.counts == {"IPV6_HEADER_CUT": 2, "MALFORMED_IPV4": 1}


def test_numbers_of_datagrams_in_map_t() -> None:
    """RFC 7915 sections 4.1 and 5.1.1: the same, as far as there is room for it."""
    relay = relay_of(Mode.MAP_T)
    parts = pieces(IP(src=SERVER, dst=OWN_IPV4, id=8) / UDP(sport=80, dport=PORT) / bytes(3000), 1)
    cut = [IPv6(packet) for part in parts for packet in relay.to_domain(part)]
    assert len(cut) > 1
    assert {packet[IPv6ExtHdrFragment].id for packet in cut} == {8}
    datagram = bytes(UDP(sport=PORT, dport=80, len=24, chksum=1) / bytes(16))
    packets = [
        IPv6(src=OWN_IPV6, dst=SERVER_IPV6)
        / IPv6ExtHdrFragment(id=0x12345678, nh=17, offset=offset, m=1 - offset // 2)
        / datagram[offset * 8 :][: 16 - offset * 4]
        for offset in (0, 2)
    ]
    (whole,) = (made for packet in packets for made in relay.from_domain(bytes(packet)))
    assert (IP(whole).id, int(IP(whole).flags)) == (0x5678, 0)
    assert whole[20:22] + whole[28:] == datagram[:2] + datagram[8:]
