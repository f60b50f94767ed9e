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
from scapy_tools import sole

from harness.domains import BR, DMR, EXAMPLE_RULE, domain
from mapxdp.config import MssClamp
from mapxdp.model import mtu
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software import encapsulation
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.encapsulation import Ecn
from mapxdp.software.rfc7915_icmp import (
    Kind,
    fragmentation_needed_mtu,
    icmp_kind,
    icmpv6_kind,
    pointer_46,
    pointer_64,
    too_big_mtu,
)
from mapxdp.software.verdict import Outcome, Refused
from vectors import Vector, VectorsOf, named

VECTORS = VectorsOf()

SERVER = "10.2.3.4"
OWN_IPV6 = "2001:db8:12:3400:0:c000:212:34"
SERVER_IPV6 = "2001:db8:ffff:0:a:203:400:0"

#: Vectors of packets that are not handled yet, and the reason that says so.
NOT_HANDLED = {
    "pkt-mapt-frag-udp0": Reason.UDP_CHECKSUM_ZERO,
}
HANDLED = {
    "pkt-mapt-tcp-up",
    "pkt-mapt-udp-up",
    "pkt-mapt-udp-ffff",
    "pkt-mapt-udp-zero",
    "pkt-mapt-echo-up",
    "pkt-mapt-tcp-down",
    "pkt-mapt-tcp-down-big",
    "pkt-mapt-echo-down",
    "pkt-mape-tcp-up",
    "pkt-mape-tcp-down",
    "pkt-mapt-ptb-down",
    "pkt-mape-tel-down",
    "pkt-mapt-frag-first",
    "pkt-mapt-frag-last",
    "pkt-mapt-frag-down",
}
#: A later fragment crosses behind the first one of its datagram only.
BEHIND = {"pkt-mapt-frag-last": "pkt-mapt-frag-first"}


def example(mode: Mode, wan_mtu: int = 1500, lowest_ipv6_mtu: int | None = None) -> CustomerEdge:
    """The RFCs' example CE without NAPT44 and without MSS clamp."""
    ce_domain = domain(mode)
    settings = CeSettings(
        ce_domain.ipv4_mtu(wan_mtu),
        mss=None,
        translates_ports=False,
        lowest_ipv6_mtu=lowest_ipv6_mtu,
    )
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
            ce = example(Mode.MAP_T)
            if vector["id"] in BEHIND:
                ce.from_lan(bytes.fromhex(named(BEHIND[vector["id"]])["in"]["packet"]))
            return ce.from_lan(packet)
        case "pkt64" | "pkt64err":
            ce = example(Mode.MAP_T)
            if vector["id"] == "pkt-mapt-frag-down":
                assert ce.from_wan(first_before(packet)).packets
            return ce.from_wan(packet)
        case "encap":
            return example(Mode.MAP_E).from_lan(one_hop_further(packet))
        case "decap":
            return example(Mode.MAP_E).from_wan(packet)
        case kind:
            raise AssertionError(kind)


def first_before(packet: bytes) -> bytes:
    """The first fragment of the datagram that a later one is of."""
    later = IPv6(packet)
    assert later[IPv6ExtHdrFragment].offset
    datagram = UDP(sport=53, dport=1232, len=2000, chksum=1) / bytes(
        later[IPv6ExtHdrFragment].offset * 8 - 8
    )
    header = IPv6ExtHdrFragment(m=1, id=later[IPv6ExtHdrFragment].id)
    return bytes(IPv6(src=later.src, dst=later.dst) / header / datagram)


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
    if vector["kind"] in ("pkt64", "pkt64err"):
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
def test_an_icmp_error_finds_its_ce_by_what_it_quotes(vector: Vector) -> None:
    relay = BorderRelay(MAP_T_RELAY)
    made = relay.to_domain(bytes.fromhex(vector["in"]["packet"]))
    assert made is not None, relay.counts
    assert one_hop_further(made).hex() == vector["out"]["packet"]


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
        to_us /= IPv6ExtHdrFragment(m=0, id=7)
    parsed = IP(sole(example(Mode.MAP_T).from_wan(bytes(to_us / datagram))))
    assert parsed.len == length
    assert {"df": int(parsed.flags.DF)} == vector["out"]


@VECTORS.each("frag46")
def test_into_which_fragments_a_packet_is_cut(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    ce = example(Mode.MAP_T, wan_mtu=9000, lowest_ipv6_mtu=given["lowest_ipv6_mtu"])
    packet = bytes(
        IP(src="192.0.2.18", dst=SERVER)
        / UDP(sport=1232, dport=53)
        / bytes(given["ipv4_total"] - 28)
    )
    made = ce.from_lan(packet).packets
    if expected["fragmented"]:
        assert [fragment_of(packet) for packet in made] == expected["frags"]
    else:
        assert [len(packet) for packet in made] == expected["ipv6_sizes"]
        assert made[0][6] == 17


def fragment_of(packet: bytes) -> dict[str, int]:
    header = IPv6(packet)[IPv6ExtHdrFragment]
    return {"offset8": header.offset, "m": header.m, "ipv6_size": len(packet)}


@VECTORS.each("icmp46")
def test_the_icmpv6_message_for_an_icmp_one(vector: Vector) -> None:
    given, expected = Kind(**vector["in"]), vector["out"]
    if given.type in (0, 8):
        packet = bytes(IP(src="192.0.2.18", dst=SERVER) / ICMP(type=given.type, id=1232))
        made = sole(example(Mode.MAP_T).from_lan(packet))
        assert {"type": made[40], "code": made[41]} == expected
    elif expected == {"action": "drop"}:
        with pytest.raises(Refused) as refused:
            icmpv6_kind(given)
        assert refused.value.reason is Reason.ICMP_NOT_CARRIED
    else:
        assert icmpv6_kind(given)._asdict() == kind_of(expected)


@VECTORS.each("icmp64")
def test_the_icmp_message_for_an_icmpv6_one(vector: Vector) -> None:
    given, expected = Kind(**vector["in"]), vector["out"]
    if given.type in (128, 129):
        message = ICMPv6Unknown(type=given.type, msgbody=bytes.fromhex("04d00001"))
        packet = bytes(IPv6(src=SERVER_IPV6, dst=OWN_IPV6, nh=58) / message)
        made = sole(example(Mode.MAP_T).from_wan(packet))
        assert {"type": made[20], "code": made[21]} == expected
    elif expected == {"action": "drop"}:
        with pytest.raises(Refused) as refused:
            icmp_kind(given)
        assert refused.value.reason is Reason.ICMP_NOT_CARRIED
    else:
        assert icmp_kind(given)._asdict() == kind_of(expected)


def kind_of(expected: dict[str, Any]) -> dict[str, int]:
    return {name: expected[name] for name in ("type", "code")}


@VECTORS.each("icmp46_ptr", "icmp64_ptr")
def test_what_a_parameter_problem_points_at(vector: Vector) -> None:
    translate = pointer_46 if vector["kind"] == "icmp46_ptr" else pointer_64
    for pointer in range(256):
        expected = vector["out"].get(str(pointer))
        if expected is None:
            with pytest.raises(Refused):
                translate(pointer)
        else:
            assert translate(pointer) == expected


@VECTORS.each("ptb46")
def test_the_mtu_of_a_packet_too_big(vector: Vector) -> None:
    given = vector["in"]
    mtu6 = too_big_mtu(
        given["mtu4"],
        given["returned_total_length"] or 0,
        given["mtu_v6_nexthop"],
        given["mtu_v4_nexthop"],
    )
    assert {"mtu6": mtu6} == vector["out"]


@VECTORS.each("ptb64")
def test_the_mtu_of_a_fragmentation_needed(vector: Vector) -> None:
    given = vector["in"]
    mtu4 = fragmentation_needed_mtu(
        given["mtu6"],
        given["mtu_v4_nexthop"],
        given["mtu_v6_nexthop"],
        fragmented=given["orig_has_frag_hdr"],
    )
    assert {"mtu4": mtu4} == vector["out"]


@VECTORS.each("tunnel_icmp")
def test_errors_about_the_tunnel_reach_the_sender(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    about_limit = given["icmp6_type"] == 4
    inner = IP(src="192.0.2.18", dst=SERVER, flags="DF" if given["inner_df"] else 0)
    inner /= UDP(sport=1232, dport=53) / b"question"
    limit = bytes([4, 0, 4, 1, 0, 1, 1, 0]) if about_limit else b""
    tunnel = IPv6(src=OWN_IPV6, dst=str(BR), nh=60 if about_limit else 4) / (limit + bytes(inner))
    word = (given["mtu"] or (44 if about_limit else 0)).to_bytes(4, "big")
    message = ICMPv6Unknown(
        type=given["icmp6_type"], code=given["icmp6_code"], msgbody=word + bytes(tunnel)
    )
    error = bytes(IPv6(src="2001:db8:77::1", dst=OWN_IPV6, nh=58) / message)
    outcome = example(Mode.MAP_E).from_wan(error)
    if "action" in expected:
        assert outcome == Outcome(Reason.ICMP_NOT_CARRIED)
        return
    made = IP(sole(outcome))
    assert (made.src, made.dst) == ("192.0.0.8", "192.0.2.18")
    assert (made[ICMP].type, made[ICMP].code) == (expected["type"], expected["code"])
    assert made[ICMP].nexthopmtu == expected.get("mtu", 0)
    assert bytes(made[ICMP].payload) == bytes(inner)


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
