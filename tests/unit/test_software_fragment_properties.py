# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Whatever way a datagram is cut, and in whatever order its pieces come: it arrives as it was."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, defragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6
from scapy_tools import EACH_ITS_OWN, HOST, MODES, SERVER, Clock, new_ce

from harness import fragment_traffic, packets, traffic
from harness.domains import LW4O6, domain
from harness.fragment_traffic import Datagram, Fragment, Piece, cut, length_of, noise
from harness.traffic import FromLan, FromWan, Wait
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Filtering
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.datagrams import FRAGMENTS_MAX

DOMAINS = {**{str(mode): domain(mode) for mode in MODES}, "lw4o6": LW4O6}
WAN_MTU = 1500
OPEN = dataclasses.replace(EACH_ITS_OWN, filtering=dict.fromkeys(Protocol, Filtering.EIF))
SOUND = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def edge(
    ce_domain: Domain, clock: Clock | None = None, *, fragment_inner: bool = False
) -> CustomerEdge:
    """A CE that leaves the numbers of datagrams alone, so that they can be told apart."""
    napt44 = new_ce(ce_domain, policy=OPEN, clock=clock).napt44
    translation = TranslationPolicy(fragment_inner=fragment_inner)
    settings = CeSettings(ce_domain.ipv4_mtu(WAN_MTU), None, policy=OPEN, translation=translation)
    ce = CustomerEdge(ce_domain, settings, napt44)
    ce.choose_identification = lambda old: old
    return ce


def datagrams_from_lan() -> st.SearchStrategy[list[Datagram]]:
    """Several of one host to one server, with numbers of their own."""
    packet = st.builds(
        FromLan,
        protocol=st.sampled_from(["udp", "echo", "tcp"]),
        host=st.just(HOST),
        port=st.sampled_from([40000, 40001]),
        server=st.just(SERVER),
        server_port=st.just(5000),
        flags=st.just(packets.SYN),
        payload=st.just(b""),
        options=st.just(b""),
        tos=st.sampled_from([0, 0xB8]),
    )
    return numbered(fragment_traffic.datagrams(packet))


def datagrams_from_wan(*, outer: bool) -> st.SearchStrategy[list[Datagram]]:
    packet = st.builds(
        FromWan,
        protocol=st.sampled_from(["udp", "echo reply", "tcp"]),
        port=st.just(0),
        server=st.just(SERVER),
        server_port=st.just(5000),
        flags=st.just(packets.SYN | packets.ACK),
        payload=st.just(b""),
        options=st.just(b""),
        tos=st.sampled_from([0, 0xB8]),
        outer=st.just(0),
    )
    return numbered(fragment_traffic.datagrams(packet, outer=outer))


def numbered(of: st.SearchStrategy[Datagram]) -> st.SearchStrategy[list[Datagram]]:
    return st.lists(of, min_size=1, max_size=3).map(
        lambda some: [
            dataclasses.replace(each, identification=0x12340007 + number, flags=0)
            for number, each in enumerate(some)
        ]
    )


def sound_fragments(data: st.DataObject, datagrams: list[Datagram]) -> list[Fragment]:
    """All of those that may arrive, mixed."""
    queues = []
    for datagram in datagrams:
        pieces = data.draw(fragment_traffic.sound_pieces(length_of(datagram)))
        if may_arrive(datagram, pieces):
            queues.append([Fragment(datagram, piece) for piece in reversed(pieces)])
    assume(queues)
    turns = [number for number, queue in enumerate(queues) for _ in queue]
    return [queues[number].pop() for number in data.draw(st.permutations(turns))]


def may_arrive(datagram: Datagram, pieces: list[Piece]) -> bool:
    """Unless there are too many to be kept, or the first one does not hold the TCP header."""
    first = next(piece for piece in pieces if piece.offset == 0)
    return len(pieces) <= FRAGMENTS_MAX and (
        datagram.packet.protocol != "tcp" or first.length >= 20
    )


def put_together(made: list[bytes]) -> list[bytes]:
    """The whole packets, without tunnel headers."""
    whole = _whole_ipv6(made) if made and made[0][0] >> 4 == 6 else made
    is_tunnel = whole and whole[0][0] >> 4 == 6 and whole[0][6] == packets.IPV4
    ipv4 = [packet[40:] for packet in whole] if is_tunnel else whole
    return whole if ipv4 and ipv4[0][0] >> 4 == 6 else _whole_ipv4(ipv4)


def _whole_ipv6(made: list[bytes]) -> list[bytes]:
    parsed = [IPv6(packet) for packet in made]
    by_number: dict[int, list[IPv6]] = defaultdict(list)
    for packet in parsed:
        if IPv6ExtHdrFragment in packet:
            by_number[packet[IPv6ExtHdrFragment].id].append(packet)
    whole = [bytes(packet) for packet in parsed if IPv6ExtHdrFragment not in packet]
    for parts in by_number.values():
        headers = [packet[IPv6ExtHdrFragment] for packet in parts]
        assert_seamless([Piece(h.offset * 8, len(h.payload), bool(h.m)) for h in headers])
        whole.append(bytes(defragment6(parts)))
    return whole


def assert_seamless(pieces: list[Piece]) -> None:
    """They are all of a datagram, and only the last one says so: scapy does not look."""
    in_order = sorted(pieces, key=lambda piece: piece.offset)
    ends = [0] + [piece.offset + piece.length for piece in in_order]
    assert [piece.offset for piece in in_order] == ends[:-1]
    assert [piece.more for piece in in_order] == [True] * (len(pieces) - 1) + [False]


def _whole_ipv4(made: list[bytes]) -> list[bytes]:
    assert all(packets.internet_checksum(packet[:20]) == 0 for packet in made)
    in_order = sorted((IP(packet) for packet in made), key=lambda packet: int(packet.frag))
    by_number: dict[object, list[Piece]] = defaultdict(list)
    for packet in in_order:
        piece = Piece(packet.frag * 8, len(packet.payload), bool(packet.flags.MF))
        by_number[packet.id if piece.more or piece.offset else len(by_number) + 0.5].append(piece)
    for pieces in by_number.values():
        assert_seamless(pieces)
    whole = list(defragment(in_order))  # scapy wants them so
    for packet in whole:
        assert not packet.frag
        assert not packet.flags.MF
        del packet.len, packet.chksum
    return [bytes(packet) for packet in whole]


def body(whole: bytes) -> bytes:
    at, protocol = (40, whole[6]) if whole[0] >> 4 == 6 else (20, whole[9])
    return whole[at + (20 if protocol == packets.TCP else 8) :]


def assert_arrived(made: list[bytes], sent: list[Fragment]) -> None:
    whole = put_together(made)
    assert all(packets.checksums_are_right(packet) for packet in whole)
    expected = [
        (datagram.packet.tos, noise(datagram.octets))
        for datagram in {fragment.datagram for fragment in sent}
    ]
    assert sorted((tos(packet), body(packet)) for packet in whole) == sorted(expected)


def tos(whole: bytes) -> int:
    return whole[1] if whole[0] >> 4 == 4 else int.from_bytes(whole[:4], "big") >> 20 & 0xFF


@pytest.mark.parametrize("fragment_inner", [False, True], ids=["", "inner"])
@pytest.mark.parametrize("name", DOMAINS)
def test_from_the_lan(name: str, fragment_inner: bool) -> None:
    @SOUND
    @given(data=st.data(), datagrams=datagrams_from_lan())
    def check(data: st.DataObject, datagrams: list[Datagram]) -> None:
        ce = edge(DOMAINS[name], fragment_inner=fragment_inner)
        sent, made = sound_fragments(data, datagrams), []
        for fragment in sent:
            outcome = ce.from_lan(fragment_traffic.upstream_packet(fragment))
            assert outcome.verdict is ReasonClass.TRANSLATED, outcome.reason
            made += outcome.packets
        assert all(len(packet) <= WAN_MTU for packet in made)
        assert_arrived(made, sent)

    check()


@pytest.mark.parametrize("name", DOMAINS)
def test_from_the_wan(name: str) -> None:
    """In a tunnel, of the inner packet or of the outer one."""
    ce_domain = DOMAINS[name]
    outer = not ce_domain.mode.translates

    @SOUND
    @given(data=st.data(), datagrams=datagrams_from_wan(outer=outer))
    def check(data: st.DataObject, datagrams: list[Datagram]) -> None:
        ce, port = edge(ce_domain), ce_domain.port_set.port_at(0)
        for protocol in ("udp", "echo", "tcp"):
            opening = FromLan(protocol, HOST, 40000, SERVER, 5000, packets.SYN, b"", b"", 0)
            assert ce.from_lan(traffic.upstream_packet(opening)).packets
        sent, made = sound_fragments(data, datagrams), []
        for fragment in sent:
            outcome = ce.from_wan(fragment_traffic.downstream_packet(ce_domain, fragment, port))
            assert outcome.verdict is ReasonClass.TRANSLATED, outcome.reason
            made += outcome.packets
        assert {IP(packet).dst for packet in made} == {HOST}
        assert_arrived(made, sent)

    check()


@pytest.mark.parametrize("name", DOMAINS)
def test_damaged_ones_harm_nobody(name: str) -> None:
    """Whatever comes: it crosses, waits or is dropped, and no packet is too long for the WAN."""
    ce_domain = DOMAINS[name]

    @settings(SOUND, max_examples=100)
    @given(steps=fragment_traffic.both_ways(ce_domain))
    def check(steps: list[fragment_traffic.Step]) -> None:
        clock = Clock()
        ce, port = edge(ce_domain, clock), ce_domain.port_set.port_at(0)
        for step in steps:
            if isinstance(step, Wait):
                clock.now += step.ticks
            elif step.is_upstream:
                outcome = ce.from_lan(fragment_traffic.upstream_packet(step))
                assert all(
                    len(packet) <= WAN_MTU or outcome.reason is Reason.HAIRPINNED
                    for packet in outcome.packets
                )
            else:
                packet = fragment_traffic.downstream_packet(ce_domain, step, port)
                assert ce.from_wan(packet).verdict is not ReasonClass.PASS

    check()


def test_every_size_is_cut_to() -> None:
    for octets in (8, 20, 1480, 30008):
        pieces = cut(octets, [8, 1400])
        assert sum(piece.length for piece in pieces) == octets
        assert [piece.more for piece in pieces] == [True] * (len(pieces) - 1) + [False]
        assert not any(piece.length % 8 for piece in pieces[:-1])
    assert cut(8, [8]) == [Piece(0, 8, more=False)]
