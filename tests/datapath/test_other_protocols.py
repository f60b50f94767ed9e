# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Protocols without ports cross where the address is this CE's alone, and nobody does NAPT44."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import EXAMPLE_RULE, domain
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model import rfc6052
from mapxdp.model.rule import MappingRule
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason

UNSHARED = MappingRule(EXAMPLE_RULE.ipv6, EXAMPLE_RULE.ipv4, ea_length=8)
DCCP, UDP_LITE = 33, 136
IGMP = 2
#: As they are, whatever the addresses.
UNCHANGED = {
    "ipv4": 4,
    "egp": 8,
    "rdp": 27,
    "gre": 47,
    "esp": 50,
    "ospf": 89,
    "sctp": 132,
    "raw": 255,
}
#: What has another meaning behind the other IP header.
NO_COUNTERPART = [0, 43, 44, 51, 59, 60]
MODES = ["map-t", "map-e"]


@pytest.fixture(params=MODES)
def follower(request: pytest.FixtureRequest, loaded_ces: LoadedCes) -> Follower:
    return Follower(unshared(request.param, loaded_ces))


def unshared(mode: str, loaded_ces: LoadedCes, **changes: object) -> LoadedCe:
    return loaded_ces.get(domain(mode, UNSHARED), napt44=Napt44Kind.NONE, **changes)


def public(follower: Follower) -> str:
    return str(follower.ce.domain.ipv4_address)


def out(follower: Follower, data: bytes, protocol: int, **header: Any) -> bytes:
    return packets.ipv4(data, protocol, public(follower), SERVER, **header)


def back(
    follower: Follower, data: bytes, protocol: int, server: str = SERVER, tos: int = 0
) -> bytes:
    """What the BR sends for a packet of the server."""
    ce_domain = follower.ce.domain
    own = ce_domain.map_address
    if ce_domain.dmr is not None:
        source = rfc6052.embed(ce_domain.dmr, IPv4Address(server))
        return packets.ipv6(data, protocol, source, own, traffic_class=tos)
    assert ce_domain.br is not None
    inner = packets.ipv4(data, protocol, server, public(follower), tos=tos)
    return packets.ipv6(inner, packets.IPV4, ce_domain.br, own, traffic_class=tos)


def addresses(packet: bytes) -> tuple[bytes, bytes]:
    if packet[0] >> 4 == 4:
        return packet[12:16], packet[16:20]
    return packet[8:24], packet[24:40]


def with_checksum(protocol: int, source: Any, destination: Any, payload: bytes) -> bytes:
    """A DCCP or UDP-Lite header (all covered) and its payload."""
    data = bytes.fromhex("1000 1001 0008 0000") + payload
    family = packets.v6 if ":" in str(source) else packets.v4
    pseudo = packets.pseudo_header(family(source), family(destination), len(data), protocol)
    field = packets.internet_checksum(pseudo + data)
    return data[:6] + field.to_bytes(2, "big") + data[8:]


def checksum_is_right(packet: bytes, protocol: int) -> bool:
    data = packet[40:] if packet[0] >> 4 == 6 else packet[20:]
    if packet[0] >> 4 == 6 and packet[6] == packets.IPV4:
        packet, data = packet[40:], packet[60:]
    pseudo = packets.pseudo_header(*addresses(packet), len(data), protocol)
    return packets.internet_checksum(pseudo + data) == 0


@pytest.mark.parametrize("size", [0, 1, 7, 40, 1300])
@pytest.mark.parametrize("protocol", UNCHANGED.values(), ids=UNCHANGED)
def test_there_and_back_as_it_is(protocol: int, size: int, follower: Follower) -> None:
    data = bytes(range(256)) * 6
    sent = out(follower, data[:size], protocol, tos=0xB8)
    (packet,) = follower.from_lan(sent).packets
    assert packet.endswith(data[:size])
    if follower.ce.domain.mode.translates:
        assert packet[6] == protocol
    else:
        assert packet[40:] == sent
    if not size and follower.ce.domain.mode.translates:
        assert follower.from_wan(back(follower, b"", protocol)).reason is Reason.MALFORMED_IPV6
        return
    (packet,) = follower.from_wan(back(follower, data[:size], protocol, tos=0x28)).packets
    assert packet[20:] == data[:size]
    assert (packet[1], packet[9]) == (0x28, protocol)
    assert addresses(packet) == (packets.v4(SERVER), packets.v4(public(follower)))
    assert packets.internet_checksum(packet[:20]) == 0
    follower.assert_that_events_agree()


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(200))], ids=len)
@pytest.mark.parametrize("protocol", [DCCP, UDP_LITE], ids=["dccp", "udp-lite"])
def test_a_checksum_over_addresses(protocol: int, payload: bytes, follower: Follower) -> None:
    data = with_checksum(protocol, public(follower), SERVER, payload)
    (packet,) = follower.from_lan(out(follower, data, protocol)).packets
    assert checksum_is_right(packet, protocol)
    arriving = back(follower, bytes(8), protocol)
    source, destination = SERVER, public(follower)
    if follower.ce.domain.mode.translates:
        source, destination = (str(packets.IPv6Address(a)) for a in addresses(arriving))
    data = with_checksum(protocol, source, destination, payload)
    (packet,) = follower.from_wan(back(follower, data, protocol)).packets
    assert checksum_is_right(packet, protocol)


@pytest.mark.parametrize("protocol", [DCCP, UDP_LITE], ids=["dccp", "udp-lite"])
def test_one_whose_header_is_cut(protocol: int, follower: Follower) -> None:
    assert follower.from_lan(out(follower, bytes(7), protocol)).reason is Reason.MALFORMED_TRANSPORT
    outcome = follower.from_wan(back(follower, bytes(7), protocol))
    assert outcome.reason is Reason.MALFORMED_TRANSPORT


def test_a_checksum_of_zero(follower: Follower) -> None:
    """UDP-Lite has none that is 0: it stays, as wrong as it was. In DCCP it is a number."""
    for protocol in (UDP_LITE, DCCP):
        data = bytes.fromhex("1000 1001 0008 0000") + b"x"
        follower.from_lan(out(follower, data, protocol))
        follower.from_wan(back(follower, data, protocol))


@pytest.mark.parametrize("protocol", NO_COUNTERPART)
def test_what_has_another_meaning(protocol: int, follower: Follower) -> None:
    translates = follower.ce.domain.mode.translates
    expected = Reason.PROTOCOL_WITHOUT_PORTS if translates else Reason.TRANSLATED
    assert follower.from_lan(out(follower, bytes(40), protocol)).reason is expected
    if not translates:
        assert follower.from_wan(back(follower, bytes(40), protocol)).reason is expected


def test_each_icmp_behind_the_other_header(follower: Follower) -> None:
    sent = follower.from_lan(out(follower, bytes(8), packets.ICMPV6))
    translates = follower.ce.domain.mode.translates
    assert sent.reason is (Reason.PROTOCOL_WITHOUT_PORTS if translates else Reason.TRANSLATED)
    if translates:
        outcome = follower.from_wan(back(follower, bytes(8), packets.ICMP))
        assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS
        outcome = follower.from_wan(back(follower, bytes(8), 59))
        assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS


def test_igmp_stays_on_its_link(follower: Follower) -> None:
    outcome = follower.from_lan(out(follower, bytes(8), IGMP))
    assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS
    assert follower.from_wan(back(follower, bytes(8), IGMP)).reason is Reason.PROTOCOL_WITHOUT_PORTS


def test_only_with_the_ces_address(follower: Follower) -> None:
    outcome = follower.from_lan(packets.ipv4(bytes(8), 47, HOST, SERVER))
    assert outcome.reason is Reason.SOURCE_NOT_OURS
    for source in ("127.0.0.1", "224.0.0.1", public(follower)):
        outcome = follower.from_wan(back(follower, bytes(8), 47, source))
        assert outcome.reason is Reason.SOURCE_MARTIAN


@pytest.mark.parametrize("more", [0, 1])
def test_the_path_mtu(more: int, follower: Follower) -> None:
    size = follower.ce.settings.ipv4_mtu - 20 + more
    outcome = follower.from_lan(out(follower, bytes(size), 47))
    assert outcome.reason is (Reason.TOO_BIG if more else Reason.TRANSLATED)
    assert len(outcome.answers) == more
    if more:
        assert tuple(outcome.answers[0][20:22]) == (3, 4)
    follower.assert_that_events_agree()


@pytest.mark.parametrize("size", [1240, 1241])
def test_dont_fragment_follows_the_length(size: int, loaded_ces: LoadedCes) -> None:
    follower = Follower(unshared("map-t", loaded_ces))
    (packet,) = follower.from_wan(back(follower, bytes(size), 47)).packets
    assert packet[6] == (0x40 if size > 1240 else 0)


@pytest.mark.parametrize("mode", MODES)
def test_the_traffic_class(mode: str, loaded_ces: LoadedCes) -> None:
    ce = unshared(mode, loaded_ces, translation=TranslationPolicy(traffic_class=0x50))
    follower = Follower(ce)
    (packet,) = follower.from_lan(out(follower, bytes(8), 47, tos=3)).packets
    traffic_class = int.from_bytes(packet[:4], "big") >> 20 & 0xFF
    assert traffic_class == (0x50 if mode == "map-t" else 0x53)


@pytest.mark.parametrize("options", [bytes([1] * 4), bytes([1] * 40)], ids=len)
def test_with_options(options: bytes, follower: Follower) -> None:
    (packet,) = follower.from_lan(out(follower, b"data of gre", 47, options=options)).packets
    assert packet.endswith(b"data of gre")


def test_a_congestion_mark_leaves_the_tunnel(loaded_ces: LoadedCes) -> None:
    follower = Follower(unshared("map-e", loaded_ces))
    ce_domain = follower.ce.domain
    inner = packets.ipv4(b"x", 47, SERVER, public(follower), tos=2)
    assert ce_domain.br is not None
    packet = packets.ipv6(inner, 4, ce_domain.br, ce_domain.map_address, traffic_class=3)
    (carried,) = follower.from_wan(packet).packets
    assert carried[1] == 3
    assert packets.internet_checksum(carried[:20]) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rule", [EXAMPLE_RULE, UNSHARED], ids=["shared", "with napt44"])
def test_not_where_addresses_are_shared_or_ports_translated(
    rule: MappingRule, mode: str, loaded_ces: LoadedCes
) -> None:
    kind = Napt44Kind.NONE if rule is EXAMPLE_RULE else Napt44Kind.BPF
    follower = Follower(loaded_ces.get(domain(mode, rule), napt44=kind))
    outcome = follower.from_lan(out(follower, bytes(8), 47))
    assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS
    outcome = follower.from_wan(back(follower, bytes(8), 47))
    assert outcome.reason is Reason.PROTOCOL_WITHOUT_PORTS
