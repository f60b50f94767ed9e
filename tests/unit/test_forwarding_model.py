# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Forwarding rules in the model: the index against the definition, and hosts of a prefix."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import packets
from harness.domains import BR, DMR
from harness.rules import PORTS, addresses_near, rules
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.mesh import ForwardingRules
from mapxdp.model.rule import MappingRule, select_forwarding_rule
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.ce import CeSettings, CustomerEdge

repeatable = settings(deadline=None, derandomize=True, database=None)


@repeatable
@given(known=st.lists(rules(), max_size=8), port=st.none() | PORTS, data=st.data())
def test_the_index_finds_what_a_search_finds(
    known: list[MappingRule], port: int | None, data: st.DataObject
) -> None:
    index = ForwardingRules(known)
    near = known[0].ipv4 if known else IPv4Network("192.0.2.0/24")
    ipv4 = data.draw(addresses_near(near))
    assert index.towards(ipv4, port) is select_forwarding_rule(known, ipv4, port)


@repeatable
@given(known=st.lists(rules(), max_size=8), number=st.integers(0, 2**128 - 1), data=st.data())
def test_the_rule_of_a_source_is_the_longest(
    known: list[MappingRule], number: int, data: st.DataObject
) -> None:
    under = data.draw(st.sampled_from([rule.ipv6 for rule in known] or [IPv6Network("::/0")]))
    source = IPv6Address(int(under.network_address) | number & int(under.hostmask))
    holding = [rule for rule in known if source in rule.ipv6]
    expected = max(holding, key=lambda rule: rule.ipv6.prefixlen, default=None)
    assert ForwardingRules(known).of_source(source) is expected


def of_prefix(
    mode: Mode, layout: InterfaceIdFormat, end_user_prefix: str = "2001:db8:12::/48"
) -> Domain:
    return Domain(
        mode=mode,
        end_user_prefix=IPv6Network(end_user_prefix),
        rules=(MappingRule(IPv6Network("2001:db8::/40"), IPv4Network("192.0.0.0/16"), 8),),
        dmr=DMR if mode.translates else None,
        br=None if mode.translates else BR,
        interface_id=layout,
    )


@pytest.mark.parametrize(
    ("layout", "address", "network"),
    [
        ("rfc7597", "2001:db8:12:0:0:c000:124d:0", "2001:db8:12:0:0:c000:1200:0/104"),
        ("draft-03", "2001:db8:12:0:c0:12:4d00:0", "2001:db8:12:0:c0:12::/96"),
    ],
)
def test_hosts_of_a_prefix_in_map_t(layout: str, address: str, network: str) -> None:
    domain = of_prefix(Mode.MAP_T, InterfaceIdFormat(layout))
    host = IPv4Address("192.0.18.77")
    assert domain.source_ipv6(host) == IPv6Address(address)
    assert domain.own_ipv4(IPv6Address(address)) == host
    assert domain.own_ipv4(domain.map_address) == domain.ipv4.network_address
    assert domain.map_network == IPv6Network(network)
    for bit in (0, 15, 60, 127):
        assert domain.own_ipv4(IPv6Address(int(IPv6Address(address)) ^ 1 << bit)) is None


def test_hosts_of_a_prefix_in_map_e() -> None:
    """The tunnel has one address, the inner header the host's."""
    domain = of_prefix(Mode.MAP_E, InterfaceIdFormat.RFC7597)
    assert domain.source_ipv6(IPv4Address("192.0.18.77")) == domain.map_address
    assert domain.map_network == IPv6Network((domain.map_address, 128))


@pytest.mark.parametrize(("layout", "room"), [("rfc7597", 104), ("draft-03", 96)])
def test_an_ipv6_prefix_that_overwrites_the_hosts(layout: str, room: int) -> None:
    of_prefix(Mode.MAP_T, InterfaceIdFormat(layout), f"2001:db8:12::/{room}")
    longer = f"2001:db8:12::/{room + 1}"
    of_prefix(Mode.MAP_E, InterfaceIdFormat(layout), longer)
    with pytest.raises(InvalidValue, match=f"told apart by bits {room} to {room + 7} of"):
        of_prefix(Mode.MAP_T, InterfaceIdFormat(layout), longer)


def test_an_fmr_that_overwrites_the_hosts() -> None:
    fmr = MappingRule(IPv6Network("2001:db9::/100"), IPv4Network("10.0.0.0/16"), 8, forwarding=True)
    own = of_prefix(Mode.MAP_E, InterfaceIdFormat.RFC7597)
    with pytest.raises(InvalidValue) as refused:
        Domain(Mode.MAP_T, own.end_user_prefix, (*own.rules, fmr), dmr=DMR)
    assert refused.value.field == "rule[1].ea_length"


@pytest.mark.parametrize("layout", InterfaceIdFormat)
@pytest.mark.parametrize("mode", [Mode.MAP_T, Mode.MAP_E])
@pytest.mark.parametrize("host", ["192.0.18.0", "192.0.18.77", "192.0.18.255"])
def test_a_prefix_over_the_br(host: str, mode: Mode, layout: InterfaceIdFormat) -> None:
    """Out and back: the BR finds each host, and the CE finds it again."""
    domain = of_prefix(mode, layout)
    ce = CustomerEdge(domain, CeSettings(ipv4_mtu=1400, mss=None, translates_ports=False))
    relay = BorderRelay(BrSettings(mode, domain.rules, domain.dmr, domain.br, interface_id=layout))
    data = packets.udp(host, packets.SERVER, 4000, 53, b"question")
    question = packets.ipv4(data, packets.UDP, host, packets.SERVER)
    (sent,) = ce.from_lan(question).packets
    arrived = relay.from_domain(sent)
    assert arrived is not None
    assert arrived[12:20] == question[12:20]
    data = packets.udp(packets.SERVER, host, 53, 4000, b"answer")
    answer = packets.ipv4(data, packets.UDP, packets.SERVER, host)
    returned = relay.to_domain(answer)
    assert returned is not None
    (delivered,) = ce.from_wan(returned).packets
    assert delivered[12:20] == answer[12:20]
    assert packets.checksums_are_right(delivered)
