# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv6 extension headers: packets are taken out of them, or refused, and translation says why."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.exchange import HIGH, lan_packet, port_given
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import SERVER
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
STRANGER = IPv6Address("2001:db8:fffe::1")
PER_TICK = 10
#: Tunnel Encapsulation Limit of RFC 2473 section 4.1.1, and PadN.
LIMIT = bytes.fromhex("040104 010100")

Header = tuple[int, bytes]


def options(kind: int, length: int = 8) -> Header:
    """A header of options that are padding."""
    return kind, bytes(length - 2)


def route(segments_left: int, hops: int = 1) -> Header:
    return ROUTING, bytes([0, segments_left]) + bytes(4 + 16 * hops)


def chained(headers: list[Header], last: int, data: bytes) -> tuple[int, bytes]:
    """The first Next Header and the payload of a packet with these headers."""
    for kind, rest in reversed(headers):
        data = bytes([last, (len(rest) + 2) // 8 - 1]) + rest + data
        last = kind
    return last, data


SKIPPED: dict[str, list[Header]] = {
    "hop-by-hop": [options(HOP_BY_HOP)],
    "destination": [options(DESTINATION)],
    "encapsulation limit": [(DESTINATION, LIMIT)],
    "route at its end": [route(0)],
    "empty route": [(ROUTING, bytes([4, 0]) + bytes(4))],
    "all three": [options(HOP_BY_HOP, 16), options(DESTINATION), route(0), options(DESTINATION)],
    "eight": [options(DESTINATION)] * 8,
    "256 octets": [options(DESTINATION, 256)],
    "256 octets in two": [options(HOP_BY_HOP, 248), options(DESTINATION)],
    "a long route": [route(0, 12)],
}
REFUSED: dict[str, list[Header]] = {
    "nine": [options(DESTINATION)] * 9,
    "264 octets": [options(DESTINATION, 264)],
    "264 octets in two": [options(HOP_BY_HOP, 256), options(DESTINATION)],
    "2048 octets": [options(DESTINATION, 2048)],
    "authentication": [(AUTHENTICATION, bytes(14))],
    "authentication behind another": [options(DESTINATION), (AUTHENTICATION, bytes(14))],
    "nine, and a route": [route(1), *[options(DESTINATION)] * 8],
}
ROUTES: dict[str, tuple[list[Header], int]] = {
    "first": ([route(1)], 43),
    "behind another": ([options(HOP_BY_HOP, 24), route(2, 2)], 67),
    "the second": ([route(0), route(255)], 67),
    "two": ([route(1), route(1)], 43),
    "before options": ([route(1), options(DESTINATION)], 43),
}


def from_wan(
    ce_domain: Domain, headers: list[Header], port: int, source: IPv6Address | None = None
) -> bytes:
    """A UDP packet of the server to a port of the CE, as it comes from the domain."""
    own = ce_domain.map_address
    if ce_domain.dmr is not None:
        server = source or rfc6052.embed(ce_domain.dmr, IPv4Address(SERVER))
        data, kind = packets.udp(server, own, HIGH, port, b"answer"), packets.UDP
    else:
        assert ce_domain.br is not None
        public, server = str(ce_domain.ipv4_address), source or ce_domain.br
        inner = packets.udp(SERVER, public, HIGH, port, b"answer")
        data, kind = packets.ipv4(inner, packets.UDP, SERVER, public), packets.IPV4
    first, payload = chained(headers, kind, data)
    return packets.ipv6(payload, first, server, own, traffic_class=0, hop_limit=60)


@pytest.mark.parametrize("name", SKIPPED)
def test_they_are_skipped(name: str, ce: LoadedCe) -> None:
    follower = Follower(ce)
    port = port_given(follower.from_lan(lan_packet()))
    plain = follower.from_wan(from_wan(ce.domain, [], port))
    outcome = follower.from_wan(from_wan(ce.domain, SKIPPED[name], port))
    assert outcome.reason is Reason.TRANSLATED
    assert comparable(outcome.packets[0]) == comparable(plain.packets[0])
    assert packets.checksums_are_right(outcome.packets[0])
    follower.assert_that_events_agree()


def comparable(packet: bytes) -> bytes:
    """Without identification and header checksum."""
    return packet[:4] + packet[6:10] + packet[12:]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_skipped(name: str, ce: LoadedCe) -> None:
    follower = Follower(ce)
    port = port_given(follower.from_lan(lan_packet()))
    outcome = follower.from_wan(from_wan(ce.domain, REFUSED[name], port))
    assert (outcome.reason, outcome.answers) == (Reason.EXTENSION_HEADER, ())


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 6, 8, 9, 15])
def test_headers_that_reach_past_the_end(cut: int, ce: LoadedCe) -> None:
    first, payload = chained([options(HOP_BY_HOP), options(DESTINATION)], packets.UDP, b"")
    packet = from_wan(ce.domain, [], 1232)[8:40]
    whole = packets.ipv6(payload[:-cut], first, IPv6Address(packet[:16]), IPv6Address(packet[16:]))
    follower = Follower(ce)
    assert follower.from_wan(whole).reason is Reason.EXTENSION_HEADER
    assert follower.from_wan(whole + bytes(40)).reason is Reason.EXTENSION_HEADER


@pytest.mark.parametrize("length", [0, 2000])
def test_a_wrong_payload_length_comes_first(length: int, ce: LoadedCe) -> None:
    packet = from_wan(ce.domain, REFUSED["nine"], 1232)
    packet = packet[:4] + length.to_bytes(2, "big") + packet[6:]
    assert Follower(ce).from_wan(packet).reason is Reason.MALFORMED_IPV6


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_that_has_not_come_to_its_end(name: str, ce: LoadedCe) -> None:
    """Translation points at it; a tunnel's end is silent."""
    headers, pointer = ROUTES[name]
    follower = Follower(ce)
    packet = from_wan(ce.domain, headers, 1232)
    outcome = follower.from_wan(packet)
    assert outcome.reason is Reason.ROUTING_HEADER
    follower.assert_that_events_agree()
    if not ce.domain.mode.translates:
        assert outcome.answers == ()
        return
    (answer,) = outcome.answers
    assert packets.checksums_are_right(answer)
    assert (answer[8:24], answer[24:40]) == (packet[24:40], packet[8:24])
    assert tuple(answer[40:42]) == (4, 0)
    assert int.from_bytes(answer[44:48], "big") == pointer
    assert packet[pointer] != 0
    assert answer[48:] == packet


@pytest.mark.parametrize("size", [1180, 1181, 1184, 1185, 1186, 1400])
def test_the_quote_fits_every_link(size: int, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    first, payload = chained([route(1)], packets.UDP, bytes(range(256)) * 6)
    head = from_wan(ce.domain, [], 1232)
    packet = packets.ipv6(payload[:size], first, IPv6Address(head[8:24]), IPv6Address(head[24:40]))
    (answer,) = Follower(ce).from_wan(packet).answers
    assert len(answer) == min(1280, 48 + len(packet))
    assert packet.startswith(answer[48:])
    assert packets.checksums_are_right(answer)


def test_errors_are_not_answered_with_errors(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    head = from_wan(ce.domain, [], 1232)
    source, own = IPv6Address(head[8:24]), IPv6Address(head[24:40])
    for kind, answers in ((1, 0), (127, 0), (128, 1), (200, 1)):
        message = bytes([kind]) + bytes(47)
        first, payload = chained([route(1)], packets.ICMPV6, message)
        outcome = Follower(ce).from_wan(packets.ipv6(payload, first, source, own))
        assert (outcome.reason, len(outcome.answers)) == (Reason.ROUTING_HEADER, answers)


def test_so_many_answers_in_a_tick_and_no_more(loaded_ces: LoadedCes) -> None:
    """Those to the LAN are of the same budget."""
    ce = loaded_ces.example("map-t")
    follower = Follower(ce)
    packet = from_wan(ce.domain, [route(1)], 1232)
    too_big = packets.ipv4(packets.udp(packets.HOST, SERVER, 1, 2, bytes(1453)), packets.UDP)
    assert len(follower.from_lan(too_big).answers) == 1
    told = [len(follower.from_wan(packet).answers) for _ in range(PER_TICK)]
    assert told == [1] * (PER_TICK - 1) + [0]
    assert len(follower.from_lan(too_big).answers) == 0
    follower.assert_that_events_agree()


@pytest.mark.parametrize("name", [*SKIPPED, *REFUSED])
def test_of_a_stranger_in_map_t(name: str, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    packet = from_wan(ce.domain, (SKIPPED | REFUSED)[name], 1232, STRANGER)
    assert Follower(ce).from_wan(packet).reason is Reason.SOURCE_OUTSIDE_DOMAIN


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        *((headers, Reason.TUNNEL_SOURCE) for headers in SKIPPED.values()),
        *((headers, Reason.NOT_ENCAPSULATED) for headers in REFUSED.values()),
        *((headers, Reason.NOT_ENCAPSULATED) for headers, _ in ROUTES.values()),
    ],
)
def test_of_a_stranger_in_a_tunnel(
    headers: list[Header], reason: Reason, loaded_ces: LoadedCes
) -> None:
    """IPv4 in IPv6 is refused whatever is around it; all else is for the kernel."""
    ce = loaded_ces.example("map-e")
    outcome = Follower(ce).from_wan(from_wan(ce.domain, headers, 1232, STRANGER))
    assert (outcome.reason, outcome.answers) == (reason, ())


@pytest.mark.parametrize("carried", [packets.TCP, packets.ICMPV6, 50, 59])
def test_a_tunnel_carries_nothing_but_ipv4(carried: int, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-e")
    assert ce.domain.br is not None
    for source in (ce.domain.br, STRANGER):
        first, payload = chained([options(HOP_BY_HOP)], carried, bytes(40))
        packet = packets.ipv6(payload, first, source, ce.domain.map_address)
        assert Follower(ce).from_wan(packet).reason is Reason.NOT_ENCAPSULATED


def test_a_fragment_behind_them(ce: LoadedCe) -> None:
    """It is looked at as any: this one, not the last, has a length that is no multiple of 8."""
    head = from_wan(ce.domain, [], 1232)
    source, own = IPv6Address(head[8:24]), IPv6Address(head[24:40])
    kind = packets.UDP if ce.domain.mode.translates else packets.IPV4
    odd = bytes([kind, 0, 0, 1]) + bytes(4) + bytes(41)
    first, payload = chained([options(DESTINATION)], FRAGMENT, odd)
    packet = packets.ipv6(payload, first, source, own)
    assert Follower(ce).from_wan(packet).reason is Reason.FRAGMENT_INVALID


@pytest.mark.parametrize("gap", [1, 7, 40])
def test_what_lies_behind_the_packet_stays_outside(gap: int, ce: LoadedCe) -> None:
    """Ethernet pads short frames."""
    follower = Follower(ce)
    port = port_given(follower.from_lan(lan_packet()))
    packet = from_wan(ce.domain, SKIPPED["destination"], port)
    padded = follower.from_wan(packet + b"\xee" * gap)
    assert padded.reason is Reason.TRANSLATED
    assert padded.packets[0].endswith(b"answer")
