# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""MAP addresses in C against the model and an independent implementation's vectors.

The rule goes to C as the datapath's maps hold it.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.domains import BR, DMR
from harness.rules import PORTS, addresses_near, flipped, rules
from mapxdp.contract import Contract
from mapxdp.datapath import tables
from mapxdp.datapath.rules import rule_maps
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.map_address import forwarding_destination, source_is_map_address
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.rule import Assignment, MappingRule
from vectors import Vector, VectorsOf

VECTORS = VectorsOf()
CONTRACT: Contract = tables.contract_for(PortSet(PortParameters(6, 8), 0))
LAYOUTS = {"rfc7597": InterfaceIdFormat.RFC7597, "draft03": InterfaceIdFormat.DRAFT03}
NO_PORT = CONTRACT.number("NO_PORT")

repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=400)


def domain_with(
    rule: MappingRule, mode: Mode = Mode.MAP_E, layout: InterfaceIdFormat = LAYOUTS["rfc7597"]
) -> Domain:
    """A CE of another rule's, that knows this one as an FMR."""
    own = MappingRule(IPv6Network("3ffe::/32"), IPv4Network("203.0.113.1/32"), 0)
    return Domain(
        mode=mode,
        end_user_prefix=IPv6Network("3ffe::/56"),
        rules=(rule, replace(own, ipv6=IPv6Network("3ffe::/56"))),
        dmr=DMR if mode.translates else None,
        br=None if mode.translates else BR,
        interface_id=layout,
    )


def packed(rule: MappingRule, **place: Any) -> bytes:
    return rule_maps(CONTRACT, domain_with(rule, **place)).rules[1]


def owner(host_c: ctypes.CDLL, rule: bytes, ipv4: IPv4Address, port: int) -> IPv6Address | None:
    address = ctypes.create_string_buffer(16)
    if not host_c.owner_address(rule, ctypes.c_uint32(int(ipv4)), port, address):
        return None
    return IPv6Address(address.raw)


def modelled(
    rule: MappingRule, ipv4: IPv4Address, port: int | None, layout: InterfaceIdFormat
) -> IPv6Address | None:
    try:
        return forwarding_destination(rule, ipv4, port, layout)
    except InvalidValue:
        return None


@repeatable
@given(rule=rules(), layout=st.sampled_from(InterfaceIdFormat), port=PORTS, data=st.data())
def test_destinations(
    rule: MappingRule,
    layout: InterfaceIdFormat,
    port: int,
    data: st.DataObject,
    host_c: ctypes.CDLL,
) -> None:
    ipv4 = data.draw(addresses_near(rule.ipv4))
    assume(ipv4 in rule.ipv4)
    if rule.psid is not None and rule.assignment is Assignment.SHARED and data.draw(st.booleans()):
        port = PortSet(rule.port_parameters, rule.psid).port_at(0)
    rule_in_c = packed(rule, layout=layout)
    assert owner(host_c, rule_in_c, ipv4, port) == modelled(rule, ipv4, port, layout)
    assert owner(host_c, rule_in_c, ipv4, NO_PORT) == modelled(rule, ipv4, None, layout)


@repeatable
@given(
    rule=rules(),
    layout=st.sampled_from(InterfaceIdFormat),
    port=PORTS,
    bit=st.none() | st.integers(0, 127),
    data=st.data(),
)
def test_sources(
    rule: MappingRule,
    layout: InterfaceIdFormat,
    port: int,
    bit: int | None,
    data: st.DataObject,
    host_c: ctypes.CDLL,
) -> None:
    """Of the owner itself, of one whose address differs in a bit, and of another IPv4 address."""
    sent_by = data.draw(addresses_near(rule.ipv4))
    true = modelled(rule, sent_by, port, layout)
    assume(true is not None and sent_by in rule.ipv4)
    assert true is not None
    claimed = data.draw(st.just(sent_by) | addresses_near(rule.ipv4))
    source = flipped(true, bit)
    assume(source in rule.ipv6)  # the trie has found the rule by it
    expected = source_is_map_address(rule, source, claimed, port, layout)
    given_in_c = packed(rule, layout=layout), source.packed
    found = host_c.is_owner_address(*given_in_c, ctypes.c_uint32(int(claimed)), port)
    assert bool(found) is expected


@repeatable
@given(
    rule=rules(),
    layout=st.sampled_from(InterfaceIdFormat),
    port=PORTS,
    bit=st.none() | st.integers(0, 127),
    data=st.data(),
)
def test_translated_packets_show_their_host(
    rule: MappingRule,
    layout: InterfaceIdFormat,
    port: int,
    bit: int | None,
    data: st.DataObject,
    host_c: ctypes.CDLL,
) -> None:
    """MAP-T: there and back, whole prefixes too."""
    try:
        ce = domain_with(rule, Mode.MAP_T, layout)
    except InvalidValue:
        return  # the rule's prefix leaves no room for the hosts
    ipv4 = data.draw(addresses_near(rule.ipv4))
    assume(ipv4 in rule.ipv4 and modelled(rule, ipv4, port, layout) is not None)
    rule_in_c = packed(rule, mode=Mode.MAP_T, layout=layout)
    host_c.ipv4_behind.restype = ctypes.c_uint32
    address = owner(host_c, rule_in_c, ipv4, port)
    assert address == ce.destination_ipv6(ipv4, port)
    assert host_c.ipv4_behind(rule_in_c, address.packed) == int(ipv4)
    source = flipped(address, bit)
    assume(source in rule.ipv6)
    remote = ce.peer_ipv4(rule, source)
    assert host_c.ipv4_behind(rule_in_c, source.packed) == int(remote)
    found = host_c.is_owner_address(rule_in_c, source.packed, ctypes.c_uint32(int(remote)), port)
    assert bool(found) is ce.is_source_of(rule, source, remote, port)


def rule_of(text: dict[str, Any]) -> MappingRule:
    return MappingRule(
        ipv6=IPv6Network(text["ipv6"]),
        ipv4=IPv4Network(text["ipv4"]),
        ea_length=text["ea_len"],
        psid_offset=text["a"],
        psid_length=text.get("psid_len"),
        psid=text.get("psid"),
        forwarding=True,
    )


@VECTORS.each("fmr")
def test_vectors_of_destinations(vector: Vector, host_c: ctypes.CDLL) -> None:
    text = vector["in"]
    rule = packed(rule_of(text["rule"]), layout=LAYOUTS[text["iid"]])
    port = NO_PORT if text["port"] is None else text["port"]
    found = owner(host_c, rule, IPv4Address(text["ipv4_dst"]), port)
    expected = vector["out"].get("ipv6_dst")
    assert found == (None if expected is None else IPv6Address(expected))


@VECTORS.each("srccheck")
def test_vectors_of_sources(vector: Vector, host_c: ctypes.CDLL) -> None:
    text = vector["in"]
    rule, source = rule_of(text["rule"]), IPv6Address(text["src6"])
    claimed = ctypes.c_uint32(int(IPv4Address(text["src4"])))
    found = host_c.is_owner_address(packed(rule), source.packed, claimed, text["sport"])
    strictly = vector["out"]["accept"] and vector["id"] != "src-iid-junk"
    assert bool(found) is strictly
