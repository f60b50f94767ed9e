# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""UDP without a checksum: translation to IPv6 computes it, the way back carries its absence."""

from __future__ import annotations

import random

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.exchange import HIGH, lan_packet, port_given
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from mapxdp.model import rfc6052
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason

#: Around pieces of 512 octets and words of 4, up to what BPF_PROG_TEST_RUN takes: a page.
SIZES = [0, 1, 2, 3, 4, 5, 11, 503, 504, 505, 506, 507, 508, 1015, 1016, 1017, 1400, 2051, 3499]


def without_checksum(payload: bytes, *, port: int = 40000, **udp: int) -> bytes:
    data = packets.udp(HOST, SERVER, port, HIGH, payload, checksum=False, **udp)
    return packets.ipv4(data, packets.UDP)


def octets(number: int) -> bytes:
    return random.Random(number).randbytes(number)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_computed(size: int, loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-t", ipv4_mtu=4000))
    (packet,) = follower.from_lan(without_checksum(octets(size))).packets
    assert packets.checksums_are_right(packet)
    follower.assert_that_events_agree()


@pytest.mark.parametrize("fill", [0x00, 0xFF])
@pytest.mark.parametrize("size", [0, 1, 512, 1300])
def test_of_the_same_octet_over_and_over(size: int, fill: int, loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-t"))
    (packet,) = follower.from_lan(without_checksum(bytes([fill]) * size)).packets
    assert packets.checksums_are_right(packet)


def test_one_that_comes_out_as_0_is_sent_as_its_other_form(loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-t"))
    for port in follower.ce.domain.port_set:
        sound = packets.udp(HOST, SERVER, port, HIGH, b"\0\0")
        filler = sound[6:8]  # makes the sum all ones
        (packet,) = follower.from_lan(without_checksum(filler, port=port)).packets
        assert packet[46:48] != bytes(2)
        assert packets.checksums_are_right(packet)
        if port > 2300:
            break


def test_what_lies_behind_the_datagram_is_not_covered(loaded_ces: LoadedCes) -> None:
    """Its own length counts (RFC 768), which may be less than IPv4's."""
    follower = Follower(loaded_ces.example("map-t"))
    (packet,) = follower.from_lan(without_checksum(b"odd" + b"\xee" * 9, length=11)).packets
    datagram = packet[40:51]
    assert packet[40 + 8 :] == b"odd" + b"\xee" * 9
    pseudo = packets.pseudo_header(packet[8:24], packet[24:40], 11, packets.UDP)
    assert packets.internet_checksum(pseudo + datagram) == 0


def test_dropped_where_it_is_not_to_be_computed(loaded_ces: LoadedCes) -> None:
    policy = TranslationPolicy(compute_udp_checksum=False)
    follower = Follower(loaded_ces.example("map-t", translation=policy))
    assert follower.from_lan(without_checksum(b"x")).reason is Reason.UDP_CHECKSUM_ZERO
    follower.assert_that_events_agree()


def test_dropped_in_pieces(loaded_ces: LoadedCes) -> None:
    """Of a segmented packet each piece would need its own."""
    ce = loaded_ces.example("map-t")
    outcome = ce.from_lan(without_checksum(bytes(3000)), gso_size=1000, gso_segs=3)
    assert outcome.reason is Reason.UDP_CHECKSUM_ZERO


def test_a_tunnel_carries_it(loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-e"))
    (packet,) = follower.from_lan(without_checksum(b"x")).packets
    assert packet[66:68] == bytes(2)
    assert packets.checksums_are_right(packet)
    follower.assert_that_events_agree()


def test_counted_even_if_the_packet_gets_no_further(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t", ipv4_mtu=100)
    follower = Follower(ce)
    assert follower.from_lan(without_checksum(bytes(200))).reason is Reason.TOO_BIG
    assert ce.events() == {Reason.UDP_CHECKSUM_COMPUTED: 1, Reason.REFUSAL_SENT: 1}
    follower.assert_that_events_agree()


def test_hairpinned(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    public, follower = str(ce.domain.ipv4_address), Follower(ce)
    follower.from_lan(lan_packet(port=1232, remote=public, remote_port=2257))
    data = packets.udp(HOST, public, 2257, 1232, b"x", checksum=False)
    outcome = follower.from_lan(packets.ipv4(data, packets.UDP, HOST, public))
    assert outcome.reason is Reason.HAIRPINNED
    assert outcome.packets[0][26:28] != bytes(2)
    assert packets.checksums_are_right(outcome.packets[0])


def test_its_absence_is_carried_to_the_lan(ce: LoadedCe) -> None:
    follower = Follower(ce)
    port = port_given(follower.from_lan(lan_packet()))
    data = packets.udp(SERVER, HOST, HIGH, port, b"answer", checksum=False)
    (packet,) = follower.from_wan(from_br(ce, data)).packets
    assert packet[26:28] == bytes(2)
    assert packet[28:] == b"answer"
    translates = ce.domain.mode.translates
    assert ce.events().get(Reason.UDP_CHECKSUM_ABSENT, 0) == translates
    follower.assert_that_events_agree()


def test_nothing_is_counted_of_what_is_not_let_in(loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-t"))
    data = packets.udp(SERVER, HOST, HIGH, 1232, b"answer", checksum=False)
    assert follower.from_wan(from_br(follower.ce, data)).reason is Reason.NO_MAPPING
    follower.assert_that_events_agree()


def from_br(ce: LoadedCe, data: bytes) -> bytes:
    own = ce.domain.map_address
    if ce.domain.dmr is not None:
        source = rfc6052.embed(ce.domain.dmr, packets.IPv4Address(SERVER))
        return packets.ipv6(data, packets.UDP, source, own)
    assert ce.domain.br is not None
    inner = packets.ipv4(data, packets.UDP, SERVER, str(ce.domain.ipv4_address))
    return packets.ipv6(inner, packets.IPV4, ce.domain.br, own)
