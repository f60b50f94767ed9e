# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fragments of datagrams, in both directions: scapy puts together what leaves, and it is what was
sent (RFC 7915 sections 4.1 and 5.1.1, RFC 7597 section 8.3, RFC 4787 REQ-14)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from harness import fragments, packets
from harness.ce import LoadedCe
from harness.domains import LW4O6
from harness.exchange import HIGH, port_given, send
from harness.fragments import Cut, Part, parts_of
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from harness.policies import policy
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.datapath.trial import TrialLink
from mapxdp.model.napt44 import Filtering
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

ORDERS = ["in order", "reversed", "first last"]
PROTOCOLS = ["udp", "tcp", "echo"]
BODY = fragments.noise(4000)
SIZE = 1400
PORT = 40000
TICKS = 15  # for which a datagram is remembered
BUFFERS = 64

Way = Callable[[bytes], Outcome]


@pytest.fixture
def ce(ce: LoadedCe, trial_link: TrialLink) -> LoadedCe:
    """Anyone may send to a port."""
    ce.reset(policy=policy(filtering=Filtering.EIF))
    ce.link = trial_link
    return ce


@pytest.fixture
def map_t(loaded_ces: LoadedCes, trial_link: TrialLink) -> LoadedCe:
    made = loaded_ces.example("map-t", policy=policy(filtering=Filtering.EIF))
    made.link = trial_link
    return made


@pytest.fixture
def map_e(loaded_ces: LoadedCes, trial_link: TrialLink) -> LoadedCe:
    made = loaded_ces.example("map-e", policy=policy(filtering=Filtering.EIF))
    made.link = trial_link
    return made


def pieces_of(outcomes: list[Outcome]) -> list[bytes]:
    return [packet for outcome in outcomes for packet in outcome.packets]


def sent(way: Way, cut: Cut, parts: list[Part]) -> list[bytes]:
    """What leaves for these fragments, of which none is dropped."""
    outcomes = [way(cut(part)) for part in parts]
    assert {outcome.verdict for outcome in outcomes} == {ReasonClass.TRANSLATED}
    return pieces_of(outcomes)


def mapped_port(ce: LoadedCe, protocol: str) -> int:
    """That of an endpoint of the LAN which has sent something."""
    return port_given(send(ce, protocol, HOST, PORT))


def datagram(
    ce: LoadedCe, direction: str, protocol: str, body: bytes = BODY, identification: int = 0x4D58
) -> tuple[Way, Cut, int]:
    """A way through the CE, and a datagram for it."""
    if direction == "46":
        cut, length = fragments.from_lan(protocol, body, PORT, identification)
        return ce.from_lan, cut, length
    port = mapped_port(ce, protocol)
    cut, length = fragments.from_wan(ce.domain, protocol, body, port, identification)
    return ce.from_wan, cut, length


def assert_whole(pieces: list[bytes], body: bytes = BODY) -> bytes:
    whole = fragments.put_together(pieces)
    assert fragments.body_of(whole) == body
    assert packets.checksums_are_right(whole)
    return whole


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("direction", ["46", "64"])
def test_a_datagram_crosses(direction: str, protocol: str, order: str, ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, direction, protocol)
    assert_whole(sent(way, cut, fragments.reordered(parts_of(length, SIZE), order)))
    kept = order != "in order" or (protocol == "echo" and ce.domain.mode.translates)
    assert ce.events().get(Reason.DATAGRAM_REASSEMBLED, 0) == kept


@pytest.mark.parametrize("direction", ["46", "64"])
def test_every_order_of_four(direction: str, ce: LoadedCe) -> None:
    for number, order in enumerate(itertools.permutations(range(4))):
        way, cut, length = datagram(ce, direction, "udp", BODY, number)
        parts = parts_of(length, 1200)
        assert_whole(sent(way, cut, [parts[which] for which in order]))


@pytest.mark.parametrize("direction", ["46", "64"])
def test_two_datagrams_at_once(direction: str, ce: LoadedCe) -> None:
    way, first, length = datagram(ce, direction, "udp", BODY, 1)
    _, second, _ = datagram(ce, direction, "udp", BODY[::-1], 2)
    outcomes: dict[Cut, list[Outcome]] = {first: [], second: []}
    for part in reversed(parts_of(length, SIZE)):
        for cut, found in outcomes.items():
            found.append(way(cut(part)))
    assert_whole(pieces_of(outcomes[first]), BODY)
    assert_whole(pieces_of(outcomes[second]), BODY[::-1])


@pytest.mark.parametrize("order", ["in order", "reversed"])
@pytest.mark.parametrize("direction", ["46", "64"])
def test_the_longest_datagram(direction: str, order: str, ce: LoadedCe) -> None:
    body = fragments.noise(65535 - 20 - 8)
    way, cut, length = datagram(ce, direction, "udp", body)
    size = 1400 if order == "in order" else 1024
    pieces = sent(way, cut, fragments.reordered(parts_of(length, size), order))
    assert_whole(pieces, body)
    if direction == "64" and order == "reversed":
        assert [len(piece) for piece in pieces] == [15996] * 4 + [20 + length - 4 * 15976]


def test_a_ping_of_the_longest_kind(ce: LoadedCe) -> None:
    body = fragments.noise(65535 - 20 - 8)
    for direction in ("46", "64"):
        way, cut, length = datagram(ce, direction, "echo", body)
        assert_whole(sent(way, cut, parts_of(length, 1440)), body)


def test_fragments_to_the_wan_fit_it(ce: LoadedCe) -> None:
    """The kernel cuts to the IPv4 MTU, to which a Fragment header is added in MAP-T."""
    way, cut, length = datagram(ce, "46", "udp")
    mtu = ce.settings.ipv4_mtu
    pieces = sent(way, cut, parts_of(length, (mtu - 20) // 8 * 8))
    assert max(map(len, pieces)) <= ce.settings.ipv6_mtu
    assert_whole(pieces)


@pytest.mark.parametrize("order", ORDERS)
def test_lowest_ipv6_mtu_is_kept(order: str, map_t: LoadedCe) -> None:
    map_t.reset(lowest_ipv6_mtu=1280)
    way, cut, length = datagram(map_t, "46", "udp")
    pieces = sent(way, cut, fragments.reordered(parts_of(length, 1456), order))
    assert max(map(len, pieces)) == 1280
    assert_whole(pieces)


def test_one_identification_of_the_port_set(ce: LoadedCe) -> None:
    """RFC 7599 section 10.3: CEs that share an address do not choose the same."""
    for number, order in enumerate(ORDERS):
        way, cut, length = datagram(ce, "46", "udp", BODY, number)
        pieces = sent(way, cut, fragments.reordered(parts_of(length, SIZE), order))
        size = 4 if ce.domain.mode.translates else 2
        found = {int.from_bytes(piece[44 : 44 + size], "big") for piece in pieces}
        assert len(found) == 1
        assert found <= set(ce.domain.port_set)


def test_an_address_of_its_own_keeps_identifications(ce: LoadedCe) -> None:
    ce.reset(napt44=Napt44Kind.NONE)
    port, own = ce.domain.port_set.port_at(3), str(ce.domain.ipv4_address)
    data = packets.udp(own, SERVER, port, HIGH, BODY)
    cut = fragments.ipv4_cut(data, packets.UDP, own, identification=0x4D59)
    for order in ORDERS:
        pieces = sent(ce.from_lan, cut, fragments.reordered(parts_of(len(data), SIZE), order))
        at = 46 if ce.domain.mode.translates else 44
        assert {piece[at : at + 2] for piece in pieces} == {b"\x4d\x59"}
        assert_whole(pieces)
        ce.advance(TICKS + 1)


def test_identification_from_the_wan_is_its_low_half(map_t: LoadedCe) -> None:
    way, cut, length = datagram(map_t, "64", "udp", BODY, 0xABCD4D5A)
    for order in ORDERS:
        pieces = sent(way, cut, fragments.reordered(parts_of(length, SIZE), order))
        assert {piece[4:6] for piece in pieces} == {b"\x4d\x5a"}
        assert not any(piece[6] & 0x40 for piece in pieces)
        map_t.advance(TICKS + 1)


def test_an_atomic_fragment_is_whole(map_t: LoadedCe) -> None:
    way, cut, length = datagram(map_t, "64", "udp", BODY[:1300])
    (packet,) = sent(way, cut, parts_of(length, 2000))
    assert packet[4:8] == b"\x4d\x58\0\0"
    assert_whole([packet], BODY[:1300])
    way, cut, length = datagram(map_t, "64", "echo", BODY[:1300])
    assert_whole(sent(way, cut, parts_of(length, 2000)), BODY[:1300])


def test_a_small_datagram_in_fragments_leaves_whole(ce: LoadedCe) -> None:
    """Put together, it is a packet like any other."""
    way, cut, length = datagram(ce, "46", "udp", BODY[:1000])
    (packet,) = sent(way, cut, parts_of(length, 600)[::-1])
    assert len(packet) == ce.domain.mode.overhead + 20 + length
    assert_whole([packet], BODY[:1000])


def test_fragments_of_the_tunnel(map_e: LoadedCe) -> None:
    for order, protocol in itertools.product(ORDERS, PROTOCOLS):
        port = mapped_port(map_e, protocol)
        data, number = fragments.wan_payload(map_e.domain, protocol, BODY, port)
        inner = packets.ipv4(data, number, SERVER, str(map_e.domain.ipv4_address), fragment=0)
        cut = fragments.ipv6_cut(inner, packets.IPV4, map_e.domain.br, map_e.domain.map_address)
        parts = fragments.reordered(parts_of(len(inner), SIZE), order)
        (packet,) = sent(map_e.from_wan, cut, parts)
        assert_whole([packet])


def test_a_fragment_of_the_tunnel_that_is_whole(map_e: LoadedCe) -> None:
    port = mapped_port(map_e, "udp")
    data, number = fragments.wan_payload(map_e.domain, "udp", b"x", port)
    inner = packets.ipv4(data, number, SERVER, str(map_e.domain.ipv4_address))
    cut = fragments.ipv6_cut(inner, packets.IPV4, map_e.domain.br, map_e.domain.map_address)
    assert_whole(sent(map_e.from_wan, cut, [Part(0, len(inner), False)]), b"x")


def test_fragments_in_fragments_of_the_tunnel(map_e: LoadedCe) -> None:
    port = mapped_port(map_e, "udp")
    data, number = fragments.wan_payload(map_e.domain, "udp", BODY, port)
    own = str(map_e.domain.ipv4_address)
    pieces: list[bytes] = []
    for number_of, part in enumerate(parts_of(len(data), 2400)):
        inner = fragments.ipv4_cut(data, number, SERVER, own)(part)
        cut = fragments.ipv6_cut(
            inner, packets.IPV4, map_e.domain.br, map_e.domain.map_address, number_of
        )
        pieces += sent(map_e.from_wan, cut, parts_of(len(inner), SIZE)[::-1])
    assert_whole(pieces)


def test_strangers_cannot_put_fragments_into_the_tunnel(map_e: LoadedCe) -> None:
    cut = fragments.ipv6_cut(bytes(99), packets.IPV4, "2001:db8::66", map_e.domain.map_address)
    assert map_e.from_wan(cut(Part(0, 99, False))).reason is Reason.NOT_ENCAPSULATED
    br = map_e.domain.br
    assert br is not None
    for next_header, reason in {
        packets.UDP: Reason.NOT_ENCAPSULATED,
        60: Reason.EXTENSION_HEADER,
    }.items():
        cut = fragments.ipv6_cut(bytes(99), next_header, br, map_e.domain.map_address)
        assert map_e.from_wan(cut(Part(0, 64, True))).reason is reason


# What has to be cut


def test_what_is_longer_than_lowest_ipv6_mtu_is_cut(map_t: LoadedCe) -> None:
    map_t.reset(lowest_ipv6_mtu=1280)
    for protocol in PROTOCOLS:
        for total, count in {1260: 1, 1261: 2, 1480: 2}.items():
            header = 20 if protocol == "tcp" else 8
            body = fragments.noise(total - 20 - header)
            cut, length = fragments.from_lan(protocol, body)
            pieces = sent(map_t.from_lan, cut, [Part(0, length, False)])
            assert len(pieces) == count
            assert max(map(len, pieces)) <= 1280
            assert_whole(pieces, body)
    assert map_t.events()[Reason.DATAGRAM_FRAGMENTED] == 6


def told_mtu(outcome: Outcome) -> int:
    """What "fragmentation needed" says (RFC 1191 section 4)."""
    (error,) = outcome.answers
    assert error[20:22] == b"\3\4"
    return int.from_bytes(error[26:28], "big")


def test_what_is_not_to_be_cut_is_too_big(ce: LoadedCe) -> None:
    mtu = ce.settings.ipv4_mtu
    data = packets.udp(HOST, SERVER, PORT, HIGH, BODY[: mtu - 27])
    assert ce.from_lan(packets.ipv4(data, packets.UDP, fragment=0)).reason is Reason.TRANSLATED
    outcome = ce.from_lan(packets.ipv4(data, packets.UDP, fragment=0x4000))
    assert outcome.reason is Reason.TOO_BIG
    assert told_mtu(outcome) == mtu
    cut = fragments.ipv4_cut(data + bytes(100), packets.UDP, flags=0x4000)
    outcome = ce.from_lan(cut(Part(0, mtu // 8 * 8, True)))
    assert outcome.reason is Reason.TOO_BIG
    assert told_mtu(outcome) == mtu - (8 if ce.domain.mode.translates else 0)
    later = ce.from_lan(cut(Part(8, mtu // 8 * 8, True)))
    assert (later.reason, later.answers) == (Reason.TOO_BIG, ())


def test_df_allows_the_whole_mtu(map_t: LoadedCe) -> None:
    map_t.reset(lowest_ipv6_mtu=1280)
    data = packets.udp(HOST, SERVER, PORT, HIGH, BODY[:1452])
    (packet,) = map_t.from_lan(packets.ipv4(data, packets.UDP)).packets
    assert len(packet) == 1500
    for length, reason in {1448: Reason.TRANSLATED, 1456: Reason.TOO_BIG}.items():
        cut = fragments.ipv4_cut(data + bytes(100), packets.UDP, flags=0x4000)
        outcome = map_t.from_lan(cut(Part(0, length, True)))
        assert outcome.reason is reason
        assert [len(made) for made in outcome.packets] == ([1496] if outcome.packets else [])


def test_lw4o6_never_cuts_the_inner_packet(loaded_ces: LoadedCes, trial_link: TrialLink) -> None:
    """RFC 6333 section 5.3."""
    ce = loaded_ces.get(LW4O6)
    ce.link = trial_link
    body = fragments.noise(1472)
    cut, length = fragments.from_lan("udp", body)
    pieces = sent(ce.from_lan, cut, [Part(0, length, False)])
    assert [piece[6] for piece in pieces] == [fragments.FRAGMENT] * 2
    assert_whole(pieces, body)


def test_a_first_fragment_of_udp_without_a_checksum(ce: LoadedCe) -> None:
    """Only a whole datagram can be given one (RFC 7915 section 4.5)."""
    data = packets.udp(HOST, SERVER, PORT, HIGH, BODY, checksum=False)
    outcome = ce.from_lan(fragments.ipv4_cut(data, packets.UDP)(Part(0, SIZE, True)))
    translates = ce.domain.mode.translates
    assert outcome.reason is (Reason.UDP_CHECKSUM_ZERO if translates else Reason.TRANSLATED)


@pytest.mark.parametrize("inner", [True, False])
def test_a_tunnel_cuts_inside_or_outside(inner: bool, map_e: LoadedCe) -> None:
    map_e.reset(translation=TranslationPolicy(fragment_inner=inner))
    for protocol in PROTOCOLS:
        header = 20 if protocol == "tcp" else 8
        body = fragments.noise(1500 - 20 - header)
        cut, length = fragments.from_lan(protocol, body)
        pieces = sent(map_e.from_lan, cut, [Part(0, length, False)])
        assert len(pieces) == 2
        assert max(map(len, pieces)) <= 1500
        assert {piece[6] for piece in pieces} == {packets.IPV4 if inner else fragments.FRAGMENT}
        assert_whole(pieces, body)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_pending_checksum_is_completed(protocol: str, inner: bool, ce: LoadedCe) -> None:
    """The field holds the sum of the pseudo header, as for a network card."""
    ce.reset(lowest_ipv6_mtu=1280, translation=TranslationPolicy(fragment_inner=inner))
    header, at, number = (20, 16, packets.TCP) if protocol == "tcp" else (8, 6, packets.UDP)
    body = fragments.noise(1479 - 20 - header)
    cut, length = fragments.from_lan(protocol, body)
    pseudo = packets.pseudo_header(packets.v4(HOST), packets.v4(SERVER), length, number)
    pending = (~packets.internet_checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    packet = cut(Part(0, length, False))
    packet = packet[: 20 + at] + pending + packet[22 + at :]
    outcome = ce.from_lan(packet)
    assert outcome.reason is Reason.TRANSLATED
    assert len(outcome.packets) == 2
    assert_whole(list(outcome.packets), body)


# What no datagram is made of


@pytest.mark.parametrize("direction", ["46", "64"])
def test_fragments_that_cannot_be(direction: str, ce: LoadedCe) -> None:
    way, cut, _ = datagram(ce, direction, "udp", fragments.noise(65500))
    wrong = {
        "not in units of 8": Part(0, 1001, True),
        "nothing in it": Part(8, 0, True),
        "past the longest datagram": Part(65512, 8, False),
    }
    for name, part in wrong.items():
        assert way(cut(part)).reason is Reason.FRAGMENT_INVALID, name
    assert not ce.events().get(Reason.DATAGRAM_REASSEMBLED)


@pytest.mark.parametrize("direction", ["46", "64"])
def test_a_first_fragment_that_hides_its_ports(direction: str, ce: LoadedCe) -> None:
    """RFC 1858."""
    way, cut, _ = datagram(ce, direction, "tcp")
    assert way(cut(Part(0, 16, True))).reason is Reason.FRAGMENT_INVALID
    way, cut, length = datagram(ce, direction, "tcp")
    parts = [Part(0, 8, True), Part(8, 592, True), Part(600, length - 600, False)]
    assert_whole(sent(way, cut, parts[::-1]))


@pytest.mark.parametrize("direction", ["46", "64"])
def test_the_same_fragment_twice(direction: str, ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, direction, "udp")
    parts = parts_of(length, SIZE)[::-1]
    outcomes = [way(cut(part)) for part in (parts[0], parts[0], *parts[1:])]
    assert outcomes[1].reason is Reason.FRAGMENT_INVALID
    assert_whole(pieces_of(outcomes))


@pytest.mark.parametrize("direction", ["46", "64"])
def test_an_overlap_ends_the_datagram(direction: str, ce: LoadedCe) -> None:
    """RFC 8200 section 4.5, RFC 5722."""
    way, cut, length = datagram(ce, direction, "udp")
    parts = parts_of(length, SIZE)
    outcomes = [way(cut(part)) for part in (parts[1], Part(1408, 1400, True), parts[0], parts[2])]
    reasons = [Reason.FRAGMENT_KEPT] + [Reason.FRAGMENT_INVALID] * 3
    assert [outcome.reason for outcome in outcomes] == reasons
    ce.advance(TICKS)
    assert way(cut(parts[0])).reason is Reason.FRAGMENT_INVALID
    if direction == "46":
        ce.advance(1)
        assert_whole(sent(way, cut, parts))


@pytest.mark.parametrize("direction", ["46", "64"])
def test_fragments_that_contradict_each_other(direction: str, ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, direction, "udp")
    parts = parts_of(length, SIZE)
    wrong = [
        Part(2800, 800, False),
        Part(4008, 8, True),
        fragments.with_more(Part(2800, 1208, True)),
    ]
    outcomes = [way(cut(part)) for part in (parts[2], *wrong)]
    assert [outcome.reason for outcome in outcomes[1:]] == [Reason.FRAGMENT_INVALID] * 3
    assert_whole(sent(way, cut, [parts[1], parts[0]]))


def test_too_many_fragments(ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, "46", "udp")
    parts = parts_of(length, 56)[1:]
    outcomes = [way(cut(part)).reason for part in parts[:65]]
    assert outcomes == [Reason.FRAGMENT_KEPT] * 64 + [Reason.FRAGMENT_INVALID]


@pytest.mark.parametrize("direction", ["46", "64"])
def test_protocols_without_ports(direction: str, ce: LoadedCe) -> None:
    for part in (Part(0, 64, True), Part(64, 64, False)):
        if direction == "46":
            outcome = ce.from_lan(fragments.ipv4_cut(BODY, 47)(part))
        elif ce.domain.mode.translates:
            source, own = fragments.far_end(ce.domain), ce.domain.map_address
            outcome = ce.from_wan(fragments.ipv6_cut(BODY, 47, source, own)(part))
        else:
            cut = fragments.ipv4_cut(BODY, 47, SERVER, str(ce.domain.ipv4_address))
            outcome = ce.from_wan(fragments.through_tunnel(ce.domain, cut)(part))
        assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS


# Room and time


@pytest.mark.parametrize("direction", ["46", "64"])
def test_no_room_for_another_datagram(direction: str, ce: LoadedCe) -> None:
    way, _, length = datagram(ce, direction, "udp")
    cuts = [datagram(ce, direction, "udp", BODY, number)[1] for number in range(BUFFERS + 1)]
    first, *rest = parts_of(length, 2000)
    reasons = [way(cut(rest[0])).reason for cut in cuts]
    assert reasons == [Reason.FRAGMENT_KEPT] * BUFFERS + [Reason.FRAGMENTS_FULL]
    assert_whole(pieces_of([way(cuts[7](part)) for part in (*rest[1:], first)]))
    assert way(cuts[-1](rest[0])).reason is Reason.FRAGMENT_KEPT


@pytest.mark.parametrize("direction", ["46", "64"])
def test_a_datagram_is_forgotten(direction: str, ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, direction, "udp")
    parts = parts_of(length, SIZE)
    assert way(cut(parts[2])).reason is Reason.FRAGMENT_KEPT
    ce.advance(TICKS)
    assert way(cut(parts[1])).reason is Reason.FRAGMENT_KEPT
    assert Reason.FRAGMENTS_EXPIRED not in ce.events()
    ce.advance(1)
    assert way(cut(parts[1])).reason is Reason.FRAGMENT_KEPT
    assert ce.events()[Reason.FRAGMENTS_EXPIRED] == 1
    assert_whole(sent(way, cut, [parts[0], parts[2]]))


def test_room_of_forgotten_datagrams_is_used_again(ce: LoadedCe) -> None:
    cuts = [fragments.from_lan("udp", BODY, PORT, number)[0] for number in range(2 * BUFFERS)]
    part = Part(8, 1000, True)
    for cut in cuts[:BUFFERS]:
        assert ce.from_lan(cut(part)).reason is Reason.FRAGMENT_KEPT
    ce.advance(TICKS + 1)
    for cut in cuts[BUFFERS:]:
        assert ce.from_lan(cut(part)).reason is Reason.FRAGMENT_KEPT
    assert ce.events()[Reason.FRAGMENTS_EXPIRED] == BUFFERS


@pytest.mark.parametrize("direction", ["46", "64"])
def test_followers_are_forgotten(direction: str, ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, direction, "udp")
    first, second, third = parts_of(length, SIZE)
    assert way(cut(first)).reason is Reason.TRANSLATED
    ce.advance(TICKS)
    assert way(cut(second)).reason is Reason.TRANSLATED
    ce.advance(1)
    assert way(cut(third)).reason is Reason.FRAGMENT_KEPT


def test_a_datagram_that_gets_no_port_leaves_no_trace(ce: LoadedCe) -> None:
    """All the buffers are there for the next ones."""
    ce.reset(policy=policy(host_ports_max=1, host_flows_max=1))
    for port in range(50000, 50002):
        send(ce, "udp", HOST, port)
    for number in range(BUFFERS + 10):
        cut, length = fragments.from_lan("udp", BODY, 60000, number)
        outcomes = [ce.from_lan(cut(part)) for part in parts_of(length, SIZE)[::-1]]
        assert outcomes[-1].reason is Reason.HOST_LIMIT, number


def test_what_may_begin_no_mapping_leaves_no_trace(ce: LoadedCe) -> None:
    """Nor is anybody told: that is for those who got no port."""
    ce.reset(policy=policy(pick_up=False))
    data = packets.tcp(HOST, SERVER, PORT, HIGH, flags=packets.ACK, payload=BODY)
    for number in range(BUFFERS + 10):
        cut = fragments.ipv4_cut(data, packets.TCP, identification=number)
        outcomes = [ce.from_lan(cut(part)) for part in parts_of(len(data), SIZE)[::-1]]
        assert outcomes[-1] == Outcome(Reason.TCP_NOT_OPENING), number
    assert ce.from_lan(cut(Part(0, SIZE, True))) == Outcome(Reason.TCP_NOT_OPENING)


def test_nobody_behind_the_port(ce: LoadedCe) -> None:
    port = ce.domain.port_set.port_at(9)
    cut, length = fragments.from_wan(ce.domain, "udp", BODY, port)
    for order in ORDERS:
        parts = fragments.reordered(parts_of(length, SIZE), order)
        outcomes = [ce.from_wan(cut(part)) for part in parts]
        assert Reason.NO_MAPPING in {outcome.reason for outcome in outcomes}
        assert not pieces_of(outcomes)
        ce.advance(TICKS + 1)


def test_a_first_fragment_again_keeps_the_identification(ce: LoadedCe) -> None:
    way, cut, length = datagram(ce, "46", "udp")
    first, second, third = parts_of(length, SIZE)
    pieces = sent(way, cut, [first, first, second, third])
    assert_whole(pieces[1:])
    assert pieces[0] == pieces[1]
