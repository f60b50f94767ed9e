# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4 options: left out by translation, carried by a tunnel, a source route refused."""

from __future__ import annotations

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.exchange import lan_packet, port_given, send
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from harness.policies import strict
from mapxdp.reasons import Reason

NOP, END = b"\x01", b"\x00"
ROUTER_ALERT = bytes([148, 4, 0, 0])
TIMESTAMP = bytes([68, 12, 5, 0]) + bytes(8)
RECORD_ROUTE = bytes([7, 39, 4]) + bytes(36) + END


def route(kind: int, pointer: int, hops: int = 1) -> bytes:
    return bytes([kind, 3 + 4 * hops, pointer]) + packets.v4("10.0.0.1") * hops


#: Translated without them.
LEFT_OUT = {
    "no operation": NOP * 4,
    "end": END * 4,
    "40 times no operation": NOP * 40,
    "router alert": ROUTER_ALERT,
    "timestamp": TIMESTAMP,
    "record route": RECORD_ROUTE,
    "two": ROUTER_ALERT + TIMESTAMP,
    "a route behind the end": END + route(131, 4),
    "a route at its end": route(131, 8) + NOP,
    "a strict route at its end": NOP + route(137, 8),
    "a route of nothing": bytes([131, 3, 4]) + END,
    "rubbish behind the end": END + b"\xff\xff\xff",
}
ROUTES = {
    "loose": route(131, 4) + END,
    "strict": route(137, 4) + END,
    "second hop": route(131, 8, 2) + NOP,
    "nine hops": route(131, 4, 9) + END,
    "behind another": ROUTER_ALERT + route(131, 4) + NOP,
    "across": NOP + route(137, 4),
    "pointer 0": route(131, 0) + END,
    "before what is broken": route(131, 4) + b"\x07",
}
BROKEN = {
    "length 0": bytes([7, 0, 0, 0]),
    "length 1": bytes([7, 1, 0, 0]),
    "length past the end": bytes([7, 5, 0, 0]),
    "length 255": bytes([7, 255, 0, 0]),
    "no length": NOP * 3 + bytes([7]),
    "a route without pointer": bytes([131, 2, 1, 0]),
    "a route past the end": bytes([137, 7, 4, 10]),
    "behind others": ROUTER_ALERT + NOP + bytes([9, 4, 0]),
}


def with_options(options: bytes, **header: object) -> bytes:
    data = packets.udp(HOST, SERVER, 40000, 5000, b"x")
    return packets.ipv4(data, packets.UDP, options=options, **header)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_translation_leaves_them_out(name: str, loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-t"))
    without = follower.from_lan(with_options(b""))
    assert follower.from_lan(with_options(LEFT_OUT[name])) == without
    assert without.reason is Reason.TRANSLATED
    follower.assert_that_events_agree()


@pytest.mark.parametrize("name", ROUTES)
def test_a_source_route_is_refused_and_the_host_told(name: str, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    follower = Follower(ce)
    packet = with_options(ROUTES[name])
    outcome = follower.from_lan(packet)
    assert outcome.reason is Reason.SOURCE_ROUTE
    (answer,) = outcome.answers
    assert packets.checksums_are_right(answer)
    assert tuple(answer[20:22]) == (3, 5)
    assert answer[24:28] == bytes(4)
    assert answer[28:] == packet[: 28 + len(ROUTES[name])]
    assert not ce.slots()
    follower.assert_that_events_agree()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_list(name: str, loaded_ces: LoadedCes) -> None:
    outcome = Follower(loaded_ces.example("map-t")).from_lan(with_options(BROKEN[name]))
    assert (outcome.reason, outcome.answers) == (Reason.MALFORMED_IPV4, ())


@pytest.mark.parametrize("options", [*LEFT_OUT.values(), *ROUTES.values(), *BROKEN.values()])
def test_a_tunnel_carries_them(options: bytes, loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.example("map-e"))
    outcome = follower.from_lan(with_options(options))
    (packet,) = outcome.packets
    inner = packet[40:]
    assert inner[20 : 20 + len(options)] == options
    assert inner[0] == 0x45 + len(options) // 4
    assert packets.checksums_are_right(packet)
    port = int.from_bytes(inner[20 + len(options) :][:2], "big")
    assert port in follower.ce.domain.port_set
    answer = answered(follower, options, port)
    assert answer[20 : 20 + len(options)] == options
    assert packets.checksums_are_right(answer)


def answered(follower: Follower, options: bytes, port: int) -> bytes:
    """What reaches the host of an answer in the tunnel that has options, too."""
    ce_domain = follower.ce.domain
    public = str(ce_domain.ipv4_address)
    data = packets.udp(SERVER, public, 5000, port, b"y")
    inner = packets.ipv4(data, packets.UDP, SERVER, public, options=options)
    assert ce_domain.br is not None
    outcome = follower.from_wan(
        packets.ipv6(inner, packets.IPV4, ce_domain.br, ce_domain.map_address)
    )
    (packet,) = outcome.packets
    return packet


@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
@pytest.mark.parametrize("options", [NOP * 4, NOP * 40], ids=len)
def test_every_protocol(options: bytes, protocol: str, ce: LoadedCe) -> None:
    follower = Follower(ce)
    plain = lan_packet(protocol)
    packet = packets.ipv4(plain[20:], plain[9], options=options)
    outcome = follower.from_lan(packet)
    assert packets.checksums_are_right(outcome.packets[0])
    follower.assert_that_events_agree()


def test_a_header_checksum_that_is_wrong_stays_wrong(loaded_ces: LoadedCes) -> None:
    """It shows in the quote alone."""
    ce = loaded_ces.example("map-t", policy=strict(host_ports_max=1))
    follower = Follower(ce)
    follower.from_lan(lan_packet(port=1))
    packet = bytearray(packets.ipv4(lan_packet(port=2)[20:], packets.UDP, options=NOP * 8))
    packet[11] ^= 1
    (answer,) = follower.from_lan(bytes(packet)).answers
    assert answer[28] == 0x45
    assert packets.internet_checksum(answer[28:48]) not in (0, 0xFFFF)


def test_no_answer_to_what_must_not_be_answered(loaded_ces: LoadedCes) -> None:
    """An ICMP error, a later fragment, what is too short to be quoted."""
    follower = Follower(loaded_ces.example("map-t"))
    loose = ROUTES["loose"]
    error = packets.ipv4(b"\x03\x01" + bytes(34), packets.ICMP, options=loose)
    fragment = with_options(loose, fragment=0x0010)
    short = packets.ipv4(bytes(7), packets.UDP, options=loose)
    for packet in (error, fragment, short):
        outcome = follower.from_lan(packet)
        assert (outcome.reason, outcome.answers) == (Reason.SOURCE_ROUTE, ())


def test_hairpinned_with_options(ce: LoadedCe) -> None:
    public = str(ce.domain.ipv4_address)
    follower = Follower(ce)
    port = port_given(send(ce, port=41000))
    follower = Follower(ce)
    ce.reset()
    first = follower.from_lan(lan_packet(port=port))
    assert port_given(first) == port
    # The receiver has sent to this CE's address, so that the sender is let in.
    follower.from_lan(lan_packet(port=port, remote=public, remote_port=port + 1))
    data = packets.udp(HOST, public, port + 1, port, b"x")
    packet = packets.ipv4(data, packets.UDP, HOST, public, options=NOP * 4)
    outcome = follower.from_lan(packet)
    assert outcome.reason is Reason.HAIRPINNED
    (turned,) = outcome.packets
    assert packets.checksums_are_right(turned)
    assert len(turned) == len(packet) - (4 if ce.domain.mode.translates else 0)
