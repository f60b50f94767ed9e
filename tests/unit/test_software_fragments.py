# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do fragmented datagrams cross, in whatever order their fragments come?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    IPv6,
    IPv6ExtHdrFragment,
    defragment6,
    fragment6,
)
from scapy.packet import Packet
from scapy_tools import (
    EACH_ITS_OWN,
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    Clock,
    assert_sound,
    from_host,
    new_ce,
    sole,
)

from harness.domains import BR, domain
from mapxdp.model.domain import Mode
from mapxdp.model.napt44 import Filtering
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.datagrams import (
    BUFFERS,
    DATAGRAMS,
    FRAGMENTS_MAX,
    REMEMBERED,
    Datagrams,
    Part,
)
from mapxdp.software.verdict import Outcome, Refused

#: The reasons of this file's subject, each produced below.
PRODUCED = {Reason.FRAGMENT_INVALID, Reason.FRAGMENT_KEPT, Reason.FRAGMENTS_FULL, Reason.TOO_BIG}
ORDERS = {
    "in order": lambda parts: parts,
    "reversed": lambda parts: parts[::-1],
    "last first": lambda parts: [parts[-1], *parts[:-1]],
    "first last": lambda parts: [*parts[1:], parts[0]],
}


def payload(octets: int) -> bytes:
    return bytes(number * 7 & 0xFF for number in range(octets))


def upstream_fragments(transport: Packet, size: int = 1480) -> list[bytes]:
    packet = IP(bytes(from_host(transport, id=77)))
    return [bytes(part) for part in fragment(packet, fragsize=size)]


def crossed(ce: CustomerEdge, parts: Sequence[bytes], *, upstream: bool) -> list[bytes]:
    """Every packet that left for these, none of which was dropped."""
    left: list[bytes] = []
    for part in parts:
        outcome = ce.from_lan(part) if upstream else ce.from_wan(part)
        assert outcome.verdict is ReasonClass.TRANSLATED, outcome
        left += outcome.packets
    return left


def reassembled_inner(mode: Mode, packets: list[bytes]) -> IP | IPv6:
    """What the far end puts together."""
    if mode.translates:
        parsed = [IPv6(packet) for packet in packets]
        whole = defragment6(parsed) if len(parsed) > 1 else parsed[0]
        assert_sound(bytes(whole))
        return whole
    assert all(IPv6(packet).src == OWN_IPV6 and IPv6(packet).dst == str(BR) for packet in packets)
    inner = [IP(packet[40:]) for packet in packets]
    (whole,) = defragment(inner)
    return IP(bytes(whole))


TRANSPORTS = {
    "udp": UDP(sport=40000, dport=80) / payload(3500),
    "tcp": TCP(sport=40000, dport=80, flags="S", options=[("MSS", 1460)]) / payload(3000),
    "ping": ICMP(id=40000) / payload(4000),
    "30000 octets": UDP(sport=40000, dport=80) / payload(30000),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_from_the_lan(mode: Mode, order: str, kind: str) -> None:
    ce = new_ce(mode, mtu=1500 - mode.overhead)
    parts = ORDERS[order](upstream_fragments(TRANSPORTS[kind], 1400))
    packets = crossed(ce, parts, upstream=True)
    assert all(len(packet) <= 1500 for packet in packets)
    whole = reassembled_inner(mode, packets)
    if kind == "ping":
        layer = whole[ICMP] if not mode.translates else whole[IPv6].payload
        assert layer.id == PORT
        assert bytes(layer.payload)[-4000:] == payload(4000) or bytes(layer)[8:] == payload(4000)
    else:
        layer = whole[TCP] if kind == "tcp" else whole[UDP]
        assert layer.sport == PORT
        assert bytes(layer.payload) == bytes(TRANSPORTS[kind].payload)
    if not mode.translates:
        assert_sound(bytes(whole))
    # One identification, of the CE's own ports (RFC 7599 section 10.3).
    if mode.translates:
        ids = {IPv6(packet)[IPv6ExtHdrFragment].id for packet in packets}
    else:
        ids = {IP(packet[40:]).id for packet in packets}
    assert len(ids) == 1
    assert ids.pop() in domain(mode).port_set


def downstream_fragments(mode: Mode, transport: Packet) -> list[bytes]:
    """What the BR sends for a datagram of the server."""
    if mode.translates:
        if ICMP in transport:
            transport = ICMPv6EchoReply(id=transport.id, data=bytes(transport.payload))
        packet = IPv6(src=SERVER_IPV6, dst=OWN_IPV6) / IPv6ExtHdrFragment(id=0x1234BEEF) / transport
        return [bytes(part) for part in fragment6(IPv6(bytes(packet)), 1280)]
    inner = IP(bytes(IP(src=SERVER, dst=OWN_IPV4, id=99) / transport))
    return [
        bytes(IPv6(src=str(BR), dst=OWN_IPV6) / part) for part in fragment(inner, fragsize=1400)
    ]


def outer_fragments(transport: Packet) -> list[bytes]:
    """MAP-E: the tunnel packet is what was cut."""
    inner = IP(src=SERVER, dst=OWN_IPV4, id=99) / transport
    packet = IPv6(src=str(BR), dst=OWN_IPV6) / IPv6ExtHdrFragment(id=5, nh=4) / bytes(inner)
    return [bytes(part) for part in fragment6(IPv6(bytes(packet)), 1280)]


def mapped(mode: Mode, *, ping: bool = False, clock: Clock | None = None) -> CustomerEdge:
    """A CE with one mapping, at PORT."""
    ce = new_ce(mode, clock=clock)
    sole(ce.from_lan(bytes(from_host(ICMP(id=40000) if ping else UDP(sport=40000, dport=80)))))
    return ce


REPLIES = {
    "udp": UDP(sport=80, dport=PORT) / payload(3500),
    "ping": ICMP(type="echo-reply", id=PORT) / payload(4000),
    "30000 octets": UDP(sport=80, dport=PORT) / payload(30000),
}


@pytest.mark.parametrize("cut", ["map-t", "map-e inner", "map-e outer"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", REPLIES)
def test_from_the_wan(cut: str, order: str, kind: str) -> None:
    mode = Mode(cut.split()[0])
    ce = mapped(mode, ping=kind == "ping")
    transport = REPLIES[kind]
    parts = outer_fragments(transport) if "outer" in cut else downstream_fragments(mode, transport)
    packets = [IP(packet) for packet in crossed(ce, ORDERS[order](parts), upstream=False)]
    assert all((packet.src, packet.dst) == (SERVER, HOST) for packet in packets)
    assert not any(packet.flags.DF for packet in packets if packet.flags.MF or packet.frag)
    (whole,) = defragment(packets) if len(packets) > 1 else (packets[0],)
    whole = IP(bytes(whole))
    assert_sound(bytes(whole))
    layer = whole[ICMP] if kind == "ping" else whole[UDP]
    assert bytes(layer.payload) == bytes(transport.payload)
    assert (layer.id if kind == "ping" else layer.dport) == 40000
    if mode.translates:
        assert {packet.id for packet in packets} == {0xBEEF}


def test_datagrams_that_come_mixed() -> None:
    ce = new_ce(Mode.MAP_T)
    first = upstream_fragments(UDP(sport=40000, dport=80) / payload(3500))
    other = [part[:4] + b"\x01\x02" + part[6:10] + bytes(2) + part[12:] for part in first]
    packets = crossed(
        ce, [first[1], other[0], other[2], first[0], other[1], first[2]], upstream=True
    )
    ids = {IPv6(packet)[IPv6ExtHdrFragment].id for packet in packets}
    for identification in ids:
        parts = [p for p in map(IPv6, packets) if p[IPv6ExtHdrFragment].id == identification]
        assert bytes(defragment6(parts)[UDP].payload) == payload(3500)


def piece(offset: int, octets: int, *, more: bool, **fields: object) -> bytes:
    """A fragment of a UDP datagram, at an offset in units of 8 octets."""
    fields = {"flags": "MF" if more else 0, **fields}
    return bytes(IP(src=HOST, dst=SERVER, id=5, proto=17, frag=offset, **fields) / payload(octets))


def outcomes(ce: CustomerEdge, *parts: bytes) -> list[Reason]:
    return [ce.from_lan(part).reason for part in parts]


def test_overlapping_fragments_are_the_end_of_a_datagram() -> None:
    clock = Clock()
    ce = new_ce(Mode.MAP_T, clock=clock)
    kept, invalid = Reason.FRAGMENT_KEPT, Reason.FRAGMENT_INVALID
    parts = [piece(4, 16, more=True), piece(5, 16, more=True), piece(7, 8, more=False)]
    assert outcomes(ce, *parts) == [kept, invalid, invalid]
    clock.now += REMEMBERED
    assert outcomes(ce, parts[0]) == [invalid]
    clock.now += 1
    assert outcomes(ce, parts[0]) == [kept]


def test_a_fragment_that_comes_twice_is_dropped_once() -> None:
    ce = new_ce(Mode.MAP_T)
    kept, invalid = Reason.FRAGMENT_KEPT, Reason.FRAGMENT_INVALID
    last = piece(4, 10, more=False)
    assert outcomes(ce, last, last) == [kept, invalid]
    datagram = UDP(sport=40000, dport=80, len=42, chksum=1) / payload(24)
    first = bytes(IP(src=HOST, dst=SERVER, id=5, flags="MF") / datagram)
    assert outcomes(ce, first) == [Reason.TRANSLATED]


def test_ends_that_contradict_each_other() -> None:
    ce = new_ce(Mode.MAP_T)
    kept, invalid = Reason.FRAGMENT_KEPT, Reason.FRAGMENT_INVALID
    another_end, beyond = piece(9, 8, more=False), piece(9, 8, more=True)
    assert outcomes(ce, piece(4, 8, more=False), another_end, beyond) == [kept, invalid, invalid]
    ce = new_ce(Mode.MAP_T)
    assert outcomes(ce, piece(9, 8, more=True), piece(4, 8, more=False)) == [kept, invalid]


def test_a_datagram_of_too_many_fragments() -> None:
    ce = new_ce(Mode.MAP_T)
    parts = [piece(2 + number, 8, more=True) for number in range(FRAGMENTS_MAX + 1)]
    assert set(outcomes(ce, *parts[:-1])) == {Reason.FRAGMENT_KEPT}
    assert outcomes(ce, parts[-1]) == [Reason.FRAGMENT_INVALID]


def test_room_for_fragments_is_bounded_and_comes_back() -> None:
    clock = Clock()
    ce = new_ce(Mode.MAP_T, clock=clock)
    parts = [
        bytes(IP(src=HOST, dst=SERVER, id=number, proto=17, frag=4) / payload(8))
        for number in range(BUFFERS + 1)
    ]
    assert set(outcomes(ce, *parts[:-1])) == {Reason.FRAGMENT_KEPT}
    assert outcomes(ce, parts[-1]) == [Reason.FRAGMENTS_FULL]
    clock.now += REMEMBERED + 1
    assert outcomes(ce, parts[-1]) == [Reason.FRAGMENT_KEPT]
    assert ce.events("upstream")[Reason.FRAGMENTS_EXPIRED] == 1


def test_datagrams_asked_for_longest_ago_are_forgotten_first() -> None:
    datagrams = Datagrams(Clock())
    with pytest.raises(Refused):
        datagrams.keep("kept", Part(8, True, bytes(8)), None, "upstream")
    for number in range(DATAGRAMS - 1):
        datagrams.follow(number, str(number))
    assert datagrams.is_kept("kept", "upstream")
    assert datagrams.followed(0, "upstream") == "0"
    datagrams.follow("one more", "given")
    assert datagrams.followed(0, "upstream") == "0"
    assert datagrams.followed(1, "upstream") is None


def test_a_forgotten_datagram_leaves_its_room() -> None:
    datagrams = Datagrams(Clock())
    for number in range(BUFFERS):
        with pytest.raises(Refused):
            datagrams.keep(number, Part(8, True, bytes(8)), None, "upstream")
    with pytest.raises(Refused, match="FRAGMENTS_FULL"):
        datagrams.require_room("upstream")
    for number in range(DATAGRAMS):
        datagrams.follow(-1 - number, "given")
    datagrams.require_room("upstream")


@pytest.mark.parametrize("mode", MODES)
def test_what_is_put_together_is_counted(mode: Mode) -> None:
    """Once a datagram, and not where the others followed the first one."""
    sent = UDP(sport=40000, dport=80) / payload(3500)
    in_order = mapped(mode)
    crossed(in_order, upstream_fragments(sent), upstream=True)
    assert Reason.DATAGRAM_REASSEMBLED not in in_order.events("upstream")
    ce = mapped(mode)
    crossed(ce, upstream_fragments(sent)[::-1], upstream=True)
    crossed(ce, downstream_fragments(mode, REPLIES["udp"])[::-1], upstream=False)
    for direction in ("upstream", "downstream"):
        assert ce.events(direction)[Reason.DATAGRAM_REASSEMBLED] == 1


def test_later_fragments_follow_for_a_while() -> None:
    clock = Clock()
    ce = new_ce(Mode.MAP_T, clock=clock)
    parts = upstream_fragments(UDP(sport=40000, dport=80) / payload(3500))
    assert outcomes(ce, *parts[:2]) == [Reason.TRANSLATED] * 2
    clock.now += REMEMBERED + 1
    assert outcomes(ce, parts[2]) == [Reason.FRAGMENT_KEPT]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("protocol", "octets"),
    [(6, 8), (6, 16), (17, 0), (1, 0)],
    ids=["tcp 8", "tcp 16", "udp", "icmp"],
)
def test_tiny_first_fragments(mode: Mode, protocol: int, octets: int) -> None:
    """RFC 1858 section 4."""
    packet = bytes(IP(src=HOST, dst=SERVER, flags="MF", proto=protocol) / bytes(octets))
    assert new_ce(mode).from_lan(packet) == Outcome(Reason.FRAGMENT_INVALID)


def test_the_options_of_tcp_have_to_be_in_the_first_fragment() -> None:
    header = bytes(TCP(sport=1, dport=2, options=[("MSS", 1460)]))
    start = header[:12] + b"\xf0" + header[13:]
    packet = bytes(IP(src=HOST, dst=SERVER, flags="MF", proto=6) / start)
    assert new_ce(Mode.MAP_T).from_lan(packet) == Outcome(Reason.FRAGMENT_INVALID)


def test_a_protocol_of_which_no_fragment_shows_a_port() -> None:
    packet = bytes(IP(src=HOST, dst=SERVER, frag=1, proto=47) / bytes(8))
    assert new_ce(Mode.MAP_T).from_lan(packet) == Outcome(Reason.PROTOCOL_WITHOUT_PORTS)


def test_a_hole_in_the_path_is_no_way_around_the_filter() -> None:
    """Later fragments of what was not let in are kept, and go nowhere."""
    ce = mapped(Mode.MAP_T)
    stranger = UDP(sport=81, dport=SECOND) / payload(3000)
    parts = downstream_fragments(Mode.MAP_T, stranger)
    assert ce.from_wan(parts[0]).reason is Reason.NO_MAPPING
    assert {ce.from_wan(part).reason for part in parts[1:]} == {Reason.FRAGMENT_KEPT}


SECOND = PORT + 1


@pytest.mark.parametrize("mode", MODES)
def test_what_is_too_long_is_cut(mode: Mode) -> None:
    """RFC 7915 section 4.1, RFC 2473 section 7.2."""
    ce = new_ce(mode, mtu=1500 - mode.overhead)
    packet = bytes(from_host(UDP(sport=40000, dport=80) / payload(1472), id=9))
    outcome = ce.from_lan(packet)
    assert outcome.reason is Reason.TRANSLATED
    assert [len(made) <= 1500 for made in outcome.packets] == [True, True]
    whole = IPv6(bytes(defragment6([IPv6(made) for made in outcome.packets])))
    assert_sound(bytes(whole))
    assert bytes(whole[UDP].payload) == payload(1472)
    assert ce.events("upstream")[Reason.DATAGRAM_FRAGMENTED] == 1
    unfit = bytes(from_host(UDP(sport=40000, dport=80) / payload(1472), flags="DF"))
    assert ce.from_lan(unfit).reason is Reason.TOO_BIG


@pytest.mark.parametrize("df", [False, True])
def test_fragments_that_must_not_be_cut_are_not(df: bool) -> None:
    """RFC 7915 section 4.1: the lowest IPv6 MTU is for packets without DF."""
    settings = CeSettings(1480, mss=None, lowest_ipv6_mtu=1280)
    ce = CustomerEdge(domain(Mode.MAP_T), settings)
    flags = "DF+MF" if df else "MF"
    udp = UDP(sport=40000, dport=80, len=2000, chksum=1) / payload(1400)
    outcome = ce.from_lan(bytes(from_host(udp, id=9, flags=flags)))
    assert [len(packet) for packet in outcome.packets] == ([1456] if df else [1280, 224])
    assert outcomes(ce, piece(176, 1453, more=False, flags="DF")) == [Reason.TOO_BIG]


def test_what_is_too_long_for_the_wan_is_turned_around_whole() -> None:
    anyone = dict.fromkeys(Protocol, Filtering.EIF)
    ce = new_ce(Mode.MAP_T, policy=dataclasses.replace(EACH_ITS_OWN, filtering=anyone))
    sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    packet = IP(src=HOST, dst=OWN_IPV4, id=3) / UDP(sport=1, dport=PORT) / payload(3000)
    outcome = ce.from_lan(bytes(packet))
    assert outcome.reason is Reason.HAIRPINNED
    (turned,) = outcome.packets
    assert_sound(turned)
    assert bytes(IP(turned)[UDP].payload) == payload(3000)


def test_fragments_are_not_turned_around() -> None:
    ce = mapped(Mode.MAP_T)
    parts = [
        bytes(part)
        for part in fragment(
            IP(src=HOST, dst=OWN_IPV4) / UDP(sport=1, dport=PORT) / payload(3000), fragsize=1400
        )
    ]
    assert ce.from_lan(parts[0]) == Outcome(Reason.FRAGMENT_INVALID)
