# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the model of addresses and ports compute what an independent implementation did?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from mapxdp.errors import InvalidValue
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.map_address import (
    ea_bits_of,
    forwarding_destination,
    source_is_consistent,
    source_is_map_address,
)
from mapxdp.model.port_set import PortParameters, PortRange, PortSet
from mapxdp.model.rule import (
    DEFAULT_PSID_OFFSET,
    MappingRule,
    select_basic_rule,
    select_forwarding_rule,
)
from vectors import DECLARED, PRESENT, Vector, VectorsOf

VECTORS = VectorsOf()

MODEL_KINDS = {
    "ce",
    "dmr",
    "dmr_bad",
    "dmr_extract",
    "fmr",
    "lw4o6",
    "port2psid",
    "psid2ports",
    "reject_rule",
    "select_bmr",
    "select_fmr",
    "srccheck",
}
#: Those of test_vectors_packets.py, which has a guard of its own.
PACKET_KINDS = {
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
#: Kinds that nothing in the program answers to.
WITHOUT_CODE = {
    "dhcp6": "there is no DHCPv6 client: rules come from the configuration file",
    "dhcp6_bad": "there is no DHCPv6 client",
    "dhcp6_oro": "there is no DHCPv6 client",
    "dhcp6_priority": "there is no DHCPv6 client",
}

LAYOUTS = {"rfc7597": InterfaceIdFormat.RFC7597, "draft03": InterfaceIdFormat.DRAFT03}
DMR = IPv6Network("2001:db8:ffff::/64")


def rule_of(text: dict[str, Any], *, forwarding: bool = False) -> MappingRule:
    """The rule of a vector: ``a`` is the PSID offset."""
    return MappingRule(
        ipv6=IPv6Network(text["ipv6"]),
        ipv4=IPv4Network(text["ipv4"]),
        ea_length=text["ea_len"],
        psid_offset=text.get("a", DEFAULT_PSID_OFFSET),
        psid_length=text.get("psid_len"),
        psid=text.get("psid"),
        forwarding=forwarding,
    )


def ce_of(vector: Vector) -> Domain:
    """The CE a vector describes, in MAP-T."""
    given = vector["in"]
    return Domain(
        mode=Mode.MAP_T,
        end_user_prefix=IPv6Network(given["end_user_prefix"]),
        rules=(rule_of(given["rule"]),),
        dmr=DMR,
        interface_id=LAYOUTS[given.get("iid", "rfc7597")],
    )


def as_lists(ranges: Iterable[PortRange]) -> list[list[int]]:
    return [[first, last] for first, last in ranges]


def ipv4_text(ce: Domain) -> str:
    return str(ce.ipv4 if ce.ipv4_address is None else ce.ipv4_address)


CE_FIELDS: dict[str, Callable[[Domain], object]] = {
    "kind": lambda ce: ce.assignment.value,
    "ea_bits": lambda ce: ea_bits_of(ce.bmr, ce.end_user_prefix.network_address),
    "p": lambda ce: ce.bmr.ipv4_suffix_length,
    "q": lambda ce: ce.bmr.embedded_psid_length,
    "k": lambda ce: ce.bmr.port_parameters.psid_length,
    "a": lambda ce: ce.port_set.parameters.psid_offset,
    "m": lambda ce: ce.port_set.parameters.contiguous_bits,
    "ipv4": ipv4_text,
    "psid": lambda ce: ce.psid,
    "map_addr": lambda ce: str(ce.map_address),
    "n_ranges": lambda ce: len(ce.port_set.ranges()),
    "n_ports": lambda ce: len(ce.port_set),
    "first_ranges": lambda ce: as_lists(ce.port_set.ranges()[:3]),
    "last_ranges": lambda ce: as_lists(ce.port_set.ranges()[-2:]),
    "all_ranges_sum_check": lambda ce: sum(
        3 * first + last for first, last in ce.port_set.ranges()
    ),
}


@VECTORS.each("ce")
def test_what_follows_from_an_end_user_prefix(vector: Vector) -> None:
    ce = ce_of(vector)
    expected = vector["out"]
    assert {name: CE_FIELDS[name](ce) for name in expected} == expected


@VECTORS.each("ce")
def test_an_address_that_is_not_shared_has_every_port(vector: Vector) -> None:
    assert (len(ce_of(vector).port_set) == 65536) == (vector["out"]["kind"] != "shared")


SET_FIELDS: dict[str, Callable[[PortSet], object]] = {
    "m": lambda ports: ports.parameters.contiguous_bits,
    "n_ranges": lambda ports: len(ports.ranges()),
    "n_ports": len,
    "first": lambda ports: as_lists(ports.ranges()[:3]),
    "last": lambda ports: as_lists(ports.ranges()[-2:]),
}


@VECTORS.each("psid2ports")
def test_the_ports_of_a_psid(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    ports = PortSet(PortParameters(given["a"], given["k"]), given["psid"])
    assert {name: SET_FIELDS[name](ports) for name in expected} == expected
    assert sum(1 for _ in ports) == expected["n_ports"]


@VECTORS.each("port2psid")
def test_the_psid_of_a_port(vector: Vector) -> None:
    given = vector["in"]
    psid = PortParameters(given["a"], given["k"]).psid_of(given["port"])
    assert {"psid": psid, "excluded": psid is None} == vector["out"]


LW4O6_FIELDS: dict[str, Callable[[Domain], object]] = {
    "tunnel_src": lambda ce: str(ce.map_address),
    "ranges": lambda ce: as_lists(ce.port_set.ranges()),
    "n_ports": lambda ce: len(ce.port_set),
}


@VECTORS.each("lw4o6")
def test_the_tunnel_address_of_an_lwb4(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    bound = IPv6Network(given["bind_prefix"])
    shared = given["psid"] is not None
    ce = Domain(
        mode=Mode.LW4O6,
        end_user_prefix=bound,
        rules=(
            MappingRule(
                ipv6=bound,
                ipv4=IPv4Network(given["ipv4"]),
                ea_length=0,
                psid_offset=given["a"],
                psid_length=given["psid_len"] if shared else None,
                psid=given["psid"],
            ),
        ),
        br=IPv6Address("2001:db8:ffff::1"),
    )
    assert {name: LW4O6_FIELDS[name](ce) for name in expected} == expected


@VECTORS.each("fmr")
def test_where_an_fmr_sends_a_packet(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    rule, ipv4 = rule_of(given["rule"]), IPv4Address(given["ipv4_dst"])
    layout = LAYOUTS[given["iid"]]
    if "error" in expected:
        with pytest.raises(InvalidValue) as refusal:
            forwarding_destination(rule, ipv4, given["port"], layout)
        assert refusal.value.field == "port"
    else:
        destination = forwarding_destination(rule, ipv4, given["port"], layout)
        assert {"ipv6_dst": str(destination)} == expected


@VECTORS.each("dmr")
def test_the_address_under_a_dmr_and_back(vector: Vector) -> None:
    prefix, ipv4 = IPv6Network(vector["in"]["dmr"]), IPv4Address(vector["in"]["ipv4"])
    assert rfc6052.require_prefix("dmr", prefix) is prefix
    ipv6 = rfc6052.embed(prefix, ipv4)
    assert {"ipv6": str(ipv6)} == vector["out"]
    assert rfc6052.extract(prefix.prefixlen, ipv6) == ipv4


@VECTORS.each("dmr_extract")
def test_the_suffix_of_an_embedded_address_is_ignored(vector: Vector) -> None:
    given = vector["in"]
    ipv4 = rfc6052.extract(given["prefix_len"], IPv6Address(given["ipv6"]))
    assert {"ipv4": str(ipv4)} == vector["out"]


@VECTORS.each("dmr_bad")
def test_a_prefix_length_without_encoding_is_refused(vector: Vector) -> None:
    prefix = IPv6Network(("2001:db8::", vector["in"]["prefix_len"]))
    with pytest.raises(InvalidValue) as refusal:
        rfc6052.require_prefix("dmr", prefix)
    assert (refusal.value.field, refusal.value.value) == ("dmr", prefix)


@VECTORS.each("srccheck")
def test_whether_a_source_address_is_believed(vector: Vector) -> None:
    given, accepted = vector["in"], vector["out"]["accept"]
    rule, source = rule_of(given["rule"]), IPv6Address(given["src6"])
    ipv4, port = IPv4Address(given["src4"]), given["sport"]
    assert source_is_consistent(rule, source, ipv4, port) is accepted
    # The stricter check of this program also refuses a forged interface identifier.
    strictly = accepted and vector["id"] != "src-iid-junk"
    layout = InterfaceIdFormat.RFC7597
    assert source_is_map_address(rule, source, ipv4, port, layout) is strictly


REFUSED_FIELD = {
    "bad-ealen49": "ea_length",
    "bad-eu-short": "rule[0].ea_length",
    "bad-eu-outside": "end_user_prefix",
    "bad-a-plus-k": "psid_offset",
    "bad-k17": "ea_length",
    "bad-explicit-prefix": "psid_length",
    "bad-psid-overflow": "psid",
}


@VECTORS.each("reject_rule")
def test_a_rule_that_contradicts_itself_is_refused(vector: Vector) -> None:
    with pytest.raises(InvalidValue) as refusal:
        ce_of(vector)
    assert refusal.value.field == REFUSED_FIELD[vector["id"]]


@VECTORS.each("select_fmr")
def test_which_fmr_is_chosen(vector: Vector) -> None:
    given, expected = vector["in"], vector["out"]
    rules = [rule_of(text, forwarding=True) for text in given["rules"]]
    ipv4, port = IPv4Address(given["ipv4_dst"]), given["port"]
    rule = select_forwarding_rule(rules, ipv4, port)
    assert (None if rule is None else rules.index(rule)) == expected["rule_index"]
    # And the same through the domain, where what no rule leads to goes to the DMR.
    own_prefix = IPv6Network((rules[0].ipv6.network_address, rules[0].map_prefix_length))
    ce = Domain(Mode.MAP_T, own_prefix, tuple(rules), dmr=DMR)
    to_dmr = rfc6052.embed(DMR, ipv4)
    assert str(ce.destination_ipv6(ipv4, port)) == expected.get("ipv6_dst", str(to_dmr))


@VECTORS.each("select_bmr")
def test_which_bmr_is_chosen(vector: Vector) -> None:
    rules = [
        MappingRule(IPv6Network(ipv6), IPv4Network("192.0.2.0/24"), ea_length=8)
        for ipv6 in vector["in"]["rule_ipv6"]
    ]
    rule = select_basic_rule(rules, IPv6Network(vector["in"]["end_user_prefix"]))
    assert {"rule_ipv6": rule and str(rule.ipv6)} == vector["out"]


def test_the_file_holds_what_it_says() -> None:
    assert PRESENT == DECLARED


def test_every_kind_is_tested_or_named_as_missing() -> None:
    assert VECTORS.used == MODEL_KINDS
    assert MODEL_KINDS | PACKET_KINDS | WITHOUT_CODE.keys() == set(DECLARED)
