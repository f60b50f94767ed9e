# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do ICMP errors reach the one whose packet they quote, as that one knows the packet?"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SECOND_PORT,
    SERVER,
    SERVER_IPV6,
    Clock,
    assert_sound,
    from_host,
    from_server,
    new_ce,
    sole,
)

from harness.domains import BR
from mapxdp.model.domain import Mode
from mapxdp.observed import Mapping
from mapxdp.reasons import Reason
from mapxdp.software.ce import CustomerEdge
from mapxdp.software.verdict import Outcome

ROUTER, ROUTER6 = "203.0.113.9", "2001:db8:77::1"
OTHER_HOST = "192.168.1.3"
#: The reasons of this file's subject, each produced below.
PRODUCED = {Reason.QUOTE_INVALID, Reason.ICMP_CHECKSUM, Reason.BR_REFUSED}


def transports(port: int, peer: int) -> dict[str, Packet]:
    return {
        "tcp": TCP(sport=port, dport=peer, flags="S") / b"0123456789",
        "udp": UDP(sport=port, dport=peer) / b"0123456789",
    }


def opened(mode: Mode, kind: str, *, host: str = HOST) -> tuple[CustomerEdge, bytes]:
    """A CE whose host has sent a packet from port 40000, and the packet as it left."""
    ce = new_ce(mode)
    transport = ICMP(id=40000) / b"ping" if kind == "icmp" else transports(40000, 80)[kind]
    return ce, sole(ce.from_lan(bytes(from_host(transport, src=host))))


def seen_mappings(ce: CustomerEdge) -> list[Mapping]:
    return list(ce.napt44.mappings())


def from_router(mode: Mode, left: bytes, error: Packet) -> bytes:
    """An error of a router beyond the BR about a packet that left, as the BR sends it."""
    if mode.translates:
        return bytes(IPv6(src="2001:db8:ffff:0:cb:71:900:0", dst=OWN_IPV6) / error / left)
    inner = IP(src=ROUTER, dst=OWN_IPV4, ttl=60) / error / left[40:]
    return bytes(IPv6(src=str(BR), dst=OWN_IPV6) / inner)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_an_error_reaches_the_host_that_sent_the_packet(mode: Mode, kind: str) -> None:
    ce, left = opened(mode, kind)
    before = seen_mappings(ce)
    error = ICMPv6TimeExceeded() if mode.translates else ICMP(type=11)
    made = sole(ce.from_wan(from_router(mode, left, error)))
    assert_sound(made)
    parsed = IP(made)
    assert (parsed.src, parsed.dst) == (ROUTER, HOST)
    assert (parsed[ICMP].type, parsed[ICMP].code) == (11, 0)
    transport = ICMP(id=40000) / b"ping" if kind == "icmp" else transports(40000, 80)[kind]
    quoted = IP(bytes(parsed[ICMP].payload))
    sent = from_host(transport, ttl=quoted.ttl, id=quoted.id, flags=quoted.flags)
    assert bytes(quoted) == bytes(sent)
    assert seen_mappings(ce) == before
    assert ce.events("downstream")[Reason.ICMP_ERROR_CARRIED] == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_error_of_a_host_reaches_the_remote(mode: Mode, kind: str) -> None:
    ce, _ = opened(mode, kind)
    inbound = bytes(from_server(mode, transports(80, PORT)[kind]))
    arrived = sole(ce.from_wan(inbound))
    before = seen_mappings(ce)
    error = IP(src=HOST, dst=SERVER, ttl=9, tos=3) / ICMP(type=3, code=3) / arrived
    made = sole(ce.from_lan(bytes(error)))
    assert_sound(made)
    parsed = IPv6(made)
    assert (parsed.src, parsed.tc) == (OWN_IPV6, 3)
    if mode.translates:
        assert (parsed.dst, parsed.hlim) == (SERVER_IPV6, 9)
        assert (made[40], made[41]) == (1, 4)
        quoted = IPv6(made[48:])
        expected = IPv6(inbound)
        expected.hlim = quoted.hlim
        assert bytes(quoted) == bytes(expected)
    else:
        inner = parsed[IP]
        assert (inner.src, inner.dst, inner.ttl) == (OWN_IPV4, SERVER, 9)
        assert bytes(inner[ICMP].payload) == inbound[40:]
    assert seen_mappings(ce) == before
    assert ce.events("upstream")[Reason.ICMP_ERROR_CARRIED] == 1


def test_a_router_without_an_ipv4_address_gets_the_dummy_one() -> None:
    """RFC 7600 section 4.8; the quote says that the error is ours."""
    ce, left = opened(Mode.MAP_T, "udp")
    error = bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6PacketTooBig(mtu=1400) / left)
    made = IP(sole(ce.from_wan(error)))
    assert (made.src, made[ICMP].type, made[ICMP].code) == ("192.0.0.8", 3, 4)
    assert made[ICMP].nexthopmtu == 1380


def test_the_mtu_leaves_room_for_a_fragment_header() -> None:
    ce, left = opened(Mode.MAP_T, "udp")
    whole = IPv6(left)
    fragment = IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / IPv6ExtHdrFragment(m=1, id=7, nh=17)
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6PacketTooBig(mtu=1400)
    made = IP(sole(ce.from_wan(bytes(error / (fragment / whole[UDP])))))
    assert made[ICMP].nexthopmtu == 1372
    quoted = IP(bytes(made[ICMP].payload))
    assert (quoted.id, quoted.flags.MF, quoted.flags.DF, quoted.frag) == (7, True, False, 0)


@pytest.mark.parametrize("octets", [8, 12, 17, 18, 20, 30])
def test_a_quote_may_end_in_the_transport_header(octets: int) -> None:
    ce, left = opened(Mode.MAP_T, "tcp")
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach(code=1) / left[: 40 + octets]
    made = sole(ce.from_wan(bytes(error)))
    sent = bytes(from_host(transports(40000, 80)["tcp"]))
    half = left[56:57] if octets == 17 else sent[36:37]
    assert made[48:] == (sent[20:36] + half + sent[37:])[:octets]
    assert IP(made).len == len(made) == 48 + octets
    assert_icmp_checksum(made)


def assert_icmp_checksum(packet: bytes) -> None:
    parsed = IP(packet)
    checksum = parsed[ICMP].chksum
    del parsed[ICMP].chksum
    assert IP(bytes(parsed))[ICMP].chksum == checksum


def test_extensions_cross_with_their_length_in_other_units() -> None:
    """RFC 4884 section 4: in 64-bit words in ICMPv6, in 32-bit words in ICMP."""
    ce, left = opened(Mode.MAP_T, "udp")
    extension = bytes.fromhex("20004cb3 0008 0101 00010203")
    message = bytearray(bytes(ICMPv6TimeExceeded(code=0)))
    message[4] = 16
    body = bytes(message) + left.ljust(128, b"\0") + extension
    error = IPv6(src=ROUTER6, dst=OWN_IPV6, nh=58) / body
    made = sole(ce.from_wan(with_icmpv6_checksum(bytes(error))))
    assert made[20 + 5] == 32
    assert made[28 + 128 :] == extension
    assert_icmp_checksum(made)


def with_icmpv6_checksum(packet: bytes) -> bytes:
    from scapy.layers.inet6 import in6_chksum

    packet = packet[:42] + bytes(2) + packet[44:]
    field = in6_chksum(58, IPv6(packet), packet[40:])
    return packet[:42] + int(field).to_bytes(2, "big") + packet[44:]


@pytest.mark.parametrize("octets", [540, 1232])
def test_an_error_is_at_most_576_octets(octets: int) -> None:
    ce = new_ce(Mode.MAP_T)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=53) / bytes(1400)))))
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach() / left[:octets]
    made = sole(ce.from_wan(bytes(error)))
    assert len(made) == min(576, 28 + octets - 20)
    assert_icmp_checksum(made)


def test_an_error_in_ipv6_is_at_most_1280_octets() -> None:
    ce = new_ce(Mode.MAP_T)
    sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    arrived = sole(
        ce.from_wan(bytes(from_server(Mode.MAP_T, UDP(sport=80, dport=PORT) / bytes(1300))))
    )
    made = sole(ce.from_lan(bytes(IP(src=HOST, dst=SERVER) / ICMP(type=3, code=3) / arrived)))
    assert len(made) == 1280
    assert IPv6(made).plen == 1240


def test_an_error_of_one_host_about_anothers_packet_stays_at_home() -> None:
    """RFC 5508 REQ-7."""
    ce = new_ce(Mode.MAP_T)
    sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    sole(ce.from_lan(bytes(from_host(UDP(sport=50000, dport=80), src=OTHER_HOST))))
    from_first = bytes(from_host(UDP(sport=40000, dport=SECOND_PORT) / b"x", dst=OWN_IPV4))
    # Each has to have sent to the other before.
    assert ce.from_lan(from_first).reason is Reason.FILTERED
    sole_hairpin(ce, bytes(from_host(UDP(sport=50000, dport=PORT), src=OTHER_HOST, dst=OWN_IPV4)))
    arrived = sole_hairpin(ce, from_first)
    error = bytes(IP(src=OTHER_HOST, dst=OWN_IPV4) / ICMP(type=3, code=3) / arrived)
    made = IP(sole_hairpin(ce, error))
    assert (made.src, made.dst) == (OWN_IPV4, HOST)
    assert bytes(made[ICMP].payload) == from_first
    assert_icmp_checksum(bytes(made))


def sole_hairpin(ce: CustomerEdge, packet: bytes) -> bytes:
    outcome = ce.from_lan(packet)
    assert outcome.reason is Reason.HAIRPINNED
    (made,) = outcome.packets
    return made


@pytest.mark.parametrize("mode", MODES)
def test_what_the_br_has_no_binding_for(mode: Mode) -> None:
    """RFC 7596 section 5.1, RFC 7599 section 8.3."""
    ce, left = opened(mode, "udp")
    error = IPv6(src=str(BR), dst=OWN_IPV6) / ICMPv6DestUnreach(code=5) / left
    assert ce.from_wan(bytes(error)) == Outcome(Reason.BR_REFUSED)


def test_only_the_lwaftr_can_refuse() -> None:
    ce, left = opened(Mode.MAP_E, "udp")
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach(code=5) / left
    assert ce.from_wan(bytes(error)) == Outcome(Reason.ICMP_NOT_CARRIED)


def broken_quotes(left: bytes) -> dict[str, bytes]:
    """What may follow the header of an ICMPv6 error, and says nothing about us."""
    return {
        "nothing": b"",
        "39 octets": left[:39],
        "7 octets of transport": left[:47],
        "version": b"\x40" + left[1:],
        "another source": left[:23] + b"\x77" + left[24:],
        "another destination": left[:24] + b"\x77" + left[25:],
        "GRE": left[:6] + b"\x2f" + left[7:],
        "an ICMPv6 error": bytes(IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / ICMPv6TimeExceeded() / left),
        "a later fragment": bytes(
            IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / IPv6ExtHdrFragment(offset=1, nh=17) / left[40:]
        ),
        "half a Fragment header": bytes(
            IPv6(src=OWN_IPV6, dst=SERVER_IPV6, nh=44) / bytes([17, 0, 0])
        ),
        "longer than IPv4 can be": left[:4] + b"\xff\xff" + left[6:],
    }


@pytest.mark.parametrize("name", broken_quotes(bytes(100)))
def test_an_error_about_what_we_never_sent(name: str) -> None:
    ce, left = opened(Mode.MAP_T, "udp")
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach() / broken_quotes(left)[name]
    assert ce.from_wan(bytes(error)) == Outcome(Reason.QUOTE_INVALID)


def test_an_error_with_a_wrong_checksum() -> None:
    """RFC 5508 REQ-3."""
    ce, left = opened(Mode.MAP_T, "udp")
    error = bytearray(bytes(IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach() / left))
    error[43] ^= 1
    assert ce.from_wan(bytes(error)) == Outcome(Reason.ICMP_CHECKSUM)
    host_error = IP(src=HOST, dst=SERVER) / ICMP(type=3, chksum=1) / left
    assert ce.from_lan(bytes(host_error)) == Outcome(Reason.ICMP_CHECKSUM)


@pytest.mark.parametrize("mode", MODES)
def test_a_quoted_header_with_a_wrong_checksum(mode: Mode) -> None:
    """RFC 5508 REQ-3a."""
    ce, _ = opened(mode, "udp")
    quote = IP(src=SERVER, dst=HOST, chksum=1) / UDP(sport=80, dport=40000)
    error = IP(src=HOST, dst=SERVER) / ICMP(type=3, code=3) / quote
    assert ce.from_lan(bytes(error)) == Outcome(Reason.QUOTE_INVALID)


@pytest.mark.parametrize("mode", MODES)
def test_an_error_about_a_port_of_another_customer(mode: Mode) -> None:
    ce, _ = opened(mode, "udp")
    quote = IP(src=OWN_IPV4, dst=SERVER) / UDP(sport=1236, dport=53)
    if mode.translates:
        quote = IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / UDP(sport=1236, dport=53)
        error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6DestUnreach() / quote
    else:
        error = IPv6(src=str(BR), dst=OWN_IPV6) / (
            IP(src=ROUTER, dst=OWN_IPV4) / ICMP(type=3) / quote
        )
    assert ce.from_wan(bytes(error)) == Outcome(Reason.PORT_OUTSIDE_SET)


@pytest.mark.parametrize("mode", MODES)
def test_an_error_about_a_mapping_that_is_gone(mode: Mode) -> None:
    clock = Clock()
    ce = new_ce(mode, clock=clock)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80)))))
    error = ICMPv6TimeExceeded() if mode.translates else ICMP(type=11)
    clock.now += 61
    assert ce.from_wan(from_router(mode, left, error)) == Outcome(Reason.NO_MAPPING)


def test_an_error_of_a_host_about_what_it_never_got() -> None:
    ce, _ = opened(Mode.MAP_T, "udp")
    quote = IP(src=SERVER, dst=HOST) / UDP(sport=80, dport=40001)
    error = IP(src=HOST, dst=SERVER) / ICMP(type=3, code=3) / quote
    assert ce.from_lan(bytes(error)) == Outcome(Reason.NO_MAPPING)


def test_a_pointer_to_a_field_that_ipv4_has_not() -> None:
    ce, left = opened(Mode.MAP_T, "udp")

    def about(pointer: int) -> bytes:
        error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6ParamProblem(code=0, ptr=pointer)
        return bytes(error / left)

    assert ce.from_wan(about(2)) == Outcome(Reason.ICMP_NOT_CARRIED)
    assert IP(sole(ce.from_wan(about(7))))[ICMP].ptr == 8


def test_queries_other_than_echo_do_not_cross() -> None:
    ce, _ = opened(Mode.MAP_T, "udp")
    assert ce.from_lan(bytes(from_host(ICMP(type=13)))) == Outcome(Reason.ICMP_NOT_CARRIED)
    solicitation = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6EchoRequest(type=135)
    assert ce.from_wan(bytes(solicitation)) == Outcome(Reason.SOURCE_OUTSIDE_DOMAIN)


def test_a_spoofed_source_inside_the_tunnel() -> None:
    ce, left = opened(Mode.MAP_E, "udp")
    inner = IP(src="127.0.0.1", dst=OWN_IPV4) / ICMP(type=11) / left[40:]
    packet = bytes(IPv6(src=str(BR), dst=OWN_IPV6) / inner)
    assert ce.from_wan(packet) == Outcome(Reason.SOURCE_MARTIAN)


def test_without_napt44_the_host_has_the_public_address() -> None:
    ce = new_ce(Mode.MAP_T, nat=False)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=PORT, dport=80), src=OWN_IPV4))))
    error = IPv6(src=ROUTER6, dst=OWN_IPV6) / ICMPv6TimeExceeded() / left
    assert IP(sole(ce.from_wan(bytes(error)))).dst == OWN_IPV4
    arrived = sole(ce.from_wan(bytes(from_server(Mode.MAP_T, UDP(sport=80, dport=PORT)))))
    back = IP(src=OWN_IPV4, dst=SERVER) / ICMP(type=3, code=3) / arrived
    assert IPv6(sole(ce.from_lan(bytes(back)))).dst == SERVER_IPV6
    for public, port, reason in [
        (HOST, PORT, Reason.SOURCE_NOT_OURS),
        (OWN_IPV4, 1236, Reason.PORT_OUTSIDE_SET),
    ]:
        quote = IP(src=SERVER, dst=public) / UDP(sport=80, dport=port)
        about = IP(src=OWN_IPV4, dst=SERVER) / ICMP(type=3, code=3) / quote
        assert ce.from_lan(bytes(about)) == Outcome(reason)
