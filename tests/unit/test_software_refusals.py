# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is every packet the software path cannot handle refused, for the right reason?

The last test reads the sources: no reason may be in them that no case here produces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest
import test_software_carried_errors
import test_software_fragments
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet
from scapy_tools import (
    EACH_ITS_OWN,
    HOST,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SECOND_PORT,
    SERVER,
    SERVER_IPV6,
    Clock,
    from_host,
    from_server,
    new_ce,
    sole,
)

from harness.domains import BR, EXAMPLE_RULE, domain
from mapxdp import software
from mapxdp.model import rfc6052
from mapxdp.model.domain import Mode
from mapxdp.model.napt44 import MappingPolicy
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.verdict import Outcome

SYN = TCP(sport=40000, dport=80, flags="S")
QUERY = UDP(sport=40000, dport=53) / b"query"
REPLY = UDP(sport=53, dport=PORT) / b"reply"


#: Packets by the reason they are refused for, and by name.
Cases = dict[Reason, dict[str, Packet | bytes]]


def cut(packet: Packet, length: int) -> bytes:
    """The first octets of a packet whose lengths still say more."""
    return bytes(packet)[:length]


def changed(packet: Packet, at: int, value: int) -> bytes:
    """The packet with another octet at one place."""
    data = bytearray(bytes(packet))
    data[at] = value
    return bytes(data)


def in_ipv6(data: bytes, next_header: int) -> bytes:
    """Octets in an IPv6 packet from the server whose lengths are right."""
    return bytes(IPv6(src=SERVER_IPV6, dst=OWN_IPV6, nh=next_header) / data)


def in_tunnel(inner: Packet | bytes, next_header: int = 4, source: str = str(BR)) -> bytes:
    """Octets in an IPv6 packet from the BR."""
    return bytes(IPv6(src=source, dst=OWN_IPV6, nh=next_header) / bytes(inner))


def nine_headers(data: bytes) -> bytes:
    """Destination Options, one more of them than is skipped."""
    return bytes([60, *bytes(7)]) * 8 + bytes([4, *bytes(7)]) + data


def to(destination: str) -> IP:
    return IP(src=HOST, dst=destination) / QUERY


def in_dmr(address: str) -> str:
    """An IPv4 address as MAP-T shows it behind the BR."""
    dmr = domain(Mode.MAP_T).dmr
    assert dmr is not None
    return str(rfc6052.embed(dmr, IPv4Address(address)))


#: Sources no packet can have, whichever way it goes.
MARTIANS = [
    ("this network", "0.0.0.0"),
    ("loopback", "127.255.255.255"),
    ("link-local", "169.254.1.1"),
    ("multicast", "224.0.0.1"),
    ("class E", "240.0.0.1"),
    ("broadcast", "255.255.255.255"),
]


TCP_HEADER = bytes(TCP(sport=40000, dport=80, chksum=1))

#: Octets of a transport protocol, and the number of that protocol.
Transports = dict[Reason, dict[str, tuple[bytes, int]]]

TRANSPORT: Transports = {
    Reason.MALFORMED_TRANSPORT: {
        "TCP of 19 octets": (TCP_HEADER[:19], 6),
        "TCP of one octet": (b"\0", 6),
        "TCP offset 4": (changed(TCP(chksum=1), 12, 4 << 4), 6),
        "TCP offset past the end": (changed(TCP(chksum=1), 12, 6 << 4), 6),
        "UDP of 7 octets": (bytes(UDP(len=8, chksum=1))[:7], 17),
        "UDP length 7": (bytes(UDP(len=7, chksum=1)), 17),
        "UDP length past the end": (bytes(UDP(len=9, chksum=1)), 17),
    },
    Reason.PROTOCOL_WITHOUT_PORTS: {
        "GRE": (bytes(20), 47),
        "ESP": (bytes(20), 50),
        "no next header": (bytes(20), 59),
        "SCTP": (bytes(20), 132),
    },
}
ICMPV4: Transports = {
    Reason.MALFORMED_TRANSPORT: {"echo of 7 octets": (bytes(ICMP(chksum=1))[:7], 1)},
    Reason.ICMP_NOT_CARRIED: {
        "source quench": (bytes(ICMP(type=4)), 1),
        "timestamp": (bytes(ICMP(type=13)), 1),
        "type of an ICMPv6 echo": (changed(ICMP(), 0, 128), 1),
    },
    Reason.PROTOCOL_WITHOUT_PORTS: {"ICMPv6 in IPv4": (bytes(20), 58)},
}
ICMPV6: Transports = {
    Reason.MALFORMED_TRANSPORT: {"echo of 7 octets": (bytes(ICMPv6EchoRequest(cksum=1))[:7], 58)},
    Reason.ICMP_NOT_CARRIED: {
        "neighbour solicitation": (bytes(ICMPv6ND_NS(cksum=1)), 58),
        "type of an ICMPv4 echo": (b"\x08" + bytes(20), 58),
    },
    Reason.PROTOCOL_WITHOUT_PORTS: {"ICMPv4 in IPv6": (bytes(20), 1)},
}

#: From the LAN, in each mode.
FROM_LAN: Cases = {
    Reason.MALFORMED_IPV4: {
        "nothing": b"",
        "19 octets": cut(from_host(SYN), 19),
        "an octet cut off": bytes(from_host(SYN))[:-1],
        "version 5": changed(from_host(SYN), 0, 0x55),
        "version 6": IPv6(src=SERVER_IPV6, dst=OWN_IPV6) / SYN,
        "header of 16 octets": changed(from_host(SYN), 0, 0x44),
        "total length 19": changed(from_host(SYN), 3, 19),
        "total length within options": changed(from_host(SYN), 0, 0x4F),
    },
    Reason.DESTINATION_MARTIAN: {
        "this network": to("0.0.0.1"),
        "loopback": to("127.0.0.1"),
        "link-local": to("169.254.0.1"),
        "class E": to("240.0.0.1"),
        "almost broadcast": to("255.255.255.254"),
        "loopback with options": changed(to("127.0.0.1"), 0, 0x46),
        "both ends": IP(src="127.0.0.1", dst="127.0.0.1") / QUERY,
    },
    Reason.SOURCE_MARTIAN: {name: IP(src=source, dst=SERVER) / QUERY for name, source in MARTIANS},
    Reason.DESTINATION_NOT_ROUTED: {
        "multicast": to("224.0.0.251"),
        "multicast from nobody": IP(src="0.0.0.0", dst="224.0.0.1") / QUERY,
        "broadcast": to("255.255.255.255"),
        "multicast with options": changed(to("224.0.0.22"), 0, 0x46),
        "multicast fragment": changed(to("239.1.1.1"), 6, 0x20),
    },
    Reason.DESTINATION_ON_LINK: {
        "the modem's page": to("192.168.100.1"),
        "the modem's ICMP": IP(src=HOST, dst="192.168.100.1") / ICMP(type=13),
    },
    Reason.FRAGMENT_INVALID: {
        "options of a fragment": from_host(SYN, options=b"\1" * 4, flags="MF"),
        "first fragment": from_host(SYN, flags="MF"),
        "last offset": from_host(SYN, frag=0x1FFF),
        "empty": IP(src=HOST, dst=SERVER, frag=1, proto=17),
        "tiny": from_host(bytes(8), flags="MF", proto=6),
        "evil fragment with DF": from_host(SYN, flags="DF+MF"),
    },
    Reason.TOO_BIG: {
        "too big": from_host(UDP(sport=1, dport=2) / bytes(1433), flags="DF"),
        "fragment too big": from_host(bytes(1448), flags="DF+MF", proto=17),
    },
    Reason.NO_MAPPING: {
        "reset of nothing": from_host(TCP(sport=40000, dport=80, flags="R")),
        "reset and ACK": from_host(TCP(sport=40000, dport=80, flags="RA")),
        "reset and SYN": from_host(TCP(sport=40000, dport=80, flags="RS")),
        "answer to no ping": from_host(ICMP(type="echo-reply", id=40000)),
    },
}

#: More than an IPv4 packet could hold behind its header.
LONG = bytes(65_516)

OTHER_IPV6 = "2001:db8:12:3400:0:c000:212:35"
STRANGER = "2001:db8:fffe::1"

FROM_WAN_MAP_T: Cases = {
    Reason.IPV6_HEADER_CUT: {
        "nothing": b"",
        "39 octets": cut(from_server(Mode.MAP_T, REPLY), 39),
        "version 4": changed(from_server(Mode.MAP_T, REPLY), 0, 0x45),
    },
    Reason.NOT_MAP_ADDRESS: {
        "another PSID's": IPv6(src=SERVER_IPV6, dst=OTHER_IPV6) / REPLY,
        "multicast": IPv6(src=SERVER_IPV6, dst="ff02::1") / REPLY,
        "not for us and cut": IPv6(src=SERVER_IPV6, dst=OTHER_IPV6, plen=9),
    },
    Reason.SOURCE_OUTSIDE_DOMAIN: {
        "a stranger": IPv6(src=STRANGER, dst=OWN_IPV6) / REPLY,
        "a stranger's junk": IPv6(src=STRANGER, dst=OWN_IPV6, plen=9),
    },
    Reason.MALFORMED_IPV6: {
        "no payload": IPv6(src=SERVER_IPV6, dst=OWN_IPV6, nh=17),
        "an octet cut off": bytes(from_server(Mode.MAP_T, REPLY))[:-1],
        "longer than IPv4": in_ipv6(LONG, 17),
    },
    Reason.EXTENSION_HEADER: {
        "nine headers": in_ipv6(nine_headers(bytes(REPLY)), 60),
        "header past the end": in_ipv6(bytes(8), 60),
        "authentication": in_ipv6(bytes(24), 51),
    },
    Reason.FRAGMENT_INVALID: {
        "odd length": from_server(Mode.MAP_T, IPv6ExtHdrFragment(m=1, nh=17) / bytes(9)),
        "past the end": from_server(Mode.MAP_T, IPv6ExtHdrFragment(offset=8190, nh=17) / bytes(9)),
    },
    Reason.PROTOCOL_WITHOUT_PORTS: {
        "IPv4": from_server(Mode.MAP_T, IP(src=SERVER, dst=OWN_IPV4) / REPLY),
    },
    Reason.ROUTING_HEADER: {
        "a route from an ICMPv6 error": in_ipv6(
            bytes([58, 0, 0, 1, *bytes(4)]) + b"\1" + bytes(47), 43
        ),
    },
    Reason.PORT_OUTSIDE_SET: {
        "port 0": from_server(Mode.MAP_T, UDP(dport=0)),
        "excluded port": from_server(Mode.MAP_T, UDP(dport=208)),
        "port before": from_server(Mode.MAP_T, TCP(dport=1231)),
        "port after": from_server(Mode.MAP_T, TCP(dport=1236)),
        "identifier": from_server(Mode.MAP_T, ICMPv6EchoRequest(id=1236)),
    },
    Reason.SOURCE_MARTIAN: {
        **{name: IPv6(src=in_dmr(source), dst=OWN_IPV6) / REPLY for name, source in MARTIANS},
        "a port of our own": IPv6(src=in_dmr(OWN_IPV4), dst=OWN_IPV6)
        / UDP(sport=SECOND_PORT, dport=PORT),
        "an identifier of our own": IPv6(src=in_dmr(OWN_IPV4), dst=OWN_IPV6)
        / ICMPv6EchoRequest(id=PORT),
        "to a port outside": IPv6(src=in_dmr("127.0.0.1"), dst=OWN_IPV6) / UDP(dport=208),
    },
    Reason.NO_MAPPING: {
        "port of nobody": from_server(Mode.MAP_T, REPLY),
        "hop-by-hop options": from_server(Mode.MAP_T, IPv6ExtHdrHopByHop() / REPLY),
        "a route at its end": from_server(Mode.MAP_T, IPv6ExtHdrRouting() / REPLY),
        "destination options": from_server(Mode.MAP_T, IPv6ExtHdrDestOpt() / REPLY),
        "identifier of nobody": from_server(Mode.MAP_T, ICMPv6EchoRequest(id=PORT)),
        "from another CE of our address": IPv6(src=in_dmr(OWN_IPV4), dst=OWN_IPV6)
        / UDP(sport=1236, dport=PORT),
    },
}

INNER = IP(src=SERVER, dst=OWN_IPV4) / REPLY

FROM_WAN_MAP_E: Cases = {
    Reason.IPV6_HEADER_CUT: {
        "nothing": b"",
        "39 octets": in_tunnel(INNER)[:39],
    },
    Reason.NOT_MAP_ADDRESS: {
        "another PSID's": IPv6(src=str(BR), dst=OTHER_IPV6) / INNER,
    },
    Reason.NOT_ENCAPSULATED: {
        "TCP from the BR": IPv6(src=str(BR), dst=OWN_IPV6) / SYN,
        "TCP from a stranger": IPv6(src=STRANGER, dst=OWN_IPV6) / SYN,
        "ICMPv6": IPv6(src=STRANGER, dst=OWN_IPV6) / ICMPv6EchoRequest(),
        "ESP from the BR": in_tunnel(bytes(20), 50),
        "options of a stranger": in_tunnel(bytes(20), 60, STRANGER),
        "fragment of a stranger": in_tunnel(bytes(20), 44, STRANGER),
    },
    Reason.FRAGMENT_INVALID: {
        "odd length": in_tunnel(IPv6ExtHdrFragment(m=1, nh=4) / bytes(9), 44),
        "odd length inside": in_tunnel(IP(src=SERVER, dst=OWN_IPV4, flags="MF") / bytes(9)),
    },
    Reason.EXTENSION_HEADER: {
        "nine headers": in_tunnel(nine_headers(bytes(20)), 60),
        "header past the end": in_tunnel(bytes([4, 9]) + bytes(40), 60),
        "in a fragment": in_tunnel(bytes(20), 44),
        "authentication": in_tunnel(bytes(20), 51),
    },
    Reason.TUNNEL_SOURCE: {
        "from a stranger": in_tunnel(INNER, source=STRANGER),
        "from a stranger, cut": in_tunnel(INNER, source=STRANGER)[:-1],
    },
    Reason.MALFORMED_IPV6: {
        "no payload": in_tunnel(b""),
        "an octet cut off": in_tunnel(INNER)[:-1],
        "longer than IPv4": in_tunnel(bytes(INNER) + LONG[len(INNER) :]),
    },
    Reason.MALFORMED_IPV4: {
        "19 octets inside": in_tunnel(bytes(INNER)[:19]),
        "an octet missing inside": in_tunnel(bytes(INNER)[:-1]),
        "IPv6 inside": in_tunnel(changed(INNER, 0, 0x65)),
    },
    Reason.INNER_DESTINATION: {
        "another address": in_tunnel(IP(src=SERVER, dst="192.0.2.19") / REPLY),
        "another's fragment": in_tunnel(IP(src=SERVER, dst="192.0.2.19", frag=1) / REPLY),
    },
    Reason.CONGESTION_MARK_LOST: {
        "mark lost": IPv6(src=str(BR), dst=OWN_IPV6, tc=3) / INNER,
        "mark lost on GRE": IPv6(src=str(BR), dst=OWN_IPV6, tc=3)
        / IP(src=SERVER, dst=OWN_IPV4, proto=47),
    },
    Reason.PORT_OUTSIDE_SET: {
        "excluded port": in_tunnel(IP(src=SERVER, dst=OWN_IPV4) / UDP(dport=208)),
        "identifier": in_tunnel(IP(src=SERVER, dst=OWN_IPV4) / ICMP(id=1236)),
    },
    Reason.SOURCE_MARTIAN: {
        **{name: in_tunnel(IP(src=source, dst=OWN_IPV4) / REPLY) for name, source in MARTIANS},
        "a port of our own": in_tunnel(
            IP(src=OWN_IPV4, dst=OWN_IPV4) / UDP(sport=SECOND_PORT, dport=PORT)
        ),
        "an identifier of our own": in_tunnel(IP(src=OWN_IPV4, dst=OWN_IPV4) / ICMP(id=PORT)),
    },
    Reason.NO_MAPPING: {
        "options inside": in_tunnel(IP(src=SERVER, dst=OWN_IPV4, options=b"\1" * 4) / REPLY),
        "from another CE of our address": in_tunnel(
            IP(src=OWN_IPV4, dst=OWN_IPV4) / UDP(sport=1236, dport=PORT)
        ),
        "port of nobody": in_tunnel(INNER),
    },
}

#: With NAPT44 off, a host has to use the CE's own address and ports.
FROM_LAN_WITHOUT_NAPT44: Cases = {
    Reason.SOURCE_NOT_OURS: {
        "a private address": from_host(REPLY),
        "another CE's address": IP(src="192.0.2.19", dst=SERVER) / QUERY,
    },
    Reason.PORT_OUTSIDE_SET: {
        "a foreign port": IP(src=OWN_IPV4, dst=SERVER) / QUERY,
        "a foreign identifier": IP(src=OWN_IPV4, dst=SERVER) / ICMP(id=1),
    },
}


def ce_for(mode: Mode, nat: bool = True) -> CustomerEdge:
    settings = CeSettings(
        ipv4_mtu=1460,
        mss=None,
        translates_ports=nat,
        on_link=(IPv4Network("192.168.100.0/24"),),
    )
    return CustomerEdge(domain(mode), settings)


def each(cases: Cases) -> pytest.MarkDecorator:
    """Runs a test for each packet, with the reason it should be refused for."""
    return pytest.mark.parametrize(
        ("packet", "reason"),
        [
            pytest.param(packet, reason, id=f"{reason}-{name}")
            for reason, packets in cases.items()
            for name, packet in packets.items()
        ],
    )


def each_transport(*tables: Transports) -> pytest.MarkDecorator:
    """The same for transport headers, whatever is around them."""
    return pytest.mark.parametrize(
        ("data", "protocol", "reason"),
        [
            pytest.param(data, protocol, reason, id=f"{reason}-{name}")
            for table in tables
            for reason, packets in table.items()
            for name, (data, protocol) in packets.items()
        ],
    )


def check(way: Callable[[bytes], Outcome], packet: Packet | bytes, reason: Reason) -> None:
    outcome = way(bytes(packet))
    assert (outcome.reason, outcome.packets) == (reason, ())
    assert outcome.verdict is reason.reason_class
    assert outcome.verdict in (ReasonClass.PASS, ReasonClass.DROP)


BOTH = pytest.mark.parametrize("mode", [Mode.MAP_T, Mode.MAP_E])


@BOTH
@each(FROM_LAN)
def test_from_the_lan(packet: Packet | bytes, reason: Reason, mode: Mode) -> None:
    check(ce_for(mode).from_lan, packet, reason)


@BOTH
@each_transport(TRANSPORT, ICMPV4)
def test_transport_from_the_lan(data: bytes, protocol: int, reason: Reason, mode: Mode) -> None:
    check(ce_for(mode).from_lan, IP(src=HOST, dst=SERVER, proto=protocol) / data, reason)


@BOTH
@each(FROM_LAN_WITHOUT_NAPT44)
def test_from_the_lan_without_napt44(packet: Packet, reason: Reason, mode: Mode) -> None:
    check(ce_for(mode, nat=False).from_lan, packet, reason)


@each(FROM_WAN_MAP_T)
def test_from_the_wan_in_map_t(packet: Packet | bytes, reason: Reason) -> None:
    check(ce_for(Mode.MAP_T).from_wan, packet, reason)


@each_transport(TRANSPORT, ICMPV6)
def test_transport_from_the_wan_in_map_t(data: bytes, protocol: int, reason: Reason) -> None:
    check(ce_for(Mode.MAP_T).from_wan, in_ipv6(data, protocol), reason)


@each(FROM_WAN_MAP_E)
def test_from_the_wan_in_map_e(packet: Packet | bytes, reason: Reason) -> None:
    check(ce_for(Mode.MAP_E).from_wan, packet, reason)


@each_transport(TRANSPORT, ICMPV4)
def test_transport_from_the_wan_in_map_e(data: bytes, protocol: int, reason: Reason) -> None:
    inner = IP(src=SERVER, dst=OWN_IPV4, proto=protocol) / data
    check(ce_for(Mode.MAP_E).from_wan, in_tunnel(inner), reason)


def test_the_longest_packet_there_is() -> None:
    """One octet less than what is refused above: as long as IPv4 gets."""
    ce = ce_for(Mode.MAP_T, nat=False)
    packet = sole(
        ce.from_wan(in_ipv6(bytes(UDP(sport=53, dport=PORT, len=8, chksum=1)) + LONG[9:], 17))
    )
    assert len(packet) == IP(packet).len == 0xFFFF


def test_udp_without_checksum_is_refused_in_map_t_alone_if_it_is_not_to_be_computed() -> None:
    packet = bytes(from_host(UDP(sport=40000, dport=53, chksum=0)))
    policy = TranslationPolicy(compute_udp_checksum=False)
    for mode, reason in ((Mode.MAP_T, Reason.UDP_CHECKSUM_ZERO), (Mode.MAP_E, Reason.TRANSLATED)):
        settings = CeSettings(ipv4_mtu=1460, mss=None, translation=policy)
        assert CustomerEdge(domain(mode), settings).from_lan(packet).reason is reason


@pytest.mark.parametrize("kind", [131, 137], ids=["loose", "strict"])
def test_a_source_route_is_refused_in_map_t_alone(kind: int) -> None:
    route = bytes([kind, 7, 4, 10, 0, 0, 1, 0])
    packet = bytes(from_host(SYN, options=route))
    refused = ce_for(Mode.MAP_T).from_lan(packet)
    assert (refused.reason, len(refused.answers)) == (Reason.SOURCE_ROUTE, 1)
    assert ce_for(Mode.MAP_E).from_lan(packet).reason is Reason.TRANSLATED


def test_a_private_address_under_the_well_known_prefix() -> None:
    ce_domain = replace(domain(Mode.MAP_T), dmr=IPv6Network("64:ff9b::/96"))
    ce = CustomerEdge(ce_domain, CeSettings(ipv4_mtu=1460, mss=None))
    assert ce.from_lan(bytes(to("10.0.0.1"))) == Outcome(Reason.NOT_GLOBAL)
    assert ce.from_lan(bytes(to("8.8.8.8"))).reason is Reason.TRANSLATED


def test_a_packet_after_the_mapping_expired() -> None:
    clock = Clock()
    ce = new_ce(Mode.MAP_T, clock=clock)
    sole(ce.from_lan(bytes(from_host(QUERY))))
    reply = bytes(from_server(Mode.MAP_T, REPLY))
    clock.now += 60
    assert ce.from_wan(reply).reason is Reason.TRANSLATED
    clock.now += 61
    assert ce.from_wan(reply) == Outcome(Reason.MAPPING_EXPIRED)


def test_a_packet_for_which_there_is_no_port() -> None:
    ce = new_ce(Mode.MAP_T)
    ports = len(domain(Mode.MAP_T).port_set)
    outcomes = [
        ce.from_lan(bytes(from_host(UDP(sport=port, dport=53, chksum=1))))
        for port in range(2, 2 + ports)
    ]
    assert {outcome.reason for outcome in outcomes} == {Reason.TRANSLATED}
    late = ce.from_lan(bytes(IP(src="192.168.1.77", dst=SERVER) / QUERY))
    assert (late.reason, late.packets) == (Reason.PORTS_EXHAUSTED, ())


def test_a_packet_of_somebody_the_host_did_not_send_to() -> None:
    ce = new_ce(Mode.MAP_T)
    sole(ce.from_lan(bytes(from_host(QUERY, dst="198.51.100.8"))))
    assert ce.from_wan(bytes(from_server(Mode.MAP_T, REPLY))) == Outcome(Reason.FILTERED)


def test_a_packet_from_the_middle_of_a_connection() -> None:
    ce = new_ce(Mode.MAP_T, policy=replace(EACH_ITS_OWN, pick_up=False))
    outcome = ce.from_lan(bytes(from_host(TCP(sport=40000, dport=80, flags="A"))))
    assert outcome == Outcome(Reason.TCP_NOT_OPENING)
    sole(ce.from_lan(bytes(from_host(SYN))))


def test_a_packet_of_a_host_that_has_its_share() -> None:
    ce = new_ce(Mode.MAP_T, policy=replace(EACH_ITS_OWN, host_ports_max=1))
    sole(ce.from_lan(bytes(from_host(QUERY))))
    outcome = ce.from_lan(bytes(from_host(UDP(sport=40001, dport=53))))
    assert (outcome.reason, outcome.packets) == (Reason.HOST_LIMIT, ())


def test_a_packet_for_which_the_table_of_flows_has_no_room() -> None:
    shared = dict.fromkeys(Protocol, MappingPolicy.SHARED)
    policy = replace(EACH_ITS_OWN, mapping=shared, host_flows_max=9)
    ce = new_ce(Mode.MAP_T, policy=policy, flows=1)
    sole(ce.from_lan(bytes(from_host(QUERY))))
    outcome = ce.from_lan(bytes(from_host(UDP(sport=40001, dport=53))))
    assert (outcome.reason, outcome.packets) == (Reason.FLOWS_FULL, ())


@pytest.mark.parametrize("mode", [Mode.MAP_T, Mode.MAP_E])
def test_a_source_that_is_not_the_address_of_its_port(mode: Mode) -> None:
    """RFC 7597 section 8.1: the peer 192.0.2.33 of PSID 0x34 has port 1232, not 1236."""
    mesh = domain(mode, replace(EXAMPLE_RULE, forwarding=True))
    peer, own = "2001:db8:21:3400:0:c000:221:34", str(mesh.map_address)
    for port, reason in ((1232, Reason.NO_MAPPING), (1236, Reason.SOURCE_INCONSISTENT)):
        inner = UDP(sport=port, dport=1232) / b"data"
        if mode is Mode.MAP_E:
            inner = IP(src="192.0.2.33", dst="192.0.2.18") / inner
        outcome = new_ce(mesh).from_wan(bytes(IPv6(src=peer, dst=own) / inner))
        assert (outcome.reason, outcome.packets) == (reason, ())
        is_told = mode is Mode.MAP_T and reason is Reason.SOURCE_INCONSISTENT
        assert [tuple(answer[40:42]) for answer in outcome.answers] == [(1, 5)] * is_told


def test_every_reason_in_the_sources_is_produced_here() -> None:
    tables = (
        FROM_LAN,
        FROM_LAN_WITHOUT_NAPT44,
        FROM_WAN_MAP_T,
        FROM_WAN_MAP_E,
        TRANSPORT,
        ICMPV4,
        ICMPV6,
    )
    produced = {reason.name for table in tables for reason in table}
    produced |= {"MAPPING_EXPIRED", "PORTS_EXHAUSTED", "FILTERED"}  # by the tests above
    produced |= {"TCP_NOT_OPENING", "HOST_LIMIT", "FLOWS_FULL", "SOURCE_INCONSISTENT"}
    produced |= {reason.name for reason in test_software_carried_errors.PRODUCED}
    produced |= {"UDP_CHECKSUM_ZERO", "SOURCE_ROUTE", "NOT_GLOBAL"}
    produced |= {reason.name for reason in test_software_fragments.PRODUCED}
    assert software.__file__ is not None
    sources = Path(software.__file__).parent.glob("*.py")
    named = {
        name
        for source in sources
        for name in re.findall(r"Refused\(Reason\.(\w+)\)", source.read_text(encoding="utf-8"))
    }
    assert named == produced
