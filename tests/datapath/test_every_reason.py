# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every reason of bpf/reasons.h is produced, and only where it is meant.

The last test asserts that the tables and directed tests of this file cover the whole list.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from harness import errors, fragments, packets
from harness.accelerated import AcceleratedCe
from harness.ce import LoadedCe, inconsistencies
from harness.domains import BR, DMR, END_USER_PREFIX, EXAMPLE_RULE, domain
from harness.exchange import HIGH, port_given, receive, send
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from harness.policies import policy, shared, strict
from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.datapath.trial import TrialLink
from mapxdp.model import rfc6052
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.napt44 import LogLevel
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason, ReasonClass

_DOMAIN = domain("map-t")
MAP_ADDRESS = _DOMAIN.map_address
PUBLIC = str(_DOMAIN.ipv4_address)
PORT = 1232  # of the set
FOREIGN_PORT = 1236  # of the next CE's set
SERVER6 = rfc6052.embed(DMR, IPv4Address(SERVER))
OTHER6 = IPv6Address("2001:db8:99::1")

_produced: set[Reason] = set()


def note(reason: Reason) -> Reason:
    """Remembers that a reason was seen, for the last test."""
    _produced.add(reason)
    return reason


def udp4(source: str = HOST, destination: str = SERVER, source_port: int = 40000) -> bytes:
    return packets.udp(source, destination, source_port, 53, b"question")


def upstream(**header: object) -> bytes:
    """A UDP packet from the LAN; ``header`` are fields of its IPv4 header."""
    return packets.ipv4(udp4(), packets.UDP, **header)  # type: ignore[arg-type]


UPSTREAM: dict[str, tuple[Reason, bytes]] = {
    "arp": (Reason.NOT_IPV4, b"\x00\x01\x08\x00\x06\x04\x00\x01" + bytes(20)),
    "native ipv6": (
        Reason.NOT_IPV4,
        packets.ipv6(packets.udp(OTHER6, SERVER6, 1, 2), packets.UDP, OTHER6, SERVER6),
    ),
    "multicast": (Reason.DESTINATION_NOT_ROUTED, upstream(destination="224.0.0.251")),
    "broadcast": (Reason.DESTINATION_NOT_ROUTED, upstream(destination="255.255.255.255")),
    "last multicast": (Reason.DESTINATION_NOT_ROUTED, upstream(destination="239.255.255.255")),
    "to link-local": (Reason.DESTINATION_MARTIAN, upstream(destination="169.254.1.1")),
    "to this network": (Reason.DESTINATION_MARTIAN, upstream(destination="0.0.0.1")),
    "to loopback": (Reason.DESTINATION_MARTIAN, upstream(destination="127.0.0.1")),
    "to class e": (Reason.DESTINATION_MARTIAN, upstream(destination="240.0.0.1")),
    "almost broadcast": (Reason.DESTINATION_MARTIAN, upstream(destination="255.255.255.254")),
    "from link-local": (Reason.SOURCE_MARTIAN, upstream(source="169.254.1.1")),
    "from this network": (Reason.SOURCE_MARTIAN, upstream(source="0.0.0.0")),
    "from loopback": (Reason.SOURCE_MARTIAN, upstream(source="127.0.0.1")),
    "from multicast": (Reason.SOURCE_MARTIAN, upstream(source="224.0.0.1")),
    "from broadcast": (Reason.SOURCE_MARTIAN, upstream(source="255.255.255.255")),
    "ihl 4": (Reason.MALFORMED_IPV4, b"\x44" + upstream()[1:]),
    "total length below header": (Reason.MALFORMED_IPV4, upstream(total_length=19)),
    "total length beyond packet": (Reason.MALFORMED_IPV4, upstream(total_length=2000)),
    "first fragment of no use": (
        Reason.FRAGMENT_INVALID,
        packets.ipv4(packets.udp(HOST, SERVER, 1, 2, b"x"), packets.UDP, fragment=0x2000),
    ),
    "later fragment": (Reason.FRAGMENT_KEPT, upstream(fragment=0x0010)),
    "fragment of gre": (
        Reason.PROTOCOL_WITHOUT_PORTS,
        packets.ipv4(bytes(24), 47, fragment=0x2010),
    ),
    "gre": (Reason.PROTOCOL_WITHOUT_PORTS, packets.ipv4(bytes(20), 47)),
    "esp": (Reason.PROTOCOL_WITHOUT_PORTS, packets.ipv4(bytes(20), 50)),
    "sctp": (Reason.PROTOCOL_WITHOUT_PORTS, packets.ipv4(bytes(20), 132)),
    "icmpv6 in ipv4": (
        Reason.PROTOCOL_WITHOUT_PORTS,
        packets.ipv4(packets.echo(7), packets.ICMPV6),
    ),
    "no payload at all": (Reason.MALFORMED_TRANSPORT, packets.ipv4(b"", packets.UDP)),
    "tcp cut": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv4(packets.tcp(HOST, SERVER, 1, 2)[:19], packets.TCP),
    ),
    "tcp data offset 4": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv4(bytes(12) + b"\x40" + bytes(7), packets.TCP),
    ),
    "tcp options beyond the packet": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv4(bytes(12) + b"\xf0" + bytes(7), packets.TCP),
    ),
    "udp length below header": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv4(packets.udp(HOST, SERVER, 1, 2, length=7), packets.UDP),
    ),
    "udp length beyond packet": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv4(packets.udp(HOST, SERVER, 1, 2, length=9), packets.UDP),
    ),
    "icmp cut": (Reason.MALFORMED_TRANSPORT, packets.ipv4(packets.echo(7)[:7], packets.ICMP)),
    "icmp unreachable": (
        Reason.ICMP_CHECKSUM,
        packets.ipv4(b"\x03\x03" + bytes(6) + upstream()[:28], packets.ICMP),
    ),
    "icmp unreachable about half a packet": (
        Reason.QUOTE_INVALID,
        errors.from_lan((3, 3), upstream()[:27]),
    ),
    "icmp unreachable about a packet that nobody got": (
        Reason.NO_MAPPING,
        errors.from_lan((3, 3), upstream()),
    ),
    "icmp redirect": (Reason.ICMP_NOT_CARRIED, errors.from_lan((5, 0), upstream())),
    "icmp timestamp": (Reason.ICMP_NOT_CARRIED, packets.ipv4(b"\x0d" + bytes(19), packets.ICMP)),
    "larger than the mtu": (
        Reason.TOO_BIG,
        packets.ipv4(packets.udp(HOST, SERVER, 1, 2, bytes(1453)), packets.UDP),
    ),
    "reset without a mapping": (
        Reason.NO_MAPPING,
        packets.ipv4(packets.tcp(HOST, SERVER, 1, 2, flags=packets.RST), packets.TCP),
    ),
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstream(name: str, ce: LoadedCe) -> None:
    expected, packet = UPSTREAM[name]
    assert note(ce.from_lan(packet).reason) is expected


def test_wrong_version_under_the_ethertype_of_ipv4(ce: LoadedCe) -> None:
    packet = b"\x55" + upstream()[1:]
    assert note(ce.from_lan(packet, ether_type=0x0800).reason) is Reason.MALFORMED_IPV4


def test_udp_without_checksum(loaded_ces: LoadedCes) -> None:
    """It gets one before it is translated, if it may; encapsulated it stays without one."""
    packet = packets.ipv4(packets.udp(HOST, SERVER, 1, 2, checksum=False), packets.UDP)
    ce = loaded_ces.example("map-t")
    assert note(ce.from_lan(packet).reason) is Reason.TRANSLATED
    assert ce.events()[note(Reason.UDP_CHECKSUM_COMPUTED)] == 1
    ce.reset(translation=TranslationPolicy(compute_udp_checksum=False))
    assert note(ce.from_lan(packet).reason) is Reason.UDP_CHECKSUM_ZERO
    assert Reason.UDP_CHECKSUM_COMPUTED not in ce.events()
    encapsulated = loaded_ces.example("map-e").from_lan(packet)
    assert note(encapsulated.reason) is Reason.TRANSLATED
    assert encapsulated.packets[0][66:68] == b"\0\0"


def test_udp_without_checksum_from_the_wan(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    send(ce, port=PORT)
    data = packets.udp(SERVER6, MAP_ADDRESS, HIGH, PORT, checksum=False)
    packet = packets.ipv6(data, packets.UDP, SERVER6, MAP_ADDRESS)
    assert note(ce.from_wan(packet).reason) is Reason.TRANSLATED
    assert ce.events()[note(Reason.UDP_CHECKSUM_ABSENT)] == 1


def test_source_route(loaded_ces: LoadedCes) -> None:
    """It cannot be translated; a tunnel carries it."""
    packet = upstream(options=b"\x83\x07\x04\x0a\x00\x00\x01\x00")
    refused = loaded_ces.example("map-t").from_lan(packet)
    assert note(refused.reason) is Reason.SOURCE_ROUTE
    assert loaded_ces.example("map-e").from_lan(packet).reason is Reason.TRANSLATED


def test_private_address_under_the_well_known_prefix(loaded_ces: LoadedCes) -> None:
    dmr = IPv6Network("64:ff9b::/96")
    ce_domain = Domain(Mode.MAP_T, END_USER_PREFIX, (EXAMPLE_RULE,), dmr=dmr)
    ce = loaded_ces.get(ce_domain)
    assert note(ce.from_lan(upstream(destination="10.1.2.3")).reason) is Reason.NOT_GLOBAL


def test_destination_on_the_wan_link(ce: LoadedCe) -> None:
    modem = IPv4Network("192.168.100.0/24")
    ce.reset(on_link=(modem,))
    on_link = ce.from_lan(upstream(destination="192.168.100.1"))
    assert note(on_link.reason) is Reason.DESTINATION_ON_LINK
    assert ce.from_lan(upstream(destination="192.168.101.1")).reason is Reason.TRANSLATED


def test_napt44_off(ce: LoadedCe) -> None:
    ce.reset(napt44=Napt44Kind.NONE)

    def send(source: str, port: int) -> Reason:
        return ce.from_lan(packets.ipv4(udp4(source, SERVER, port), packets.UDP, source)).reason

    assert note(send(HOST, PORT)) is Reason.SOURCE_NOT_OURS
    assert note(send(PUBLIC, FOREIGN_PORT)) is Reason.PORT_OUTSIDE_SET
    assert note(send(PUBLIC, PORT)) is Reason.TRANSLATED


def from_br(ce_domain: Domain, data: bytes, protocol: int, **header: object) -> bytes:
    """What the BR sends: ``data`` from the server to this CE."""
    if ce_domain.dmr is not None:
        return packets.ipv6(data, protocol, SERVER6, MAP_ADDRESS, **header)  # type: ignore[arg-type]
    inner = packets.ipv4(data, protocol, SERVER, PUBLIC)
    return packets.ipv6(inner, packets.IPV4, BR, MAP_ADDRESS, **header)  # type: ignore[arg-type]


def udp_from_server(ce_domain: Domain, port: int = PORT, **header: object) -> bytes:
    source, destination = (SERVER6, MAP_ADDRESS) if ce_domain.dmr is not None else (SERVER, PUBLIC)
    data = packets.udp(source, destination, 53, port, b"answer")
    return from_br(ce_domain, data, packets.UDP, **header)


DOWNSTREAM: dict[str, tuple[Reason, Callable[[Domain], bytes]]] = {
    "arp": (Reason.NOT_IPV6, lambda d: b"\x00\x01\x08\x00\x06\x04\x00\x01" + bytes(20)),
    "native ipv4": (Reason.NOT_IPV6, lambda d: upstream()),
    "to another address": (
        Reason.NOT_MAP_ADDRESS,
        lambda d: packets.ipv6(b"x" * 20, packets.UDP, SERVER6, MAP_ADDRESS + 1),
    ),
    "neighbour solicitation": (
        Reason.NOT_MAP_ADDRESS,
        lambda d: packets.ipv6(
            b"\x87" + bytes(23),
            packets.ICMPV6,
            IPv6Address("fe80::1"),
            IPv6Address("ff02::1:ff00:34"),
        ),
    ),
    "payload length 0": (
        Reason.MALFORMED_IPV6,
        lambda d: udp_from_server(d, payload_length=0),
    ),
    "payload length beyond packet": (
        Reason.MALFORMED_IPV6,
        lambda d: udp_from_server(d, payload_length=1000),
    ),
    "port of another ce": (Reason.PORT_OUTSIDE_SET, lambda d: udp_from_server(d, FOREIGN_PORT)),
    "excluded port": (Reason.PORT_OUTSIDE_SET, lambda d: udp_from_server(d, 52)),
    "unused port": (Reason.NO_MAPPING, lambda d: udp_from_server(d)),
}


@pytest.mark.parametrize("name", DOWNSTREAM)
def test_downstream(name: str, ce: LoadedCe) -> None:
    expected, packet = DOWNSTREAM[name]
    assert note(ce.from_wan(packet(ce.domain)).reason) is expected


def test_wrong_version_under_the_ethertype_of_ipv6(ce: LoadedCe) -> None:
    packet = b"\x50" + udp_from_server(ce.domain)[1:]
    assert note(ce.from_wan(packet, ether_type=0x86DD).reason) is Reason.IPV6_HEADER_CUT


TRANSLATED_ONLY: dict[str, tuple[Reason, bytes]] = {
    "from outside the dmr": (
        Reason.SOURCE_OUTSIDE_DOMAIN,
        packets.ipv6(packets.udp(OTHER6, MAP_ADDRESS, 1, PORT), packets.UDP, OTHER6, MAP_ADDRESS),
    ),
    "router's icmpv6 error": (
        Reason.ICMP_CHECKSUM,
        packets.ipv6(b"\x02" + bytes(47), packets.ICMPV6, OTHER6, MAP_ADDRESS),
    ),
    "icmpv6 error from the dmr": (
        Reason.ICMP_CHECKSUM,
        packets.ipv6(b"\x02" + bytes(47), packets.ICMPV6, SERVER6, MAP_ADDRESS),
    ),
    "half an icmpv6 error": (
        Reason.SOURCE_OUTSIDE_DOMAIN,
        packets.ipv6(b"\x02" + bytes(6), packets.ICMPV6, OTHER6, MAP_ADDRESS),
    ),
    "neighbour solicitation from a router": (
        Reason.SOURCE_OUTSIDE_DOMAIN,
        packets.ipv6(b"\x87" + bytes(23), packets.ICMPV6, OTHER6, MAP_ADDRESS),
    ),
    "neighbour solicitation from the dmr": (
        Reason.ICMP_NOT_CARRIED,
        packets.ipv6(b"\x87" + bytes(23), packets.ICMPV6, SERVER6, MAP_ADDRESS),
    ),
    "icmp in ipv6": (
        Reason.PROTOCOL_WITHOUT_PORTS,
        packets.ipv6(packets.echo(PORT), packets.ICMP, SERVER6, MAP_ADDRESS),
    ),
    "ipv4 in ipv6": (
        Reason.PROTOCOL_WITHOUT_PORTS,
        packets.ipv6(upstream(), packets.IPV4, SERVER6, MAP_ADDRESS),
    ),
    "fragment of no use": (
        Reason.FRAGMENT_INVALID,
        packets.ipv6(b"\x11\0\0\1" + bytes(39), 44, SERVER6, MAP_ADDRESS),
    ),
    "later fragment": (
        Reason.FRAGMENT_KEPT,
        packets.ipv6(b"\x11\0\0\x09" + bytes(36), 44, SERVER6, MAP_ADDRESS),
    ),
    "extension header behind the fragment header": (
        Reason.EXTENSION_HEADER,
        packets.ipv6(b"\x3c\0\0\x09" + bytes(36), 44, SERVER6, MAP_ADDRESS),
    ),
    "hop-by-hop": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv6(b"\x11" + bytes(39), 0, SERVER6, MAP_ADDRESS),
    ),
    "routing header": (
        Reason.ROUTING_HEADER,
        packets.ipv6(b"\x11\x00\x00\x01" + bytes(36), 43, SERVER6, MAP_ADDRESS),
    ),
    "authentication header": (
        Reason.EXTENSION_HEADER,
        packets.ipv6(b"\x11" + bytes(39), 51, SERVER6, MAP_ADDRESS),
    ),
    "tcp cut": (
        Reason.MALFORMED_TRANSPORT,
        packets.ipv6(bytes(19), packets.TCP, SERVER6, MAP_ADDRESS),
    ),
}


@pytest.mark.parametrize("name", TRANSLATED_ONLY)
def test_downstream_translated(name: str, loaded_ces: LoadedCes) -> None:
    expected, packet = TRANSLATED_ONLY[name]
    assert note(loaded_ces.example("map-t").from_wan(packet).reason) is expected


def tunnelled(inner: bytes, **header: object) -> bytes:
    return packets.ipv6(inner, packets.IPV4, BR, MAP_ADDRESS, **header)  # type: ignore[arg-type]


def inner(**header: object) -> bytes:
    """A UDP packet from the server to this CE; ``header`` are fields of its IPv4 header."""
    data = packets.udp(SERVER, PUBLIC, 53, PORT, b"answer")
    return packets.ipv4(data, packets.UDP, **{"source": SERVER, "destination": PUBLIC} | header)  # type: ignore[arg-type]


ENCAPSULATED_ONLY: dict[str, tuple[Reason, bytes]] = {
    "from another than the br": (
        Reason.TUNNEL_SOURCE,
        packets.ipv6(inner(), packets.IPV4, OTHER6, MAP_ADDRESS),
    ),
    "icmpv6 to the map address": (
        Reason.NOT_ENCAPSULATED,
        packets.ipv6(b"\x80" + bytes(7), packets.ICMPV6, OTHER6, MAP_ADDRESS),
    ),
    "icmpv6 from the br": (
        Reason.ICMP_CHECKSUM,
        packets.ipv6(b"\x01" + bytes(47), packets.ICMPV6, BR, MAP_ADDRESS),
    ),
    "half an icmpv6 error": (
        Reason.NOT_ENCAPSULATED,
        packets.ipv6(b"\x01" + bytes(6), packets.ICMPV6, BR, MAP_ADDRESS),
    ),
    "fragment from elsewhere": (
        Reason.NOT_ENCAPSULATED,
        packets.ipv6(b"\x04" + bytes(39), 44, OTHER6, MAP_ADDRESS),
    ),
    "outer fragment of no use": (
        Reason.FRAGMENT_INVALID,
        packets.ipv6(b"\x04\0\0\1" + bytes(39), 44, BR, MAP_ADDRESS),
    ),
    "outer fragment": (
        Reason.FRAGMENT_KEPT,
        packets.ipv6(b"\x04\0\0\1" + bytes(36), 44, BR, MAP_ADDRESS),
    ),
    "fragment of no ipv4": (
        Reason.NOT_ENCAPSULATED,
        packets.ipv6(b"\x11\0\0\1" + bytes(36), 44, BR, MAP_ADDRESS),
    ),
    "encapsulation limit": (
        Reason.NO_MAPPING,
        packets.ipv6(bytes.fromhex("0400040104010100") + inner(), 60, BR, MAP_ADDRESS),
    ),
    "routing header": (
        Reason.ROUTING_HEADER,
        packets.ipv6(b"\x04\x00\x00\x01" + bytes(4) + inner(), 43, BR, MAP_ADDRESS),
    ),
    "inner destination": (
        Reason.INNER_DESTINATION,
        tunnelled(inner(destination="192.0.2.19")),
    ),
    "inner header cut": (Reason.MALFORMED_IPV4, tunnelled(inner()[:19])),
    "inner version 6": (Reason.MALFORMED_IPV4, tunnelled(b"\x65" + inner()[1:])),
    "inner length beyond the outer": (Reason.MALFORMED_IPV4, tunnelled(inner(total_length=200))),
    "inner fragment of no use": (Reason.FRAGMENT_INVALID, tunnelled(inner(fragment=0x2000))),
    "inner fragment": (Reason.FRAGMENT_KEPT, tunnelled(inner(fragment=0x0010))),
    "inner icmp redirect": (
        Reason.ICMP_NOT_CARRIED,
        tunnelled(packets.ipv4(b"\x05" + bytes(35), packets.ICMP, SERVER, PUBLIC)),
    ),
    "inner icmp error": (
        Reason.ICMP_CHECKSUM,
        tunnelled(packets.ipv4(b"\x0b" + bytes(35), packets.ICMP, SERVER, PUBLIC)),
    ),
    "congestion mark on not-ect": (
        Reason.CONGESTION_MARK_LOST,
        tunnelled(inner(), traffic_class=3),
    ),
}


@pytest.mark.parametrize("name", ENCAPSULATED_ONLY)
def test_downstream_encapsulated(name: str, loaded_ces: LoadedCes) -> None:
    expected, packet = ENCAPSULATED_ONLY[name]
    assert note(loaded_ces.example("map-e").from_wan(packet).reason) is expected


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", PUBLIC])
def test_martians_from_the_wan(source: str, ce: LoadedCe) -> None:
    """Nor may anybody else have this CE's address and a port of its set."""
    sent = send(ce, port=PORT)
    assert port_given(sent) == PORT
    assert note(receive(ce, PORT, remote=source, remote_port=PORT).reason) is Reason.SOURCE_MARTIAN


def test_another_ce_of_the_same_address_is_a_remote(ce: LoadedCe) -> None:
    send(ce, port=PORT, remote=PUBLIC, remote_port=FOREIGN_PORT)
    answer = receive(ce, PORT, remote=PUBLIC, remote_port=FOREIGN_PORT)
    assert note(answer.reason) is Reason.TRANSLATED


def test_filtered(ce: LoadedCe) -> None:
    send(ce, port=PORT)
    assert note(receive(ce, PORT).reason) is Reason.TRANSLATED
    assert note(receive(ce, PORT, remote="203.0.113.9").reason) is Reason.FILTERED


def test_icmp_errors(ce: LoadedCe) -> None:
    (left,) = send(ce, port=PORT).packets
    refused = errors.from_wan(ce.domain, (1, 5), left, source=BR)
    assert note(ce.from_wan(refused).reason) is Reason.BR_REFUSED
    exceeded = errors.from_wan(ce.domain, (3, 0), left)
    assert note(ce.from_wan(exceeded).reason) is Reason.TRANSLATED
    assert ce.events()[note(Reason.ICMP_ERROR_CARRIED)] == 1


def test_hairpinned(ce: LoadedCe) -> None:
    send(ce, port=PORT)
    send(ce, port=PORT, remote=PUBLIC, remote_port=PORT + 1)
    sent = send(ce, host="192.168.1.3", port=PORT + 1, remote=PUBLIC, remote_port=PORT)
    assert note(sent.reason) is Reason.HAIRPINNED


def test_the_middle_of_a_connection(ce: LoadedCe) -> None:
    ce.reset(policy=policy(pick_up=False))
    assert note(send(ce, "tcp", flags=packets.ACK).reason) is Reason.TCP_NOT_OPENING
    answer_to_nothing = packets.SYN | packets.ACK
    assert send(ce, "tcp", flags=answer_to_nothing).reason is Reason.TCP_NOT_OPENING
    assert send(ce, "tcp", flags=packets.SYN).reason is Reason.TRANSLATED
    assert send(ce, "tcp", flags=packets.ACK).reason is Reason.TRANSLATED


def test_expired_mapping(ce: LoadedCe) -> None:
    send(ce, port=PORT)
    assert note(receive(ce, PORT).reason) is Reason.TRANSLATED
    ce.advance(10_000)
    assert note(receive(ce, PORT).reason) is Reason.MAPPING_EXPIRED


def test_exhaustion_reclaim_and_revival(ce: LoadedCe) -> None:
    ce.reset(policy=strict())
    ports = len(ce.domain.port_set)

    def begin(number: int) -> Reason:
        return note(send(ce, port=10_000 + number).reason)

    assert {begin(number) for number in range(ports)} == {Reason.TRANSLATED}
    assert begin(ports) is Reason.PORTS_EXHAUSTED
    ce.advance(10_000)
    assert begin(0) is Reason.TRANSLATED
    assert begin(ports) is Reason.TRANSLATED
    assert ce.events() == {
        Reason.MAPPING_CREATED: ports + 1,
        Reason.MAPPING_REVIVED: 1,
        Reason.MAPPING_RECLAIMED: 1,
        Reason.REFUSAL_SENT: 1,
    }
    for event in ce.events():
        note(event)


def test_a_flow_begins_and_ends(ce: LoadedCe) -> None:
    ce.reset(policy=shared())
    assert note(send(ce).reason) is Reason.TRANSLATED
    assert ce.events() == {Reason.FLOW_CREATED: 1, Reason.PORT_SHARED: 1}
    ce.advance(10_000)
    assert ce.events() == {
        Reason.FLOW_CREATED: 1,
        Reason.PORT_SHARED: 1,
        Reason.FLOW_RELEASED: 1,
        Reason.PORT_UNSHARED: 1,
    }
    for event in ce.events():
        note(event)


def test_host_limit(ce: LoadedCe) -> None:
    ce.reset(policy=strict(host_ports_max=2))
    assert [note(send(ce, port=port).reason) for port in (1, 2, 3)] == [
        Reason.TRANSLATED,
        Reason.TRANSLATED,
        Reason.HOST_LIMIT,
    ]


def test_early_reclaim(ce: LoadedCe) -> None:
    ce.reset(policy=strict(early_reclaim=True))
    for number in range(len(ce.domain.port_set)):
        send(ce, "tcp", port=10_000 + number)
    send(ce, "tcp", port=10_000, flags=packets.RST)
    ce.advance(62)
    assert send(ce, "tcp", port=9_999).reason is Reason.TRANSLATED
    assert ce.events()[note(Reason.EARLY_RECLAIMED)] == 1


def test_fragments(ce: LoadedCe, trial_link: TrialLink) -> None:
    """Kept, cut, put together, too many, and forgotten."""
    ce.reset(lowest_ipv6_mtu=1280)
    ce.link = trial_link
    cut, length = fragments.from_lan("udp", bytes(2000))
    first, last = fragments.parts_of(length, 1456)
    assert note(ce.from_lan(cut(last)).reason) is Reason.FRAGMENT_KEPT
    assert note(ce.from_lan(cut(first)).reason) is Reason.TRANSLATED
    for number in range(64):
        ce.from_lan(fragments.from_lan("udp", bytes(2000), 1, number)[0](last))
    assert note(ce.from_lan(cut(last)).reason) is Reason.FRAGMENTS_FULL
    ce.advance(16)
    assert ce.from_lan(cut(first)).reason is Reason.TRANSLATED
    assert ce.from_lan(fragments.ipv4_cut(bytes(2000), 1)(last)).reason is Reason.FRAGMENT_KEPT
    if not ce.domain.mode.translates:
        first = fragments.parts_of(length, 1480)[0]
        assert ce.from_lan(cut(first)).reason is Reason.TRANSLATED
    for event in (
        Reason.DATAGRAM_REASSEMBLED,
        Reason.DATAGRAM_FRAGMENTED,
        Reason.FRAGMENTS_EXPIRED,
    ):
        assert ce.events()[note(event)] >= 1


def test_log_lost(ce: LoadedCe) -> None:
    """Nobody reads the ring; besides, there are only so many events in a tick."""
    ce.reset(policy=strict(log=LogLevel.MAPPINGS))
    for number in range(201):
        send(ce, port=10_000 + number)
    assert ce.events()[note(Reason.LOG_LOST)] >= 1


def test_mss_clamped(ce: LoadedCe) -> None:
    options = bytes([2, 4, 0x05, 0xB4])
    data = packets.tcp(HOST, SERVER, 1, 2, flags=packets.SYN, options=options)
    assert ce.from_lan(packets.ipv4(data, packets.TCP)).reason is Reason.TRANSLATED
    assert ce.events()[note(Reason.MSS_CLAMPED)] == 1


@pytest.mark.parametrize("hook", [AcceleratorHook.TC, AcceleratorHook.XDP])
def test_accelerated(hook: AcceleratorHook) -> None:
    """From the second answer on the way down, from the third question on the way up."""
    with AcceleratedCe(domain("map-t"), hook) as ce:
        first = send(ce)
        taken = []
        for _ in range(3):
            assert receive(ce, port_given(first)).reason is Reason.TRANSLATED
            assert send(ce).reason is Reason.TRANSLATED
            taken.append(ce.taken)
        assert taken == [0, 1, 3]
        counted = LoadedCe.events(ce)
        assert counted[note(Reason.ACCELERATED)] == ce.taken


def test_index_full() -> None:
    with LoadedCe(domain("map-t"), EIM_ENTRIES=1) as ce:
        assert send(ce, port=1).reason is Reason.TRANSLATED
        assert note(send(ce, port=2).reason) is Reason.MAPPING_INDEX_FULL
        assert inconsistencies(ce.maps, ce.domain) == []


def test_flows_full_and_their_index() -> None:
    """The index has room for both ends of each flow; strangers in it leave room for fewer."""
    with LoadedCe(domain("map-t"), FLOWS=64) as ce:
        ce.reset(policy=shared(host_flows_max=1000))
        fd, size = ce.maps.fds["flow_index"], ce.maps.spec("flow_index").key_size
        for room in (0, 1):
            strangers = [number.to_bytes(size, sys.byteorder) for number in range(128 - room)]
            for key in strangers:
                libbpf.update(fd, key, bytes(8))
            assert note(send(ce).reason) is Reason.MAPPING_INDEX_FULL
            for key in strangers:
                libbpf.delete(fd, key)
            assert inconsistencies(ce.maps, ce.domain) == []
        assert {send(ce, port=port).reason for port in range(1, 65)} == {Reason.TRANSLATED}
        assert note(send(ce, port=65).reason) is Reason.FLOWS_FULL
        assert send(ce, port=64).reason is Reason.TRANSLATED
        assert inconsistencies(ce.maps, ce.domain) == []


def test_allocation_contended(ce: LoadedCe) -> None:
    """A bitmap that says free where slots are taken makes each claim lose, as a race would."""
    ce.occupy_all_slots_behind_the_bitmap()
    assert note(send(ce).reason) is Reason.ALLOCATION_CONTENDED
    assert ce.events()[note(Reason.ALLOCATION_RETRIED)] > 4


def test_program_missing() -> None:
    with LoadedCe(domain("map-e")) as ce:
        for program, remote_port in {"PROGRAM_ALLOCATE": HIGH, "PROGRAM_SHARE": 53}.items():
            number = ce.maps.contract.number(program)
            libbpf.delete(ce.maps.fds["programs"], number.to_bytes(4, sys.byteorder))
            assert note(send(ce, remote_port=remote_port).reason) is Reason.PROGRAM_MISSING


def test_kernel_refused(loaded_ces: LoadedCes) -> None:
    """The kernel does not grow a segmented packet whose kind of segments it does not know."""
    ce = loaded_ces.example("map-e")
    packet = packets.ipv4(packets.udp(HOST, SERVER, 1, 2, bytes(300)), packets.UDP)
    outcome = ce.from_lan(packet, gso_size=100, gso_segs=3)
    assert note(outcome.reason) is Reason.KERNEL_REFUSED


#: BPF_PROG_TEST_RUN gives no tags: this program does, before it hands the packet on.
TAGGING = """
#include "portable.h"
#include "byteorder.h"
HELPER(long, vlan_push, BPF_FUNC_skb_vlan_push, void *skb, __be16 protocol, __u16 tci);

PROGRAM int tag(struct __sk_buff *skb)
{
	vlan_push(skb, net16(0x8100), skb->mark);
	kernel_tail_call(skb, MAP(tagged), skb->priority);
	return TC_ACT_SHOT;
}
"""
TAGGED = MapSpec("tagged", "PROG_ARRAY", "__u32", 4, "", 4, 2, 0)


@pytest.mark.parametrize(
    ("tag", "upward", "downward"),
    [
        (0x2007, Reason.VLAN_TAGGED, Reason.VLAN_TAGGED),
        (0x0FFF, Reason.VLAN_TAGGED, Reason.VLAN_TAGGED),
        (0x2000, Reason.TRANSLATED, Reason.NO_MAPPING),
    ],
    ids=["vlan 7", "vlan 4095", "a priority alone"],
)
def test_frames_of_a_vlan(tag: int, upward: Reason, downward: Reason, ce: LoadedCe) -> None:
    """They are of an interface on top of the WAN; a priority tag, VLAN 0, makes no VLAN."""
    tagged = libbpf.create_map(TAGGED)
    fds = ce.maps.fds | {"tagged": tagged}
    bytecode = compile_text(TAGGING, ["tag"], ce.maps.contract, 14, fds)
    program = libbpf.load_program("tag", bytecode["tag"]).fd
    try:
        for number, target in enumerate((ce.programs.upstream.fd, ce.programs.downstream.fd)):
            key, value = number.to_bytes(4, sys.byteorder), target.to_bytes(4, sys.byteorder)
            libbpf.update(tagged, key, value)
        up = ce.through(program, "DIRECTION_46", upstream(), mark=tag, priority=0)
        down = udp_from_server(ce.domain)
        assert note(up.reason) is upward
        assert ce.through(program, "DIRECTION_64", down, mark=tag, priority=1).reason is downward
    finally:
        os.close(program)
        os.close(tagged)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_source_of_another_port(mode: str, loaded_ces: LoadedCes) -> None:
    """The peer 192.0.2.33 of PSID 0x34, and a port of PSID 0x35."""
    ce = loaded_ces.get(domain(mode, replace(EXAMPLE_RULE, forwarding=True)))
    peer = ce.domain.destination_ipv6(IPv4Address("192.0.2.33"), PORT)
    if mode == "map-t":
        data = packets.udp(peer, MAP_ADDRESS, FOREIGN_PORT, PORT)
        packet = packets.ipv6(data, packets.UDP, peer, MAP_ADDRESS)
    else:
        data = packets.udp("192.0.2.33", PUBLIC, FOREIGN_PORT, PORT)
        inner = packets.ipv4(data, packets.UDP, "192.0.2.33", PUBLIC)
        packet = packets.ipv6(inner, packets.IPV4, peer, MAP_ADDRESS)
    assert note(ce.from_wan(packet).reason) is Reason.SOURCE_INCONSISTENT


def test_netfilter_chose_no_port_of_the_set(ce: LoadedCe) -> None:
    ce.reset(napt44=Napt44Kind.NETFILTER)
    public = str(ce.domain.ipv4_address)
    data = packets.udp(public, packets.SERVER, 1000, 5000)
    outcome = ce.from_lan(packets.ipv4(data, packets.UDP, public))
    assert note(outcome.reason) is Reason.VIRTUAL_PORT


def test_the_whole_list_was_produced() -> None:
    """Runs last; on its own it has nothing to say."""
    if not _produced:
        pytest.fail("run the whole file: this test looks at what the others saw")
    missing = {reason.name for reason in Reason if reason not in _produced}
    assert not missing
    assert {reason.reason_class for reason in _produced} == set(ReasonClass)
