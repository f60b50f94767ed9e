# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors through both paths: who gets them, and what the quoted packet looks like there."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from harness import errors, packets
from harness.ce import LoadedCe
from harness.domains import BR, DMR, domain
from harness.errors import OBJECTS, ROUTER, ROUTER6, assert_sound
from harness.exchange import HIGH, lan_packet
from harness.follower import Follower, source_port
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from harness.policies import policy, shared
from harness.traffic import FromWan, downstream_packet
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model import rfc6052
from mapxdp.model.napt44 import Filtering, Forward
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.model.virtual_range import virtual_base
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Outcome

MODES = ["map-t", "map-e"]
PROTOCOLS = ["tcp", "udp", "echo"]
PUBLIC = str(domain("map-t").ipv4_address)
MAP_ADDRESS = domain("map-t").map_address
SERVER6 = rfc6052.embed(DMR, IPv4Address(SERVER))
ROUTER_IN_DMR = rfc6052.embed(DMR, IPv4Address(ROUTER))
#: Towards servers ports are shared, towards others a port is its owner's alone.
REMOTE_PORTS = [80, HIGH]
UNREACHABLE, EXCEEDED, PORT_UNREACHABLE = (3, 1), (11, 0), (3, 3)
UNREACHABLE6, TOO_BIG6, EXCEEDED6 = (1, 0), (2, 0), (3, 0)
#: Where the checksum lies in a transport header.
CHECKSUM_AT = {"tcp": 16, "udp": 6, "echo": 2}


@pytest.fixture
def follower(ce: LoadedCe) -> Iterator[Follower]:
    """Both paths; at the end they have counted the same, and every count is right."""
    ce.reset(policy=policy(filtering=Filtering.EIF))
    both = Follower(ce)
    yield both
    both.assert_that_events_agree()


def translator(ces: LoadedCes, **changes: object) -> Follower:
    return Follower(ces.example("map-t", **changes))


def tunnel(ces: LoadedCes, **changes: object) -> Follower:
    return Follower(ces.example("map-e", **changes))


def opened(
    follower: Follower, protocol: str = "udp", remote_port: int = HIGH, payload: bytes = b"0123"
) -> tuple[bytes, bytes]:
    """A packet of the LAN, and the packet that left."""
    sent = lan_packet(protocol, remote_port=remote_port, payload=payload)
    return sent, sole(follower.from_lan(sent))


def answered(
    follower: Follower, protocol: str = "udp", remote_port: int = HIGH, payload: bytes = b"0123"
) -> tuple[bytes, bytes]:
    """A packet to a port of the LAN, and the packet that arrived."""
    _, left = opened(follower, protocol, remote_port)
    port = source_port(left)
    kind = "echo reply" if protocol == "echo" else protocol
    step = FromWan(kind, port, SERVER, remote_port, packets.ACK, payload, b"", 0, 0)
    packet = downstream_packet(follower.ce.domain, step, port)
    return packet, sole(follower.from_wan(packet))


def sole(outcome: Outcome) -> bytes:
    """The one packet that crossed."""
    assert outcome.packets, f"nothing left: {outcome.reason.name}"
    (packet,) = outcome.packets
    return packet


def reason_of(outcome: Outcome) -> Reason:
    assert not outcome.packets
    return outcome.reason


def carried(outcome: Outcome) -> bytes:
    """The error that crossed, which is sound."""
    packet = sole(outcome)
    assert_sound(packet)
    return packet


def exceeded(follower: Follower, left: bytes) -> bytes:
    """A router beyond the BR has dropped a packet that left."""
    if follower.ce.domain.mode.translates:
        return errors.from_wan(follower.ce.domain, EXCEEDED6, left, source=ROUTER_IN_DMR)
    return errors.in_tunnel(follower.ce.domain, EXCEEDED, left[40:])


@pytest.mark.parametrize("remote_port", REMOTE_PORTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_quoted_packet(protocol: str, remote_port: int, follower: Follower) -> None:
    """It is the host's own, but for what MAP-T cannot know of its header."""
    sent, left = opened(follower, protocol, remote_port)
    made = carried(follower.from_wan(exceeded(follower, left)))
    assert (made[12:16], made[16:20]) == (packets.v4(ROUTER), packets.v4(HOST))
    assert tuple(made[20:22]) == EXCEEDED
    quoted = made[28:]
    assert packets.checksums_are_right(quoted)
    assert (quoted[8], quoted[9], quoted[12:]) == (sent[8], sent[9], sent[12:])
    if not follower.ce.domain.mode.translates:
        assert quoted == sent


@pytest.mark.parametrize("octets", range(8, 31))
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_the_quoted_packet_may_be_cut(
    mode: str, protocol: str, octets: int, loaded_ces: LoadedCes
) -> None:
    follower = Follower(loaded_ces.example(mode))
    sent, left = opened(follower, protocol, payload=b"0123456789" * 3)
    headers = 40 if mode == "map-t" else 60
    made = carried(follower.from_wan(exceeded(follower, left[: headers + octets])))
    expected = bytearray(sent[20 : 20 + octets])
    at = CHECKSUM_AT[protocol]
    if octets == at + 1:  # half a checksum is left alone
        expected[at] = left[headers + at]
    assert made[48:] == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_wrong_checksum_in_the_quote_stays_wrong(
    protocol: str, mode: str, loaded_ces: LoadedCes
) -> None:
    """RFC 5508 REQ-3c: it is not checked. UDP without one has none afterwards."""
    follower = Follower(loaded_ces.example(mode))
    sent, left = opened(follower, protocol)
    at = CHECKSUM_AT[protocol] + (40 if mode == "map-t" else 60)
    wrong = left[:at] + bytes([left[at] ^ 0x10]) + left[at + 1 :]
    made = carried(follower.from_wan(exceeded(follower, wrong)))
    assert not packets.checksums_are_right(made[28:])
    absent = left[:at] + bytes(2) + left[at + 2 :]
    made = carried(follower.from_wan(exceeded(follower, absent)))
    if protocol == "udp":
        assert made[48:] == sent[20:26] + bytes(2) + sent[28:]


@pytest.mark.parametrize("remote_port", REMOTE_PORTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_from_the_lan(protocol: str, remote_port: int, follower: Follower) -> None:
    """RFC 5508 REQ-5: from the public address, even where a router of the LAN says it."""
    came, arrived = answered(follower, protocol, remote_port)
    for source in (HOST, "192.168.1.1"):
        error = errors.from_lan(PORT_UNREACHABLE, arrived, source=source, ttl=9, tos=3)
        made = carried(follower.from_lan(error))
        assert made[8:24] == MAP_ADDRESS.packed
        assert (made[0] << 4 & 0xF0 | made[1] >> 4) == 3
        if follower.ce.domain.mode.translates:
            assert (made[24:40], made[7]) == (SERVER6.packed, 9)
            assert tuple(made[40:42]) == (1, 4)
            assert made[48:] == came
        else:
            assert made[24:40] == BR.packed
            assert (made[52:56], made[56:60], made[48]) == (
                packets.v4(PUBLIC),
                packets.v4(SERVER),
                9,
            )
            assert made[68:] == came[40:]


def test_each_type_and_code(loaded_ces: LoadedCes) -> None:
    """All that there are, in both directions; what each becomes the host's C says (test_icmp.py),
    here the paths agree."""
    follower = translator(loaded_ces)
    _, arrived = answered(follower)
    _, left = opened(follower)
    crossed = {4: set[tuple[int, int]](), 6: set[tuple[int, int]]()}
    for code in range(17):
        for kind in ((number, code) for number in range(42)):
            if kind[0] not in (0, 8):
                outcome = follower.from_lan(errors.from_lan(kind, arrived, word=1400))
                if outcome.packets:
                    crossed[4].add(kind)
            outcome = follower.from_wan(errors.from_wan(follower.ce.domain, kind, left, word=7))
            if outcome.packets:
                crossed[6].add(kind)
    unreachable = {(3, code) for code in range(16) if code != 14}
    assert crossed[4] == unreachable | {(11, 0), (11, 1), (12, 0), (12, 2)}
    assert crossed[6] == {(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (3, 0), (3, 1)} | {
        (4, 0),
        (4, 1),
    }


@pytest.mark.parametrize("pointer", [*range(42), 255])
def test_pointers(pointer: int, loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    _, arrived = answered(follower)
    _, left = opened(follower)
    up = follower.from_lan(errors.from_lan((12, 0), arrived, word=pointer << 24))
    down = follower.from_wan(errors.from_wan(follower.ce.domain, (4, 0), left, word=pointer))
    to_ipv6 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6}
    to_ipv6 |= dict.fromkeys(range(12, 16), 8) | dict.fromkeys(range(16, 20), 24)
    to_ipv4 = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8}
    to_ipv4 |= dict.fromkeys(range(8, 24), 12) | dict.fromkeys(range(24, 40), 16)
    if pointer in to_ipv6:
        assert sole(up)[44:48] == to_ipv6[pointer].to_bytes(4, "big")
    else:
        assert reason_of(up) is Reason.ICMP_NOT_CARRIED
    if pointer in to_ipv4:
        assert sole(down)[24:28] == bytes([to_ipv4[pointer], 0, 0, 0])
    else:
        assert reason_of(down) is Reason.ICMP_NOT_CARRIED


#: What is reported, of which quoted length, and what becomes of it where the WAN has 1500.
MTU_46 = [(1400, 0, 1420), (1480, 0, 1500), (1500, 0, 1500), (68, 0, 1280), (1260, 0, 1280)]
MTU_46 += [(0, 1493, 1500), (0, 1492, 1280), (0, 9000, 1500), (1261, 0, 1281)]
MTU_64 = [(1280, 1260), (1400, 1380), (1500, 1480), (9000, 1480), (1 << 31, 1480), (1279, 1259)]
MTU_64 += [(20, 0), (0, 0)]


@pytest.mark.parametrize(("reported", "length", "expected"), MTU_46)
def test_the_mtu(reported: int, length: int, expected: int, loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    _, arrived = answered(follower)
    quoted = arrived[:2] + (length or len(arrived)).to_bytes(2, "big") + arrived[4:10]
    quoted = with_header_checksum(quoted + arrived[10:])
    made = carried(follower.from_lan(errors.from_lan((3, 4), quoted, word=reported)))
    assert tuple(made[40:42]) == TOO_BIG6
    assert int.from_bytes(made[44:48], "big") == expected


def with_header_checksum(packet: bytes, size: int = 20) -> bytes:
    header = packet[:10] + bytes(2) + packet[12:size]
    value = packets.internet_checksum(header)
    return header[:10] + value.to_bytes(2, "big") + header[12:] + packet[size:]


@pytest.mark.parametrize(("reported", "expected"), MTU_64)
def test_the_mtu_of_packet_too_big(reported: int, expected: int, loaded_ces: LoadedCes) -> None:
    """Where the packet had a Fragment header, that takes room too."""
    follower = translator(loaded_ces)
    _, left = opened(follower)
    for quoted, less in ((left, 0), (as_first_fragment(left), 8)):
        error = errors.from_wan(follower.ce.domain, TOO_BIG6, quoted, word=reported)
        made = carried(follower.from_wan(error))
        assert tuple(made[20:22]) == (3, 4)
        assert int.from_bytes(made[24:28], "big") == max(0, expected - less)


def as_first_fragment(packet: bytes, *, offset_and_more: int = 1) -> bytes:
    """The IPv6 packet with a Fragment header, its identification 0x56789abc."""
    length = int.from_bytes(packet[4:6], "big") + 8
    header = bytes([packet[6], 0]) + offset_and_more.to_bytes(2, "big") + b"\x56\x78\x9a\xbc"
    return packet[:4] + length.to_bytes(2, "big") + b"\x2c" + packet[7:40] + header + packet[40:]


@pytest.mark.parametrize("more", [0, 1])
def test_a_quoted_fragment_header(more: int, loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    sent, left = opened(follower)
    quoted = as_first_fragment(left, offset_and_more=more)
    made = carried(follower.from_wan(errors.from_wan(follower.ce.domain, TOO_BIG6, quoted)))
    assert made[32:36] == b"\x9a\xbc" + bytes([0x20 * more, 0])
    assert made[48:] == sent[20:]


def test_a_quoted_first_fragment_of_ipv4(loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    came, arrived = answered(follower)
    quoted = with_header_checksum(arrived[:4] + b"\x12\x34\x20\x00" + arrived[8:])
    made = carried(follower.from_lan(errors.from_lan((11, 1), quoted)))
    assert (made[54], made[88:96]) == (44, b"\x11\x00\x00\x01\x00\x00\x12\x34")
    assert made[96:] == came[40:]


def test_the_df_of_a_quote_follows_its_length(loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    for size in (1260, 1261):
        _, left = opened(follower, payload=bytes(size - 28))
        error = errors.from_wan(follower.ce.domain, UNREACHABLE6, left[:100])
        made = carried(follower.from_wan(error))
        assert made[32:36] == bytes([0, 0, 0x40 * (size > 1260), 0])


@pytest.mark.parametrize("words", [1, 5, 10])
def test_options_in_the_quote(words: int, follower: Follower) -> None:
    """RFC 5508 REQ-3b: the transport header is behind them."""
    came, arrived = answered(follower)
    options = b"\x01" * (4 * words)
    quoted = bytes([0x45 + words, 0]) + (len(arrived) + 4 * words).to_bytes(2, "big") + arrived[4:]
    quoted = with_header_checksum(quoted[:20] + options + quoted[20:], 20 + 4 * words)
    made = carried(follower.from_lan(errors.from_lan(PORT_UNREACHABLE, quoted)))
    if follower.ce.domain.mode.translates:
        assert made[48:] == came
    else:
        assert made[88:] == options + came[60:]
    broken = quoted[:20] + b"\x00" + quoted[21:]
    outcome = follower.from_lan(errors.from_lan(PORT_UNREACHABLE, broken))
    assert reason_of(outcome) is Reason.QUOTE_INVALID


@pytest.mark.parametrize("octets", [8, 100, 128, 129, 1000])
@pytest.mark.parametrize("objects", [OBJECTS, OBJECTS + bytes(1), OBJECTS * 20])
def test_extensions(objects: bytes, octets: int, loaded_ces: LoadedCes) -> None:
    """RFC 4884 section 4: the length of the quote, in other units; what does not fit is left out,
    and there is none where the type has no room for the length."""
    follower = translator(loaded_ces)
    payload = bytes(range(256)) * 4
    arrived, left = answered(follower, payload=payload)[1], opened(follower, payload=payload)[1]
    body = arrived[: 20 + octets].ljust(128, b"\0")
    body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    made = carried(follower.from_lan(with_objects(body, 4, objects)))
    expect_objects(made[40:], len(body) + 20, 8, objects, 1240)
    none = errors.from_lan((12, 0), body + objects, word=len(body) // 4 << 16)
    made = carried(follower.from_lan(none))
    assert made[40:46] == b"\x04\x00" + made[42:44] + bytes(2)
    assert len(made) == min(1280, 48 + len(body) + 20)
    body = left[: 40 + octets].ljust(128, b"\0")
    body = body.ljust(-(-len(body) // 8) * 8, b"\0")
    word = len(body) // 8 << 24
    error = errors.from_wan(follower.ce.domain, EXCEEDED6, body + objects, word=word)
    made = carried(follower.from_wan(error))
    expect_objects(made[20:], len(body) - 20, 4, objects, 556)


def with_objects(body: bytes, unit: int, objects: bytes) -> bytes:
    return errors.from_lan(EXCEEDED, body + objects, word=len(body) // unit << 16)


def expect_objects(message: bytes, quoted: int, unit: int, objects: bytes, longest: int) -> None:
    """``quoted`` octets, padded, and the objects; or the quote alone where they do not fit."""
    padded = max(128, -(-quoted // unit) * unit)
    length = message[4] if unit == 8 else message[5]
    if 8 + padded + len(objects) > longest:
        assert (length, len(message)) == (0, min(longest, 8 + quoted))
        return
    assert length * unit == padded
    assert message[8 + padded :] == objects
    assert not any(message[8 + quoted : 8 + padded])


@pytest.mark.parametrize("payload", [520, 521, 600, 1203, 1204, 1300])
def test_the_longest_error(payload: int, loaded_ces: LoadedCes) -> None:
    """576 octets of IPv4, 1280 of IPv6."""
    follower = translator(loaded_ces)
    came, arrived = answered(follower, payload=bytes(payload))
    made = carried(follower.from_lan(errors.from_lan(PORT_UNREACHABLE, arrived)))
    assert made[48:] == came[: 1280 - 48]
    sent, left = opened(follower, payload=bytes(payload))
    made = carried(follower.from_wan(errors.from_wan(follower.ce.domain, UNREACHABLE6, left)))
    assert (len(made), made[48:]) == (min(576, 28 + len(sent)), sent[20 : 576 - 28])


@pytest.mark.parametrize("spoiled", [22, 24, 28, 40, 55])
def test_wrong_checksums(spoiled: int, follower: Follower) -> None:
    """RFC 5508 REQ-3, 3a."""
    _, arrived = answered(follower)
    error = errors.from_lan(PORT_UNREACHABLE, arrived)
    wrong = error[:spoiled] + bytes([error[spoiled] ^ 0x08]) + error[spoiled + 1 :]
    assert reason_of(follower.from_lan(wrong)) is Reason.ICMP_CHECKSUM
    quoted = arrived[:10] + bytes([arrived[10] ^ 1]) + arrived[11:]
    outcome = follower.from_lan(errors.from_lan(PORT_UNREACHABLE, quoted))
    assert reason_of(outcome) is Reason.QUOTE_INVALID
    _, left = opened(follower)
    error = exceeded(follower, left)
    wrong = error[:-1] + bytes([error[-1] ^ 1])
    assert reason_of(follower.from_wan(wrong)) is Reason.ICMP_CHECKSUM


def broken(packet: bytes, transport: int) -> dict[str, bytes]:
    """IPv4 packets that are no quote of a packet of ours. Header checksums are right."""
    changes = {
        "nothing": b"",
        "half a header": packet[:19],
        "7 octets of transport": packet[: transport + 7],
        "version": b"\x65" + packet[1:],
        "a short header": b"\x44" + packet[1:],
        "options beyond the end": b"\x4f" + packet[1:28],
        "a later fragment": packet[:6] + b"\x00\x01" + packet[8:],
        "gre": packet[:9] + b"\x2f" + packet[10:],
        "icmpv6": packet[:9] + b"\x3a" + packet[10:],
        "an icmp error": packet[:9] + b"\x01" + packet[10:20] + b"\x03\x03" + packet[22:],
        "a total length below the header": packet[:2] + b"\x00\x13" + packet[4:],
    }
    return {
        name: with_header_checksum(data) for name, data in changes.items() if len(data) > 19
    } | {name: data for name, data in changes.items() if len(data) <= 19}


@pytest.mark.parametrize("name", broken(bytes(40), 20))
def test_what_is_quoted_is_no_packet_of_ours(name: str, follower: Follower) -> None:
    ce_domain = follower.ce.domain
    _, arrived = answered(follower)
    outcome = follower.from_lan(errors.from_lan(PORT_UNREACHABLE, broken(arrived, 20)[name]))
    assert reason_of(outcome) is Reason.QUOTE_INVALID
    if not ce_domain.mode.translates:
        _, left = opened(follower)
        quoted = broken(left[40:], 20)[name]
        for error in (
            errors.in_tunnel(ce_domain, EXCEEDED, quoted),
            errors.from_wan(ce_domain, EXCEEDED6, left[:40] + quoted),
        ):
            assert reason_of(follower.from_wan(error)) is Reason.QUOTE_INVALID


def broken6(packet: bytes) -> dict[str, bytes]:
    elsewhere = IPv6Address("2001:db8:99::1").packed
    return {
        "nothing": b"",
        "half a header": packet[:39],
        "7 octets of transport": packet[:47],
        "version": b"\x40" + packet[1:],
        "not from us": packet[:8] + elsewhere + packet[24:],
        "not into the domain": packet[:24] + elsewhere + packet[40:],
        "gre": packet[:6] + b"\x2f" + packet[7:],
        "icmp": packet[:6] + b"\x01" + packet[7:],
        "an icmpv6 error": packet[:6] + b"\x3a" + packet[7:40] + b"\x01\x00" + packet[42:],
        "hop-by-hop": packet[:6] + b"\x00" + packet[7:],
        "a later fragment": as_first_fragment(packet, offset_and_more=8),
        "half a fragment header": as_first_fragment(packet)[:47],
        "no room for a fragment header": as_first_fragment(packet)[:5] + b"\x07\x2c" + packet[7:],
        "longer than ipv4 can be": packet[:4] + b"\xff\xec" + packet[6:],
    }


@pytest.mark.parametrize("name", broken6(bytes(60)))
def test_what_is_quoted_is_no_ipv6_packet_of_ours(name: str, loaded_ces: LoadedCes) -> None:
    follower = translator(loaded_ces)
    _, left = opened(follower)
    error = errors.from_wan(follower.ce.domain, EXCEEDED6, broken6(left)[name])
    assert reason_of(follower.from_wan(error)) is Reason.QUOTE_INVALID


def test_no_mapping_and_no_port(follower: Follower) -> None:
    _, left = opened(follower)
    at = 40 if follower.ce.domain.mode.translates else 60
    unused = 1233 if source_port(left) == 1232 else 1232
    for port, expected in ((unused, Reason.NO_MAPPING), (1236, Reason.PORT_OUTSIDE_SET)):
        quoted = left[:at] + port.to_bytes(2, "big") + left[at + 2 :]
        assert reason_of(follower.from_wan(exceeded(follower, quoted))) is expected
    _, arrived = answered(follower)
    strange = arrived[:22] + b"\x00\x07" + arrived[24:]
    outcome = follower.from_lan(errors.from_lan(PORT_UNREACHABLE, strange))
    assert reason_of(outcome) is Reason.NO_MAPPING


@pytest.mark.parametrize("remote_port", REMOTE_PORTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_changes_nothing(protocol: str, remote_port: int, follower: Follower) -> None:
    """RFC 5508 REQ-6, RFC 4787 REQ-12: not the state, and not how long it lasts; nor does the
    filter ask who has sent the error."""
    ce = follower.ce
    _, arrived = answered(follower, protocol, remote_port)
    _, left = opened(follower, protocol, remote_port)
    follower.advance(5)
    tables = ce.slots(), ce.flows()
    for _ in range(2):
        mappings = list(follower.software.napt44.mappings())
        assert follower.from_wan(exceeded(follower, left)).packets
        assert follower.from_lan(errors.from_lan(PORT_UNREACHABLE, arrived)).packets
        assert (ce.slots(), ce.flows()) == tables
        assert list(follower.software.napt44.mappings()) == mappings
        follower.advance(1)
    assert ce.events()[Reason.ICMP_ERROR_CARRIED] == 4
    follower.advance(100_000)
    assert reason_of(follower.from_wan(exceeded(follower, left))) is Reason.NO_MAPPING
    outcome = follower.from_lan(errors.from_lan(PORT_UNREACHABLE, arrived))
    assert reason_of(outcome) is Reason.NO_MAPPING


@pytest.mark.parametrize("mode", MODES)
def test_of_two_hosts_on_one_port(mode: str, loaded_ces: LoadedCes) -> None:
    """The remote of the quoted packet says whose it is."""
    follower = Follower(loaded_ces.example(mode, policy=shared()))
    for number in range(300):
        host, remote = f"192.168.1.{2 + number % 9}", f"198.51.100.{1 + number % 200}"
        packet = lan_packet("udp", host, 41000 + number, remote, 53)
        left = sole(follower.from_lan(packet))
        made = carried(follower.from_wan(exceeded(follower, left)))
        assert made[16:20] == packets.v4(host)
        assert made[40:] == packet[12:]


def test_a_port_forward(ce: LoadedCe) -> None:
    """It never expires, and has whoever has been told of it."""
    forward = Forward(Protocol.UDP, 1232, IPv4Address("192.168.1.20"), 443)
    ce.reset(policy=policy(forwards=(forward,)))
    ce.advance(100_000)
    step = FromWan("udp", 1232, SERVER, HIGH, 0, b"0123", b"", 0, 0)
    came = downstream_packet(ce.domain, step, 1232)
    arrived = sole(ce.from_wan(came))
    error = errors.from_lan(PORT_UNREACHABLE, arrived, source="192.168.1.20")
    made = carried(ce.from_lan(error))
    assert made[48:] == came if ce.domain.mode.translates else made[68:] == came[40:]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_napt44(protocol: str, mode: str, loaded_ces: LoadedCes) -> None:
    """The quoted packet has the public address and a port of the set on either side."""
    follower = Follower(loaded_ces.example(mode, napt44=Napt44Kind.NONE))
    sent = lan_packet(protocol, PUBLIC, 1232)
    left = sole(follower.from_lan(sent))
    made = carried(follower.from_wan(exceeded(follower, left)))
    assert (made[16:20], made[40:]) == (packets.v4(PUBLIC), sent[12:])
    for public, port, expected in (
        (PUBLIC, 1232, Reason.TRANSLATED),
        (PUBLIC, 1236, Reason.PORT_OUTSIDE_SET),
        (HOST, 1232, Reason.SOURCE_NOT_OURS),
    ):
        quoted = packets.ipv4(packets.udp(SERVER, public, 53, port), packets.UDP, SERVER, public)
        for source in (public, HOST):
            error = errors.from_lan(PORT_UNREACHABLE, quoted, source=source)
            assert follower.from_lan(error).reason is expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_netfilters_napt44(protocol: str, ce: LoadedCe) -> None:
    """The kernel knows the virtual port, the domain the one of the set that it stands for."""
    ce.reset(napt44=Napt44Kind.NETFILTER)
    ports, base = list(ce.domain.port_set), virtual_base(ce.domain.port_set)
    for position in (0, 100, len(ports) - 1):
        sent = lan_packet(protocol, PUBLIC, base + position)
        left = sole(ce.from_lan(sent))
        assert source_port(left) == ports[position]
        if ce.domain.mode.translates:
            error = errors.from_wan(ce.domain, EXCEEDED6, left)
        else:
            error = errors.in_tunnel(ce.domain, EXCEEDED, left[40:])
        assert carried(ce.from_wan(error))[40:] == sent[12:]
        kind = "echo reply" if protocol == "echo" else protocol
        step = FromWan(kind, ports[position], SERVER, HIGH, packets.ACK, b"0123", b"", 0, 0)
        came = downstream_packet(ce.domain, step, ports[position])
        arrived = sole(ce.from_wan(came))
        made = carried(ce.from_lan(errors.from_lan(PORT_UNREACHABLE, arrived, source=PUBLIC)))
        assert made[48:] == came if ce.domain.mode.translates else made[68:] == came[40:]
    quoted = packets.ipv4(packets.udp(SERVER, PUBLIC, 53, base - 1), packets.UDP, SERVER, PUBLIC)
    outcome = ce.from_lan(errors.from_lan(PORT_UNREACHABLE, quoted, source=PUBLIC))
    assert reason_of(outcome) is Reason.VIRTUAL_PORT


def test_from_a_router_without_ipv4(loaded_ces: LoadedCes) -> None:
    """RFC 6791, RFC 7600 section 4.8: of those that are under the DMR, by chance or by fraud, an
    impossible address is none, either."""
    loopback = rfc6052.embed(DMR, IPv4Address("127.0.0.1"))
    for own in ("192.0.0.8", "198.51.100.99"):
        translation = TranslationPolicy(icmp_error_source=IPv4Address(own))
        follower = translator(loaded_ces, translation=translation)
        _, left = opened(follower)
        for source in (ROUTER6, loopback, IPv6Address("fe80::1")):
            error = errors.from_wan(follower.ce.domain, EXCEEDED6, left, source=source)
            made = carried(follower.from_wan(error))
            assert (made[12:16], made[16:20]) == (packets.v4(own), packets.v4(HOST))


@pytest.mark.parametrize("code", [5, 6])
def test_the_br_refuses(code: int, follower: Follower) -> None:
    """It has no binding for our packets: RFC 7596 section 5.1, RFC 7599 section 8.3."""
    ce_domain = follower.ce.domain
    _, left = opened(follower)

    def verdict(source: IPv6Address, quoted: bytes = left) -> Reason:
        outcome = follower.from_wan(errors.from_wan(ce_domain, (1, code), quoted, source=source))
        return outcome.reason

    if ce_domain.mode.translates:
        assert verdict(ROUTER6) is verdict(BR) is Reason.BR_REFUSED
    elif code == 5:
        assert verdict(BR) is Reason.BR_REFUSED
        assert verdict(ROUTER6) is Reason.ICMP_NOT_CARRIED
    else:
        assert verdict(BR) is verdict(ROUTER6) is Reason.TRANSLATED
    if verdict(BR) is Reason.BR_REFUSED:
        assert verdict(BR, left[:40]) is Reason.QUOTE_INVALID


#: Type and code, the word after them, whether the inner packet has DF: what the sender is told.
ABOUT_THE_TUNNEL: dict[str, tuple[tuple[int, int], int, bool, tuple[int, int, int] | None]] = {
    **{f"unreachable {code}": ((1, code), 0, True, (3, 1, 0)) for code in (0, 1, 2, 3, 4, 6, 99)},
    "hop limit": (EXCEEDED6, 0, False, (3, 1, 0)),
    "reassembly": ((3, 1), 0, True, None),
    "too big": (TOO_BIG6, 1400, True, (3, 4, 1360)),
    "too big without df": (TOO_BIG6, 1400, False, None),
    "least mtu": (TOO_BIG6, 1280, True, (3, 4, 1240)),
    "below the least mtu": (TOO_BIG6, 1279, True, None),
    "above ours": (TOO_BIG6, 9000, True, (3, 4, 1460)),
    "parameter": ((4, 0), 6, True, None),
    "next header": ((4, 1), 6, True, None),
    "unknown": ((100, 0), 0, True, None),
}


@pytest.mark.parametrize("name", ABOUT_THE_TUNNEL)
def test_errors_about_the_tunnel(name: str, loaded_ces: LoadedCes) -> None:
    """RFC 2473 section 8: to who sent the packet in it."""
    kind, word, has_df, told = ABOUT_THE_TUNNEL[name]
    follower = tunnel(loaded_ces)
    sent = lan_packet(payload=bytes(700))
    sent = with_header_checksum(sent[:6] + bytes([0x40 * has_df, 0]) + sent[8:])
    left = sole(follower.from_lan(sent))
    limited = left[:6] + b"\x3c" + left[7:40] + bytes.fromhex("0400040104010100") + left[40:]
    for quoted in (left, left[:68], limited, left + bytes(300)):
        outcome = follower.from_wan(errors.from_wan(follower.ce.domain, kind, quoted, word=word))
        if told is None:
            assert reason_of(outcome) is Reason.ICMP_NOT_CARRIED
            continue
        made = carried(outcome)
        assert (made[0], made[1], made[6:10]) == (0x45, 0, b"\x00\x00\x40\x01")
        assert (made[12:16], made[16:20]) == (packets.v4("192.0.0.8"), packets.v4(HOST))
        assert (*made[20:22], int.from_bytes(made[24:28], "big")) == told
        size = len(quoted) - 40 - 8 * (quoted is limited)
        assert (len(made), made[28:]) == (
            min(576, 28 + size),
            (sent + bytes(300))[: min(548, size)],
        )


def test_the_encapsulation_limit(loaded_ces: LoadedCes) -> None:
    """Of somebody in the way who has put our packets in one more tunnel, and pointed at it."""
    follower = tunnel(loaded_ces)
    _, left = opened(follower)
    limited = left[:6] + b"\x3c" + left[7:40] + bytes.fromhex("0400040100010100") + left[40:]
    for quoted, pointer, expected in (
        (limited, 44, Reason.TRANSLATED),
        (limited, 43, Reason.ICMP_NOT_CARRIED),
        (left, 44, Reason.ICMP_NOT_CARRIED),
        (limited[:40] + b"\x06" + limited[41:], 44, Reason.QUOTE_INVALID),
        (limited[:44], 44, Reason.QUOTE_INVALID),
    ):
        error = errors.from_wan(follower.ce.domain, (4, 0), quoted, word=pointer)
        assert follower.from_wan(error).reason is expected


def test_about_a_tunnel_of_others(loaded_ces: LoadedCes) -> None:
    follower = tunnel(loaded_ces)
    _, left = opened(follower)
    for quoted in (
        left[:8] + ROUTER6.packed + left[24:],
        left[:24] + ROUTER6.packed + left[40:],
        left[:6] + b"\x29" + left[7:],
        left[:52] + packets.v4("192.0.2.99") + left[56:],
        b"\x40" + left[1:],
        left[:39],
    ):
        outcome = follower.from_wan(errors.from_wan(follower.ce.domain, EXCEEDED6, quoted))
        assert reason_of(outcome) is Reason.QUOTE_INVALID


def test_what_is_no_error(follower: Follower) -> None:
    """Neighbour discovery and the rest are the router's own; queries but echo are nobody's."""
    ce_domain = follower.ce.domain
    for number in (128, 135, 255):
        outcome = follower.from_wan(errors.from_wan(ce_domain, (number, 0), bytes(20)))
        translates = ce_domain.mode.translates
        expected = Reason.SOURCE_OUTSIDE_DOMAIN if translates else Reason.NOT_ENCAPSULATED
        assert reason_of(outcome) is expected
    for number in (4, 5, 9, 10, 13, 17):
        outcome = follower.from_lan(errors.from_lan((number, 0), bytes(20)))
        assert reason_of(outcome) is Reason.ICMP_NOT_CARRIED


def test_an_impossible_source_in_the_tunnel(loaded_ces: LoadedCes) -> None:
    follower = tunnel(loaded_ces)
    _, left = opened(follower)
    error = errors.in_tunnel(follower.ce.domain, EXCEEDED, left[40:], source="127.0.0.1")
    assert reason_of(follower.from_wan(error)) is Reason.SOURCE_MARTIAN


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_hairpinned_errors(protocol: str, follower: Follower) -> None:
    """RFC 5508 REQ-7: from one host of the LAN to another, each known by its public port."""
    alice, bob = ("192.168.1.10", 40010), ("192.168.1.11", 40011)
    alices = source_port(sole(follower.from_lan(lan_packet(protocol, *alice))))
    sole(follower.from_lan(lan_packet(protocol, *bob)))
    sent = lan_packet(protocol, *bob, PUBLIC, alices)
    arrived = sole(follower.from_lan(sent))
    error = errors.from_lan(PORT_UNREACHABLE, arrived, source=alice[0], destination=PUBLIC)
    outcome = follower.from_lan(error)
    assert outcome.reason is Reason.HAIRPINNED
    made = carried(outcome)
    assert (made[12:16], made[16:20]) == (packets.v4(PUBLIC), packets.v4(bob[0]))
    assert made[28:] == sent
    bobs = int.from_bytes(arrived[20:22], "big")
    unused = next(port for port in (1232, 1233, 1234) if port not in (alices, bobs))
    unknown = arrived[:20] + unused.to_bytes(2, "big") + arrived[22:]
    error = errors.from_lan(PORT_UNREACHABLE, unknown, source=alice[0], destination=PUBLIC)
    assert reason_of(follower.from_lan(error)) is Reason.NO_MAPPING
