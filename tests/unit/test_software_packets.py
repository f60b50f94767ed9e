# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the software path, the oracle of the others, make the packets that scapy would make?

Packets are built by scapy; what leaves is compared with what scapy builds from the fields it
should have. Nothing is compared with code of this program.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    assert_sound,
    from_host,
    from_server,
    new_ce,
    sole,
)

from harness.domains import BR, EXAMPLE_RULE, domain
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason
from mapxdp.software.ce import CeSettings, CustomerEdge, new_napt44
from mapxdp.software.encapsulation import TUNNEL_HOP_LIMIT

HOST_PORT = 40000
MakeTransport = Callable[[int, int], Packet]
ECHO_46 = {"echo-request": ICMPv6EchoRequest, "echo-reply": ICMPv6EchoReply}


def tcp(source: int, destination: int) -> Packet:
    return TCP(sport=source, dport=destination, seq=7, ack=9, flags="PA", window=99) / b"GET /"


def tcp_of_odd_length(source: int, destination: int) -> Packet:
    return TCP(sport=source, dport=destination, flags="A") / b"odd"


def tcp_with_options(source: int, destination: int) -> Packet:
    return TCP(sport=source, dport=destination, flags="S", options=[("Timestamp", (1, 2))])


def udp(source: int, destination: int) -> Packet:
    return UDP(sport=source, dport=destination) / b"query"


def udp_empty(source: int, destination: int) -> Packet:
    return UDP(sport=source, dport=destination)


PORTED = [tcp, tcp_of_odd_length, tcp_with_options, udp, udp_empty]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transport", PORTED)
def test_tcp_and_udp_from_the_lan(mode: Mode, transport: MakeTransport) -> None:
    fields = {"ttl": 63, "tos": 0xB9, "id": 0x1234, "flags": "DF"}
    sent = from_host(transport(HOST_PORT, 443), **fields)
    if mode.translates:
        expected = IPv6(src=OWN_IPV6, dst=SERVER_IPV6, hlim=63, tc=0xB9) / transport(PORT, 443)
    else:
        inner = IP(src=OWN_IPV4, dst=SERVER, **fields) / transport(PORT, 443)
        expected = IPv6(src=OWN_IPV6, dst=str(BR), hlim=TUNNEL_HOP_LIMIT, tc=0xB9) / inner
    assert sole(new_ce(mode).from_lan(bytes(sent))).hex() == bytes(expected).hex()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transport", PORTED)
def test_tcp_and_udp_from_the_wan(mode: Mode, transport: MakeTransport) -> None:
    ce = new_ce(mode)
    sole(ce.from_lan(bytes(from_host(transport(HOST_PORT, 443)))))
    arriving = from_server(mode, transport(443, PORT), hlim=60, tc=0xB8)
    packet = sole(ce.from_wan(bytes(arriving)))
    tos, identification = (0xB8, IP(packet).id) if mode.translates else (0, 0x4321)
    expected = IP(src=SERVER, dst=HOST, ttl=60, tos=tos, id=identification) / transport(
        443, HOST_PORT
    )
    assert packet.hex() == bytes(expected).hex()


def begin(ce: CustomerEdge) -> None:
    """A request, without which an answer would have no mapping."""
    sole(ce.from_lan(bytes(from_host(ICMP(id=HOST_PORT)))))


@pytest.mark.parametrize("kind", ECHO_46)
def test_echo_through_a_translator(kind: str) -> None:
    ce = new_ce(Mode.MAP_T)
    begin(ce)
    packet = sole(ce.from_lan(bytes(from_host(ICMP(type=kind, id=HOST_PORT, seq=3) / b"ping!"))))
    echo6 = ECHO_46[kind](id=PORT, seq=3, data=b"ping!")
    assert packet.hex() == bytes(IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / echo6).hex()
    packet = sole(ce.from_wan(bytes(from_server(Mode.MAP_T, echo6))))
    echo4 = ICMP(type=kind, id=HOST_PORT, seq=3) / b"ping!"
    assert packet.hex() == bytes(IP(src=SERVER, dst=HOST, id=IP(packet).id) / echo4).hex()


@pytest.mark.parametrize("kind", ECHO_46)
def test_echo_through_a_tunnel(kind: str) -> None:
    ce = new_ce(Mode.MAP_E)
    begin(ce)
    packet = sole(ce.from_lan(bytes(from_host(ICMP(type=kind, id=HOST_PORT, seq=3) / b"ping!"))))
    outside = ICMP(type=kind, id=PORT, seq=3) / b"ping!"
    inner = IP(src=OWN_IPV4, dst=SERVER) / outside
    assert packet.hex() == bytes(IPv6(src=OWN_IPV6, dst=str(BR)) / inner).hex()
    packet = sole(ce.from_wan(bytes(from_server(Mode.MAP_E, outside))))
    echo4 = ICMP(type=kind, id=HOST_PORT, seq=3) / b"ping!"
    assert packet.hex() == bytes(IP(src=SERVER, dst=HOST, ttl=60, id=0x4321) / echo4).hex()


def test_lw4o6_is_map_e_with_another_rule() -> None:
    rule = MappingRule(EXAMPLE_RULE.ipv6, IPv4Network(OWN_IPV4), 0, 0, psid_length=8, psid=0x34)
    prefix = domain(Mode.MAP_E).end_user_prefix
    ce = new_ce(Domain(Mode.LW4O6, prefix, (rule,), br=BR))
    packet = sole(ce.from_lan(bytes(from_host(udp(HOST_PORT, 53)))))
    inner = IP(src=OWN_IPV4, dst=SERVER) / udp(0x3400, 53)
    assert packet.hex() == bytes(IPv6(src=OWN_IPV6, dst=str(BR)) / inner).hex()


def test_identification_differs_from_packet_to_packet() -> None:
    ce = new_ce(Mode.MAP_T, nat=False)
    packet = bytes(from_server(Mode.MAP_T, udp(53, PORT)))
    assert len({IP(sole(ce.from_wan(packet))).id for _ in range(50)}) > 10


@pytest.mark.parametrize(("length", "flags"), [(28, ""), (1260, ""), (1261, "DF"), (1460, "DF")])
def test_dont_fragment_says_that_the_sender_knows_the_path(length: int, flags: str) -> None:
    arriving = from_server(Mode.MAP_T, UDP(sport=53, dport=PORT) / bytes(length - 28))
    packet = sole(new_ce(Mode.MAP_T, nat=False).from_wan(bytes(arriving)))
    assert (len(packet), IP(packet).flags) == (length, flags)
    assert_sound(packet)


@pytest.mark.parametrize("flags", ["", "DF", "evil", "evil+DF"])
def test_a_tunnel_leaves_the_inner_packet_alone(flags: str) -> None:
    ce = new_ce(Mode.MAP_E, nat=False)
    sent = IP(src=OWN_IPV4, dst=SERVER, flags=flags, id=77, ttl=3) / udp(PORT, 53)
    assert sole(ce.from_lan(bytes(sent)))[40:].hex() == bytes(sent).hex()
    arriving = IP(src=SERVER, dst=OWN_IPV4, flags=flags, id=78, ttl=4) / udp(53, PORT)
    outer = IPv6(src=str(BR), dst=OWN_IPV6) / arriving
    assert sole(ce.from_wan(bytes(outer))).hex() == bytes(arriving).hex()


@pytest.mark.parametrize(
    ("inner", "outer", "leaving"), [(0xB8, 0x20, 0xB8), (0x02, 0x03, 0x03), (0xBA, 0x01, 0xB9)]
)
def test_only_the_congestion_mark_leaves_the_outer_header(
    inner: int, outer: int, leaving: int
) -> None:
    arriving = from_server(Mode.MAP_E, udp(53, PORT), tc=outer)
    arriving[IP].tos = inner
    packet = sole(new_ce(Mode.MAP_E, nat=False).from_wan(bytes(arriving)))
    assert IP(packet).tos == leaving
    assert_sound(packet)


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_is_used_as_it_is(mode: Mode) -> None:
    """RFC 7597 section 5.2: the hosts of an assigned prefix share the CE's MAP address.

    In MAP-T each has one under it, which says who it is.
    """
    ce_domain = domain(mode, MappingRule(EXAMPLE_RULE.ipv6, IPv4Network("192.0.0.0/16"), 8))
    ce = new_ce(ce_domain, nat=False)
    own = "2001:db8:12:3400:0:c000:124d:0" if mode.translates else str(ce_domain.map_address)
    sent = IP(src="192.0.18.77", dst=SERVER) / udp(80, 53)
    packet = IPv6(sole(ce.from_lan(bytes(sent))))
    assert (packet.src, packet[UDP].sport) == (own, 80)
    if mode.translates:
        answer = IPv6(src=SERVER_IPV6, dst=own) / udp(53, 80)
        back = IP(sole(ce.from_wan(bytes(answer))))
        assert (back.src, back.dst, back[UDP].dport) == (SERVER, "192.0.18.77", 80)
    else:
        back = IP(src=SERVER, dst="192.0.18.77") / udp(53, 80)
        outer = IPv6(src=str(BR), dst=own) / back
        assert sole(ce.from_wan(bytes(outer))).hex() == bytes(back).hex()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transport", [tcp, udp])
def test_octets_after_the_packet_are_left_out(mode: Mode, transport: MakeTransport) -> None:
    ce = new_ce(mode)
    sent = bytes(from_host(transport(HOST_PORT, 443)))
    assert sole(ce.from_lan(sent + b"padding")).hex() == sole(ce.from_lan(sent)).hex()
    arriving = bytes(from_server(mode, transport(443, PORT)))
    padded, bare = sole(ce.from_wan(arriving + b"padding")), sole(ce.from_wan(arriving))
    assert padded[:4] + padded[20:] == bare[:4] + bare[20:]  # but for the Identification


def test_octets_after_the_inner_packet_are_left_out() -> None:
    inner = bytes(from_server(Mode.MAP_E, udp(53, PORT))[IP])
    outer = bytes(IPv6(src=str(BR), dst=OWN_IPV6, nh=4) / (inner + b"padding"))
    assert IPv6(outer).plen == len(inner) + 7
    assert sole(new_ce(Mode.MAP_E, nat=False).from_wan(outer)) == inner


@pytest.mark.parametrize("mode", MODES)
def test_octets_after_the_datagram_are_kept(mode: Mode) -> None:
    """UDP's length may be less than IP's; what follows is part of the packet all the same."""
    sent = from_host(UDP(sport=HOST_PORT, dport=53, len=9) / b"abc")
    packet = IPv6(sole(new_ce(mode).from_lan(bytes(sent))))
    assert packet[UDP].len == 9
    assert bytes(packet).endswith(b"abc")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("length", "padding", "fits"), [(1460, 0, True), (1460, 40, True), (1461, 0, False)]
)
def test_what_does_not_fit_is_refused(mode: Mode, length: int, padding: int, fits: bool) -> None:
    udp = UDP(sport=1, dport=2) / bytes(length - 28)
    sent = bytes(from_host(udp, flags="DF")) + bytes(padding)
    outcome = new_ce(mode, mtu=1460).from_lan(sent)
    assert outcome.reason is (Reason.TRANSLATED if fits else Reason.TOO_BIG)
    assert [len(packet) for packet in outcome.packets] == [length + mode.overhead] * fits


def test_a_ce_that_is_given_no_table_makes_one() -> None:
    ce_domain = domain(Mode.MAP_T)
    ce = CustomerEdge(ce_domain, CeSettings(1460, None))
    packet = IPv6(sole(ce.from_lan(bytes(from_host(udp(HOST_PORT, 53))))))
    assert packet[UDP].sport in ce_domain.port_set
    other = CustomerEdge(ce_domain, CeSettings(1460, None), new_napt44(ce_domain, Napt44Policy()))
    assert other.napt44 is not ce.napt44
