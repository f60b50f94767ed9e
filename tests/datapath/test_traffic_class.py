# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The Traffic Class of packets to the WAN: copied, or always the same, but for congestion marks."""

from __future__ import annotations

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.exchange import lan_packet
from harness.follower import Follower
from harness.loaded import LoadedCes
from mapxdp.model.translation import TranslationPolicy

OCTETS = [0, 1, 2, 3, 0x28, 0xB8, 0xFF]


def sent(ce: LoadedCe, tos: int) -> bytes:
    """What leaves for a packet with that TOS, on both paths."""
    data = packets.udp(packets.HOST, packets.SERVER, 40000, 5000, b"x")
    (packet,) = Follower(ce).from_lan(packets.ipv4(data, packets.UDP, tos=tos)).packets
    return packet


def traffic_class(packet: bytes) -> int:
    return int.from_bytes(packet[:4], "big") >> 20 & 0xFF


@pytest.mark.parametrize("tos", OCTETS)
def test_it_is_copied(tos: int, ce: LoadedCe) -> None:
    assert traffic_class(sent(ce, tos)) == tos


@pytest.mark.parametrize("fixed", [0, 0x28, 0xFF])
@pytest.mark.parametrize("tos", OCTETS)
def test_it_is_fixed(tos: int, fixed: int, loaded_ces: LoadedCes) -> None:
    policy = TranslationPolicy(traffic_class=fixed)
    translated = sent(loaded_ces.example("map-t", translation=policy), tos)
    assert traffic_class(translated) == fixed


@pytest.mark.parametrize("fixed", [0, 0x28, 0xFF])
@pytest.mark.parametrize("tos", OCTETS)
def test_a_congestion_mark_crosses_the_tunnel(tos: int, fixed: int, loaded_ces: LoadedCes) -> None:
    policy = TranslationPolicy(traffic_class=fixed)
    tunnelled = sent(loaded_ces.example("map-e", translation=policy), tos)
    assert traffic_class(tunnelled) == fixed & 0xFC | tos & 3
    assert tunnelled[41] == tos


def test_other_fields_of_the_first_word_stay(ce: LoadedCe) -> None:
    ce.reset(translation=TranslationPolicy(traffic_class=0xFF))
    (packet,) = ce.from_lan(lan_packet()).packets
    assert packet[0] >> 4 == 6
    assert int.from_bytes(packet[:4], "big") & 0xFFFFF == 0
