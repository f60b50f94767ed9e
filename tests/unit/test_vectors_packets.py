# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the software path make the packets an independent implementation made?

NAPT44 is off here: the vectors show a packet behind it, with the CE's own address and port.
The vectors count one hop in the translator, where this program leaves the hop to the kernel:
the tests take it off. What is not implemented yet is listed, and has to be refused by name.
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6Unknown, IPv6, IPv6ExtHdrFragment

from harness.domains import BR, DMR, EXAMPLE_RULE, domain
from mapxdp.config import MssClamp
from mapxdp.model import mtu
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software import encapsulation, rfc7915
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.encapsulation import Ecn
from mapxdp.software.transport import read_transport
from mapxdp.software.verdict import Outcome, Refused
from mapxdp.software.wire import PROTO_ICMPV6, read_ipv6
from vectors import Vector, VectorsOf, named

VECTORS = VectorsOf()

SERVER = "10.2.3.4"
OWN_IPV6 = "2001:db8:12:3400:0:c000:212:34"
SERVER_IPV6 = "2001:db8:ffff:0:a:203:400:0"

#: Vectors of packets that are not handled yet, and the reason that says so.
NOT_HANDLED = {
    "pkt-mapt-udp-zero": Reason.UDP_CHECKSUM_ZERO,
    "pkt-mapt-frag-first": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-last": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-udp0": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-down": Reason.FRAGMENT_INVALID,
    "pkt-mape-tel-down": Reason.EXTENSION_HEADER,
    # An ICMPv6 error comes from any router: not from the DMR, hence not recognised as ours.
    "pkt-mapt-ptb-down": Reason.SOURCE_OUTSIDE_DOMAIN,
}
HANDLED = {
    "pkt-mapt-tcp-up",
    "pkt-mapt-udp-up",
    "pkt-mapt-udp-ffff",
    "pkt-mapt-echo-up",
    "pkt-mapt-tcp-down",
    "pkt-mapt-tcp-down-big",
    "pkt-mapt-echo-down",
    "pkt-mape-tcp-up",
    "pkt-mape-tcp-down",
}


def example(mode: Mode, wan_mtu: int = 1500) -> CustomerEdge:
    """The RFCs' example CE without NAPT44 and without MSS clamp."""
    ce_domain = domain(mode)
    settings = CeSettings(ce_domain.ipv4_mtu(wan_mtu), mss=None, translates_ports=False)
    return CustomerEdge(ce_domain, settings)


def one_hop_further(packet: bytes) -> bytes:
    """The packet as a router passes it on: TTL and its checksum, or Hop Limit."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    parsed = IP(packet)
    parsed.ttl -= 1
    del parsed.chksum
    return bytes(parsed)


def without_identification(packet: bytes) -> bytes:
    """The packet with Identification and header checksum zero, the checksum verified first."""
    recomputed = IP(packet)
    del recomputed.chksum
    assert bytes(recomputed) == packet, "the IPv4 header checksum is wrong"
    return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]


def pass_through(vector: Vector) -> Outcome:
    """What the CE of the vector does with its packet; hops are taken off where a kernel would."""
    packet = bytes.fromhex(vector["in"]["packet"])
    match vector["kind"]:
        case "pkt46":
            return example(Mode.MAP_T).from_lan(packet)
        case "pkt64" | "pkt64err":
            return example(Mode.MAP_T).from_wan(packet)
        case "encap":
            return example(Mode.MAP_E).from_lan(one_hop_further(packet))
        case "decap":
            return example(Mode.MAP_E).from_wan(packet)
        case kind:
            raise AssertionError(kind)


@VECTORS.each("pkt46", "pkt64", "pkt64err", "encap", "decap")
def test_a_packet_through_the_ce(vector: Vector) -> None:
    assert vector["in"]["ce_map_addr"] == OWN_IPV6
    outcome = pass_through(vector)
    if vector["id"] in NOT_HANDLED:
        assert (outcome.reason, outcome.packets) == (NOT_HANDLED[vector["id"]], ())
        return
    assert vector["id"] in HANDLED
    assert outcome.reason is Reason.TRANSLATED
    (packet,) = outcome.packets
    expected = bytes.fromhex(vector["out"]["packet"])
    if vector["kind"] == "pkt64":
        packet = without_identification(one_hop_further(packet))
        expected = without_identification(expected)
    elif vector["kind"] in ("pkt46", "decap"):
        packet = one_hop_further(packet)
    assert packet.hex() == expected.hex()


def test_what_must_be_dropped_is_dropped() -> None:
    """The one vector of a packet that no CE may translate, implemented or not."""
    vector = named("pkt-mapt-frag-udp0")
    assert vector["out"] == {"action": "drop"}
    assert pass_through(vector).verdict is ReasonClass.DROP


MAP_T_RELAY = BrSettings(Mode.MAP_T, (EXAMPLE_RULE,), dmr=DMR)
MAP_E_RELAY = BrSettings(Mode.MAP_E, (EXAMPLE_RULE,), address=BR)


@pytest.mark.parametrize(
    ("vector_id", "settings"),
    [
        ("pkt-mapt-tcp-up", MAP_T_RELAY),
        ("pkt-mapt-udp-up", MAP_T_RELAY),
        ("pkt-mapt-udp-ffff", MAP_T_RELAY),
        ("pkt-mapt-echo-up", MAP_T_RELAY),
        ("pkt-mape-tcp-up", MAP_E_RELAY),
    ],
)
def test_a_br_takes_back_what_the_ce_did(vector_id: str, settings: BrSettings) -> None:
    vector = named(vector_id)
    relay = BorderRelay(settings)
    back = relay.from_domain(bytes.fromhex(vector["out"]["packet"]))
    assert back is not None, relay.counts
    sent = IP(one_hop_further(bytes.fromhex(vector["in"]["packet"])))
    if settings is MAP_T_RELAY:  # IPv6 has neither Identification nor DF
        sent.id, sent.flags, sent.chksum = IP(back).id, 0, None
    assert back.hex() == bytes(sent).hex()


@pytest.mark.parametrize(
    "vector_id", ["pkt-mapt-tcp-down", "pkt-mapt-tcp-down-big", "pkt-mapt-echo-down"]
)
def test_a_br_makes_what_the_ce_undoes(vector_id: str) -> None:
    vector = named(vector_id)
    relay = BorderRelay(MAP_T_RELAY)
    made = relay.to_domain(bytes.fromhex(vector["out"]["packet"]))
    assert made is not None, relay.counts
    assert made.hex() == one_hop_further(bytes.fromhex(vector["in"]["packet"])).hex()


@VECTORS.each("pkt46err")
def test_an_icmp_error_towards_a_ce_is_not_relayed(vector: Vector) -> None:
    relay = BorderRelay(MAP_T_RELAY)
    assert relay.to_domain(bytes.fromhex(vector["in"]["packet"])) is None
    assert dict(relay.counts) == {"ICMP_NOT_CARRIED": 1}


CODE_POINTS = {"Not-ECT": Ecn.NOT_ECT, "ECT(0)": Ecn.ECT0, "ECT(1)": Ecn.ECT1, "CE": Ecn.CE}


@VECTORS.each("ecn_decap")
def test_ecn_at_the_end_of_the_tunnel(vector: Vector) -> None:
    inner, outer = (CODE_POINTS[vector["in"][name]] for name in ("inner", "outer"))
    dscp = 0xB8
    if vector["out"]["out"] == "DROP":
        with pytest.raises(Refused) as refusal:
            encapsulation.leaving_ecn(inner, outer)
        assert refusal.value.reason is Reason.CONGESTION_MARK_LOST
        return
    expected = CODE_POINTS[vector["out"]["out"]]
    assert encapsulation.leaving_ecn(inner, outer) is expected
    assert encapsulation.decapsulated_tos(dscp | inner, 0x28 | outer) == dscp | expected


@VECTORS.each("mss")
def test_the_mtu_and_mss_that_follow_from_the_wan(vector: Vector) -> None:
    wan, expected = vector["in"]["wan_mtu"], dict(vector["out"])
    # A tunnel with an encapsulation limit has 8 bytes less; none is ever sent here.
    assert expected.pop("mape_mtu_tel") == expected["mape_mtu"] - 8
    map_e, map_t = domain(Mode.MAP_E).ipv4_mtu(wan), domain(Mode.MAP_T).ipv4_mtu(wan)
    assert expected == {
        "mape_mtu": map_e,
        "mape_mss": mtu.mss_for(map_e),
        "mapt_mtu": map_t,
        "mapt_mss": MssClamp().limit(map_t),
    }


@VECTORS.each("df64")
def test_when_dont_fragment_is_set(vector: Vector) -> None:
    length = vector["in"]["ipv4_total_length"]
    datagram = UDP(sport=53, dport=1232) / bytes(length - 20 - 8)
    to_us = IPv6(src=SERVER_IPV6, dst=OWN_IPV6)
    if vector["in"]["ipv6_frag_header"]:
        fragment = bytes(to_us / IPv6ExtHdrFragment(m=1) / datagram)
        assert example(Mode.MAP_T).from_wan(fragment) == Outcome(Reason.FRAGMENT_INVALID)
        return
    ipv6 = read_ipv6(bytes(to_us / datagram))
    transport = read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)
    parsed = IP(rfc7915.ipv6_to_ipv4(ipv6, transport, bytes(4), bytes(4), identification=0))
    assert parsed.len == length
    assert {"df": int(parsed.flags.DF)} == vector["out"]
    assert (length > rfc7915.LONGEST_WITHOUT_DF) == parsed.flags.DF


@VECTORS.each("frag46")
def test_a_packet_that_would_be_fragmented_is_refused(vector: Vector) -> None:
    """Its length alone decides: the CE fragments nothing, whatever DF says."""
    given, expected = vector["in"], vector["out"]
    ce = example(Mode.MAP_T, wan_mtu=given["lowest_ipv6_mtu"])
    packet = bytes(
        IP(src="192.0.2.18", dst=SERVER)
        / UDP(sport=1232, dport=53)
        / bytes(given["ipv4_total"] - 28)
    )
    outcome = ce.from_lan(packet)
    assert (outcome.reason is Reason.TOO_BIG) is expected["fragmented"]
    assert [len(made) for made in outcome.packets] == expected.get("ipv6_sizes", [])


def icmpv4(icmp_type: int, code: int) -> bytes:
    return bytes(IP(src="192.0.2.18", dst=SERVER) / ICMP(type=icmp_type, code=code, id=1232))


def icmpv6(icmp_type: int, code: int) -> bytes:
    to_us = IPv6(src=SERVER_IPV6, dst=OWN_IPV6, nh=58)
    message = ICMPv6Unknown(type=icmp_type, code=code, msgbody=bytes.fromhex("04d00001"))
    return bytes(to_us / message)


def icmp_messages(vector: Vector) -> list[tuple[int, int]]:
    """Type and code of the ICMP messages a vector is about."""
    given: dict[str, Any] = vector["in"]
    match vector["kind"]:
        case "icmp46" | "icmp64":
            return [(given["type"], given["code"])]
        case "icmp46_ptr":
            return [(12, 0), (12, 2)]
        case "icmp64_ptr":
            return [(4, 0)]
        case "ptb46":
            return [(3, 4)]
        case _:
            return [(2, 0)]


@VECTORS.each("icmp46", "icmp46_ptr", "ptb46")
def test_icmpv4_other_than_echo_is_refused(vector: Vector) -> None:
    for icmp_type, code in icmp_messages(vector):
        outcome = example(Mode.MAP_T).from_lan(icmpv4(icmp_type, code))
        if icmp_type in (0, 8):
            assert (outcome.packets[0][40], outcome.packets[0][41]) == (
                vector["out"]["type"],
                vector["out"]["code"],
            )
        else:
            assert outcome == Outcome(Reason.ICMP_NOT_CARRIED)


@VECTORS.each("icmp64", "icmp64_ptr", "ptb64")
def test_icmpv6_other_than_echo_is_refused(vector: Vector) -> None:
    for icmp_type, code in icmp_messages(vector):
        outcome = example(Mode.MAP_T).from_wan(icmpv6(icmp_type, code))
        if icmp_type in (128, 129):
            assert (outcome.packets[0][20], outcome.packets[0][21]) == (
                vector["out"]["type"],
                vector["out"]["code"],
            )
        else:
            assert outcome == Outcome(Reason.ICMP_NOT_CARRIED)


@VECTORS.each("tunnel_icmp")
def test_icmpv6_about_the_tunnel_is_left_to_the_kernel(vector: Vector) -> None:
    given = vector["in"]
    error = icmpv6(given["icmp6_type"], given["icmp6_code"])
    assert example(Mode.MAP_E).from_wan(error) == Outcome(Reason.NOT_ENCAPSULATED)


def test_every_kind_of_packet_vector_is_tested() -> None:
    assert VECTORS.used == {
        "decap",
        "df64",
        "ecn_decap",
        "encap",
        "frag46",
        "icmp46",
        "icmp46_ptr",
        "icmp64",
        "icmp64_ptr",
        "mss",
        "pkt46",
        "pkt46err",
        "pkt64",
        "pkt64err",
        "ptb46",
        "ptb64",
        "tunnel_icmp",
    }
