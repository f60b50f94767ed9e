# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What RFC 6052 forbids: private addresses under 64:ff9b::/96, and an octet u that is not zero."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import DMR, END_USER_PREFIX, EXAMPLE_RULE, domain
from harness.exchange import lan_packet, port_given
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import SERVER
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason

WELL_KNOWN = IPv6Network("64:ff9b::/96")
UNSHARED = MappingRule(EXAMPLE_RULE.ipv6, EXAMPLE_RULE.ipv4, ea_length=8)
NOT_GLOBAL = [
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.200",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.255",
]
GLOBAL = [
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "8.8.8.8",
]


def behind(dmr: IPv6Network, rule: MappingRule = EXAMPLE_RULE) -> Domain:
    return Domain(Mode.MAP_T, END_USER_PREFIX, (rule,), dmr=dmr)


def from_dmr(ce: LoadedCe, source: IPv6Address, port: int = 1232, protocol: int = 17) -> bytes:
    own = ce.domain.map_address
    data = packets.udp(source, own, 5000, port, b"x")
    return packets.ipv6(data, protocol, source, own)


@pytest.fixture
def follower(loaded_ces: LoadedCes) -> Follower:
    return Follower(loaded_ces.get(behind(WELL_KNOWN)))


@pytest.mark.parametrize("address", NOT_GLOBAL)
def test_private_addresses_under_the_well_known_prefix(address: str, follower: Follower) -> None:
    assert follower.from_lan(lan_packet(remote=address)).reason is Reason.NOT_GLOBAL
    source = rfc6052.embed(WELL_KNOWN, IPv4Address(address))
    outcome = follower.from_wan(from_dmr(follower.ce, source))
    assert (outcome.reason, outcome.answers) == (Reason.NOT_GLOBAL, ())
    assert not follower.ce.slots()


@pytest.mark.parametrize("address", GLOBAL)
def test_others_cross(address: str, follower: Follower) -> None:
    sent = follower.from_lan(lan_packet(remote=address))
    assert sent.reason is Reason.TRANSLATED
    source = rfc6052.embed(WELL_KNOWN, IPv4Address(address))
    answer = follower.from_wan(from_dmr(follower.ce, source, port_given(sent)))
    assert answer.reason is Reason.TRANSLATED


@pytest.mark.parametrize("dmr", ["2001:db8:ffff::/96", "64:ff9b:1::/48", "64:ff9b::/64"])
def test_other_prefixes_are_a_networks_own(dmr: str, loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.get(behind(IPv6Network(dmr))))
    assert follower.from_lan(lan_packet(remote="10.0.0.1")).reason is Reason.TRANSLATED


def test_of_a_protocol_without_ports(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.get(behind(WELL_KNOWN, UNSHARED), napt44=Napt44Kind.NONE)
    follower, own = Follower(ce), str(ce.domain.ipv4_address)
    gre = packets.ipv4(b"x", 47, own, "10.0.0.1")
    assert follower.from_lan(gre).reason is Reason.NOT_GLOBAL
    for address, reason in (("10.0.0.1", Reason.NOT_GLOBAL), ("8.8.8.8", Reason.TRANSLATED)):
        source = rfc6052.embed(WELL_KNOWN, IPv4Address(address))
        assert follower.from_wan(from_dmr(ce, source, protocol=47)).reason is reason


@pytest.mark.parametrize("u", [0x01, 0x40, 0x80, 0xFF])
@pytest.mark.parametrize("length", [32, 40, 48, 56, 64])
def test_a_source_whose_octet_u_is_not_zero(length: int, u: int, loaded_ces: LoadedCes) -> None:
    """Nothing that a BR has made; a suffix that is not zero is ignored."""
    dmr = DMR.supernet(new_prefix=length)
    follower = Follower(loaded_ces.get(behind(dmr)))
    port = port_given(follower.from_lan(lan_packet()))
    source = bytearray(rfc6052.embed(dmr, IPv4Address(SERVER)).packed)
    source[15] = 1
    arriving = from_dmr(follower.ce, IPv6Address(bytes(source)), port)
    assert follower.from_wan(arriving).reason is Reason.TRANSLATED
    source[8] = u
    arriving = from_dmr(follower.ce, IPv6Address(bytes(source)), port)
    assert follower.from_wan(arriving).reason is Reason.SOURCE_OUTSIDE_DOMAIN


def test_octet_u_behind_extension_headers(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.get(domain("map-t"))
    source = bytearray(rfc6052.embed(DMR, IPv4Address(SERVER)).packed)
    source[8] = 1
    packet = packets.ipv6(
        bytes([17, 0, *bytes(6)]) + bytes(20), 60, IPv6Address(bytes(source)), ce.domain.map_address
    )
    assert Follower(ce).from_wan(packet).reason is Reason.SOURCE_OUTSIDE_DOMAIN
