# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors, field by field: what the quoted packet becomes, and where an error may go."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
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
    from_host,
    from_server,
    new_ce,
    sole,
)

from harness import errors
from harness.domains import BR, domain
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.napt44 import MappingPolicy
from mapxdp.model.rule import MappingRule
from mapxdp.model.timeouts import Protocol
from mapxdp.model.translation import TranslationPolicy
from mapxdp.reasons import Reason
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.rfc7915_icmp import too_big_mtu
from mapxdp.software.verdict import Outcome

ROUTER6 = "2001:db8:77::1"


def sending(mode: Mode, octets: int = 8, **fields: object) -> tuple[CustomerEdge, bytes]:
    """A CE whose host has sent UDP, and the packet as it left."""
    ce = new_ce(mode)
    query = UDP(sport=40000, dport=80) / bytes(octets)
    return ce, sole(ce.from_lan(bytes(from_host(query, **fields))))


@pytest.mark.parametrize(("length", "flags"), [(1260, 0), (1261, 0x4000)])
def test_dont_fragment_of_what_is_quoted(length: int, flags: int) -> None:
    """RFC 7915 section 5.1, by the length the packet had, however little is quoted."""
    ce, left = sending(Mode.MAP_T, length - 28)
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach() / left[:100]
    quoted = sole(ce.from_wan(bytes(error)))[28:]
    assert int.from_bytes(quoted[2:4], "big") == length
    assert quoted[4:8] == bytes([0, 0]) + flags.to_bytes(2, "big")


@pytest.mark.parametrize("more", [0, 1])
def test_a_quoted_fragment_header(more: int) -> None:
    ce, left = sending(Mode.MAP_T)
    fragment = IPv6ExtHdrFragment(m=more, id=0x12345678, nh=17)
    quote = IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / fragment / left[40:]
    quoted = IP(
        sole(ce.from_wan(bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6TimeExceeded() / quote)))[
            28:
        ]
    )
    assert (quoted.id, quoted.flags.MF, quoted.flags.DF) == (0x5678, bool(more), False)
    assert quoted.len == 20 + len(left) - 40


def test_a_quoted_first_fragment_gets_a_fragment_header() -> None:
    ce, _ = sending(Mode.MAP_T)
    quote = IP(src=SERVER, dst=HOST, flags="MF", id=0x1234) / UDP(sport=80, dport=40000) / bytes(8)
    made = sole(ce.from_lan(bytes(IP(src=HOST, dst=SERVER) / ICMP(type=11, code=1) / quote)))
    assert (made[40], made[41]) == (3, 1)
    quoted = IPv6(made[48:])
    assert (quoted.plen, quoted.nh) == (8 + 16, 44)
    header = quoted[IPv6ExtHdrFragment]
    assert (header.nh, header.offset, header.m, header.id) == (17, 0, 1, 0x1234)


def test_quoted_options_are_left_out_in_ipv6() -> None:
    ce, _ = sending(Mode.MAP_T)
    quote = IP(src=SERVER, dst=HOST, options=[b"\x01\x01\x01\x01"]) / UDP(sport=80, dport=40000)
    made = sole(ce.from_lan(bytes(IP(src=HOST, dst=SERVER) / ICMP(type=3, code=3) / quote)))
    errors.assert_sound(made)
    assert IPv6(made[48:]).plen == 8
    assert IPv6(made[48:])[UDP].dport == PORT


def test_an_unreachable_protocol_is_a_problem_of_the_next_header() -> None:
    ce, _ = sending(Mode.MAP_T)
    quote = IP(src=SERVER, dst=HOST) / UDP(sport=80, dport=40000)
    made = sole(ce.from_lan(bytes(IP(src=HOST, dst=SERVER) / ICMP(type=3, code=2) / quote)))
    assert made[40:42] + made[44:48] == bytes([4, 1, 0, 0, 0, 6])


def test_a_packet_as_long_as_a_plateau_was_too_long_for_it() -> None:
    """RFC 1191 section 7: the greatest plateau below what was sent."""
    assert too_big_mtu(0, 1492, 1500, 1500) == 1280
    assert too_big_mtu(0, 1493, 1520, 1500) == 1512


@pytest.mark.parametrize("embedded", ["127.0.0.1", "224.0.0.5", "0.1.2.3"])
def test_a_router_whose_address_is_none(embedded: str) -> None:
    ce, left = sending(Mode.MAP_T)
    octets = bytes(map(int, embedded.split(".")))
    source = bytes.fromhex("20010db8ffff000000") + octets + bytes(3)
    packet = errors.from_wan(domain("map-t"), (3, 0), left, source=IPv6Network((source, 128))[0])
    assert IP(sole(ce.from_wan(packet))).src == "192.0.0.8"


def about_tunnel(left: bytes, message: IPv6, **inner: object) -> bytes:
    tunnel = IPv6(left)
    for name, value in inner.items():
        setattr(tunnel[IP], name, value)
        del tunnel[IP].chksum
    return bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / message / tunnel)


@pytest.mark.parametrize(
    ("reported", "told"), [(1500, 1460), (9000, 1460), (1400, 1360), (1280, 1240), (1279, None)]
)
def test_the_mtu_of_a_tunnel(reported: int, told: int | None) -> None:
    """RFC 2473 section 8.2: without the tunnel's header; the WAN's own MTU is known."""
    ce, left = sending(Mode.MAP_E, flags="DF")
    outcome = ce.from_wan(about_tunnel(left, ICMPv6PacketTooBig(mtu=reported)))
    if told is None:
        assert outcome == Outcome(Reason.ICMP_NOT_CARRIED)
        return
    made = IP(sole(outcome))
    assert made[ICMP].nexthopmtu == told
    assert (made.ttl, made.tos, int(made.flags), made.src) == (64, 0, 0, "192.0.0.8")


def test_what_a_tunnel_error_quotes_comes_from_the_host() -> None:
    ce, left = sending(Mode.MAP_E, 600, id=7, flags=0)
    made = sole(ce.from_wan(about_tunnel(left, ICMPv6DestUnreach())))
    errors.assert_sound(made)
    assert len(made) == 576
    sent = bytes(from_host(UDP(sport=40000, dport=80) / bytes(600), id=7, flags=0))
    assert made[28:] == sent[:548]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("another far end", Reason.QUOTE_INVALID),
        ("another near end", Reason.QUOTE_INVALID),
        ("another host", Reason.QUOTE_INVALID),
        ("no tunnel", Reason.QUOTE_INVALID),
        ("half a tunnel", Reason.QUOTE_INVALID),
        ("half an option", Reason.QUOTE_INVALID),
        ("another option", Reason.QUOTE_INVALID),
        ("a later fragment", Reason.QUOTE_INVALID),
        ("port", Reason.PORT_OUTSIDE_SET),
        ("mapping", Reason.NO_MAPPING),
    ],
)
def test_an_error_about_a_tunnel_that_is_not_ours(name: str, reason: Reason) -> None:
    ce, left = sending(Mode.MAP_E)
    inner = left[40:]

    def inside(**fields: object) -> bytes:
        packet = IP(inner)
        for field, value in fields.items():
            setattr(packet, field, value)
        del packet.chksum
        return left[:40] + bytes(packet)

    def from_port(port: int) -> bytes:
        return left[:60] + port.to_bytes(2, "big") + left[62:]

    option = left[:6] + b"\x3c" + left[7:40]
    quote = {
        "another far end": left[:39] + b"\x02" + inner,
        "another near end": left[:23] + b"\x99" + left[24:],
        "another host": inside(src="192.0.2.19"),
        "no tunnel": left[:6] + b"\x11" + left[7:],
        "half a tunnel": left[:39],
        "half an option": option + bytes([4, 0, 4]),
        "another option": option + bytes([4, 0, 1, 4, 0, 0, 0, 0]) + inner,
        "a later fragment": inside(frag=1),
        "port": from_port(1236),
        "mapping": from_port(PORT + 1),
    }[name]
    error = bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6TimeExceeded() / quote)
    assert ce.from_wan(error) == Outcome(reason)


@pytest.mark.parametrize("options", [b"", b"\x01" * 8])
@pytest.mark.parametrize("octets", [1460, 1461])
def test_an_error_that_is_too_long_for_the_tunnel(octets: int, options: bytes) -> None:
    """It is no packet to send an error about (RFC 1812 section 4.3.2.7)."""
    ce, _ = sending(Mode.MAP_E)
    data = bytes(octets - 28 - 28 - len(options))
    quote = IP(src=SERVER, dst=HOST) / UDP(sport=80, dport=40000) / data
    header = IP(src=HOST, dst=SERVER, flags="DF", options=options and [options])
    outcome = ce.from_lan(bytes(header / ICMP(type=3) / quote))
    if octets == 1460:
        made = sole(outcome)
        assert len(made) == 1500
        assert made[60 : 60 + len(options)] == options
    else:
        assert outcome == Outcome(Reason.TOO_BIG)


def test_a_flow_is_looked_for_where_a_remote_shares_ports() -> None:
    """One endpoint has a port of its own and a flow on another: each remote knows one of them."""
    policy = replace(EACH_ITS_OWN, mapping=dict.fromkeys(Protocol, MappingPolicy.AUTO))
    ce = new_ce(Mode.MAP_T, policy=policy)
    seen = {}
    for port in (80, 5000):
        left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=port)))))
        seen[port] = int.from_bytes(left[40:42], "big")
    assert seen[80] != seen[5000]
    for port, public in seen.items():
        quote = IP(src=SERVER, dst=HOST) / UDP(sport=port, dport=40000)
        made = sole(ce.from_lan(bytes(IP(src=HOST, dst=SERVER) / ICMP(type=3) / quote)))
        assert IPv6(made[48:])[UDP].dport == public


@pytest.mark.parametrize("mode", MODES)
def test_errors_that_do_not_stay_at_home(mode: Mode) -> None:
    """Of a ping of the own address, which nobody turns around; and to a stranger about it."""
    ce = new_ce(mode)
    sole(ce.from_lan(bytes(from_host(ICMP(id=PORT), dst=OWN_IPV4))))
    reply = IP(src=OWN_IPV4, dst=HOST) / ICMP(type=0, id=PORT)
    sole(ce.from_lan(bytes(IP(src=HOST, dst=OWN_IPV4) / ICMP(type=3) / reply)))
    ce.from_lan(bytes(from_host(UDP(sport=40000, dport=PORT), dst=OWN_IPV4)))
    turned = IP(src=OWN_IPV4, dst=HOST) / UDP(sport=PORT, dport=40000)
    error = IP(src=HOST, dst=OWN_IPV4) / ICMP(type=3) / turned
    assert ce.from_lan(bytes(error)).reason is Reason.HAIRPINNED
    error[IP].dst = SERVER
    sole(ce.from_lan(bytes(error)))


@pytest.mark.parametrize("host", ["192.0.18.77", "10.1.1.1"])
def test_the_source_of_an_error_without_napt44(host: str) -> None:
    """A host of the public prefix keeps its address; a router of the LAN has none to show."""
    of_prefix = Domain(
        mode=Mode.MAP_E,
        end_user_prefix=IPv6Network("2001:db8:12::/48"),
        rules=(MappingRule(IPv6Network("2001:db8::/40"), IPv4Network("192.0.0.0/16"), 8),),
        br=BR,
    )
    ce = new_ce(of_prefix, nat=False)
    quote = IP(src=SERVER, dst="192.0.18.77") / UDP(sport=80, dport=53)
    made = IPv6(sole(ce.from_lan(bytes(IP(src=host, dst=SERVER) / ICMP(type=11) / quote))))
    assert made[IP].src == (host if host.startswith("192.0.18") else "192.0.18.0")


def test_nothing_that_an_error_says_keeps_a_mapping() -> None:
    """RFC 5508 REQ-6: it ends when it would have ended, and no filter opens."""
    clock = Clock()
    ce = new_ce(Mode.MAP_T, clock=clock)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    error = bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6TimeExceeded() / left)
    quote = IP(src="203.0.113.77", dst=HOST) / UDP(sport=80, dport=40000)
    of_host = bytes(IP(src=HOST, dst="203.0.113.77") / ICMP(type=3) / quote)
    clock.now += 60
    assert sole(ce.from_wan(error))
    assert sole(ce.from_lan(of_host))
    stranger = "2001:db8:ffff:0:cb:71:4d00:0"
    probe = IPv6(src=stranger, dst=OWN_IPV6) / UDP(sport=80, dport=PORT)
    assert ce.from_wan(bytes(probe)) == Outcome(Reason.FILTERED)
    clock.now += 1
    assert ce.from_wan(error) == Outcome(Reason.NO_MAPPING)
    answer = bytes(from_server(Mode.MAP_T, UDP(sport=80, dport=PORT)))
    assert ce.from_wan(answer) == Outcome(Reason.MAPPING_EXPIRED)


@pytest.mark.parametrize("mode", MODES)
def test_errors_are_of_the_class_that_all_packets_get(mode: Mode) -> None:
    """The congestion mark has to cross a tunnel, whatever the class."""
    settings = CeSettings(1460, None, translation=TranslationPolicy(traffic_class=0x28))
    ce = CustomerEdge(domain(mode), settings)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    port = IPv6(left)[UDP].sport
    arrived = sole(ce.from_wan(bytes(from_server(mode, UDP(sport=80, dport=port)))))
    error = IP(src=HOST, dst=SERVER, tos=0x47) / ICMP(type=3, code=3) / arrived
    made = IPv6(sole(ce.from_lan(bytes(error))))
    assert made.tc == (0x28 if mode.translates else 0x2B)
    if not mode.translates:
        assert made[IP].tos == 0x47
