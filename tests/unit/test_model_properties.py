# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the arithmetic of RFC 7597 and 6052 hold for every rule, not for the examples alone?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mapxdp.errors import InvalidValue
from mapxdp.model import mtu, rfc6052
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.map_address import (
    ea_bits_of,
    forwarding_destination,
    source_is_consistent,
    source_is_map_address,
)
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.rule import (
    Assignment,
    MappingRule,
    select_basic_rule,
    select_forwarding_rule,
)

repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=200)

BR = IPv6Address("2001:db8:ffff::1")
DMR = IPv6Network("2001:db8:ffff::/64")
LAYOUTS = st.sampled_from(list(InterfaceIdFormat))


def bits(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << count) - 1)


def ipv6_prefixes(length: int) -> st.SearchStrategy[IPv6Network]:
    return bits(length).map(lambda high: IPv6Network((high << (128 - length), length)))


def ipv4_prefixes(length: int) -> st.SearchStrategy[IPv4Network]:
    return bits(length).map(lambda high: IPv4Network((high << (32 - length), length)))


@st.composite
def rules(draw: st.DrawFn) -> MappingRule:
    """Any rule the RFC allows: prefix, full or shared address, with an explicit PSID or not."""
    r = draw(st.integers(0, 32))
    o = draw(st.integers(0, min(48, 32 - r + 16)))
    n = draw(st.integers(0, 128 - o))
    k = max(0, o - (32 - r))
    psid_length = psid = None
    if o + r == 32 and draw(st.booleans()):
        psid_length = k = draw(st.integers(0, 16))
        psid = draw(bits(k))
    return MappingRule(
        ipv6=draw(ipv6_prefixes(n)),
        ipv4=draw(ipv4_prefixes(r)),
        ea_length=o,
        psid_offset=draw(st.integers(0, min(15, 16 - k))),
        psid_length=psid_length,
        psid=psid,
    )


class OneCe(NamedTuple):
    """A rule, and one of the CEs it serves, by its EA bits."""

    rule: MappingRule
    ea_bits: int
    layout: InterfaceIdFormat

    @property
    def domain(self) -> Domain:
        """The CE whose end-user prefix is exactly n + o bits long."""
        length = self.rule.map_prefix_length
        high = int(self.rule.ipv6.network_address) | self.ea_bits << (128 - length)
        return Domain(
            Mode.MAP_E,
            IPv6Network((high, length)),
            (self.rule,),
            br=BR,
            interface_id=self.layout,
        )


@st.composite
def ces(draw: st.DrawFn) -> OneCe:
    rule = draw(rules())
    return OneCe(rule, draw(bits(rule.ea_length)), draw(LAYOUTS))


@given(ces())
@repeatable
def test_ea_bits_become_ipv4_and_psid_and_ea_bits_again(ce: OneCe) -> None:
    rule = ce.rule
    ipv4, psid = rule.ipv4_of(ce.ea_bits), rule.psid_of(ce.ea_bits)
    assert ipv4.subnet_of(rule.ipv4)
    assert (psid is None) == (rule.assignment is not Assignment.SHARED)
    for host in (ipv4.network_address, ipv4.broadcast_address):
        assert rule.ea_bits_for(host, psid) == ce.ea_bits
    assert ea_bits_of(rule, ce.domain.map_address) == ce.ea_bits


@given(rules(), st.data())
@repeatable
def test_ipv4_and_psid_become_ea_bits_and_ipv4_and_psid_again(
    rule: MappingRule, data: st.DataObject
) -> None:
    host = IPv4Address(int(rule.ipv4[0]) | data.draw(bits(32 - rule.ipv4.prefixlen)))
    psid = data.draw(bits(rule.embedded_psid_length)) if rule.embedded_psid_length else rule.psid
    ea_bits = rule.ea_bits_for(host, psid)
    assert 0 <= ea_bits < 1 << rule.ea_length
    assert host in rule.ipv4_of(ea_bits)
    if rule.assignment is Assignment.SHARED:
        assert rule.psid_of(ea_bits) == psid


@given(ces(), st.data())
@repeatable
def test_a_peer_finds_the_ce_by_any_of_its_ports(ce: OneCe, data: st.DataObject) -> None:
    domain = ce.domain
    ports = domain.port_set
    indexes = data.draw(st.lists(st.integers(0, len(ports) - 1), min_size=1, max_size=20))
    host = data.draw(st.sampled_from([domain.ipv4[0], domain.ipv4[-1]]))
    for port in [ports.port_at(index) for index in indexes]:
        assert forwarding_destination(ce.rule, host, port, ce.layout) == domain.map_address
        assert source_is_consistent(ce.rule, domain.map_address, host, port)
        assert source_is_map_address(ce.rule, domain.map_address, host, port, ce.layout)


@pytest.mark.parametrize("layout", InterfaceIdFormat)
@pytest.mark.parametrize("psid_offset", [0, 4, 6])
def test_a_peer_finds_the_ce_by_all_of_its_ports(
    psid_offset: int, layout: InterfaceIdFormat
) -> None:
    rule = MappingRule(
        IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24"), 16, psid_offset=psid_offset
    )
    domain = OneCe(rule, 0x1234, layout).domain
    host = domain.ipv4_address
    assert host == IPv4Address("192.0.2.18")
    assert {forwarding_destination(rule, host, port, layout) for port in domain.port_set} == {
        domain.map_address
    }


@given(ces(), bits(16))
@repeatable
def test_no_foreign_port_leads_to_the_ce(ce: OneCe, port: int) -> None:
    domain = ce.domain
    assume(port not in domain.port_set)
    host = domain.ipv4.network_address
    assert not source_is_consistent(ce.rule, domain.map_address, host, port)
    try:
        destination = forwarding_destination(ce.rule, host, port, ce.layout)
    except InvalidValue as refusal:
        assert refusal.field == "port"
        assert ce.rule.port_parameters.psid_of(port) is None or ce.rule.psid is not None
    else:
        assert destination != domain.map_address


@given(ces(), st.integers(0, 127))
@repeatable
def test_one_wrong_bit_makes_a_source_address_a_forgery(ce: OneCe, bit: int) -> None:
    domain = ce.domain
    host, port = domain.ipv4.network_address, domain.port_set.port_at(0)
    forged = IPv6Address(int(domain.map_address) ^ 1 << bit)
    assert not source_is_map_address(ce.rule, forged, host, port, ce.layout)


def port_parameters(at_most: int) -> Iterator[PortParameters]:
    """Every a and k with a + k <= ``at_most``."""
    for psid_offset in range(min(at_most, 15) + 1):
        for psid_length in range(at_most - psid_offset + 1):
            yield PortParameters(psid_offset, psid_length)


def test_the_port_sets_of_all_psids_partition_the_allowed_ports() -> None:
    for parameters in port_parameters(at_most=12):
        ranges = sorted(
            ports
            for psid in range(parameters.sharing_ratio)
            for ports in PortSet(parameters, psid).ranges()
        )
        expected = 1 << (16 - parameters.psid_offset) if parameters.psid_offset else 0
        for first, last in ranges:
            assert first == expected, parameters
            assert last >= first
            expected = last + 1
        assert expected == 1 << 16, parameters


@pytest.mark.parametrize(
    "parameters", [PortParameters(0, 2), PortParameters(2, 3), PortParameters(6, 4)], ids=str
)
def test_each_port_has_the_one_owner_whose_set_holds_it(parameters: PortParameters) -> None:
    owner = dict.fromkeys(range(1 << 16))
    for psid in range(parameters.sharing_ratio):
        for port in PortSet(parameters, psid):
            assert owner[port] is None
            owner[port] = psid
    assert [parameters.psid_of(port) for port in range(1 << 16)] == list(owner.values())


@st.composite
def port_sets(draw: st.DrawFn) -> PortSet:
    psid_offset = draw(st.integers(0, 15))
    psid_length = draw(st.integers(0, 16 - psid_offset))
    return PortSet(PortParameters(psid_offset, psid_length), draw(bits(psid_length)))


@given(port_sets())
@settings(repeatable, max_examples=30)
def test_all_views_of_a_port_set_agree(ports: PortSet) -> None:
    listed = list(ports)
    assert listed == sorted(set(listed))
    assert len(ports) == len(listed)
    assert listed == [port for port in range(1 << 16) if port in ports]
    assert listed == [ports.port_at(index) for index in range(len(ports))]
    assert listed == [port for first, last in ports.ranges() for port in range(first, last + 1)]
    assert [*range(len(listed))] == [ports.index_of(port) for port in listed]
    for outside in (-1, 1 << 16, "80", None, 80.5):
        assert outside not in ports
    for index in (-1, len(ports)):
        with pytest.raises(IndexError):
            ports.port_at(index)
    for port in (-1, *set(range(0, 1 << 16, 4096)).difference(listed), 1 << 16):
        with pytest.raises(ValueError, match="not in the set"):
            ports.index_of(port)


def test_every_port_is_every_port() -> None:
    assert list(PortSet.every_port()) == list(range(1 << 16))


@given(st.sampled_from(rfc6052.PREFIX_LENGTHS), bits(128), bits(32), bits(128))
@repeatable
def test_rfc6052_round_trip(length: int, high: int, ipv4: int, suffix: int) -> None:
    u_octet = 0xFF << 56
    prefix = IPv6Network((high & ~u_octet & -1 << (128 - length), length))
    rfc6052.require_prefix("dmr", prefix)
    host = IPv4Address(ipv4)
    ipv6 = rfc6052.embed(prefix, host)
    assert ipv6 in prefix
    assert not int(ipv6) & u_octet
    assert rfc6052.extract(length, ipv6) == host
    # Nothing but the prefix and the 32 bits is set, and nothing else is read.
    used = int(rfc6052.embed(prefix, IPv4Address("255.255.255.255"))) | int(prefix.netmask)
    assert int(ipv6) & ~used == 0
    assert used.bit_count() == length + 32
    assert rfc6052.extract(length, IPv6Address(int(ipv6) | suffix & ~used)) == host


@pytest.mark.parametrize("length", [n for n in range(129) if n not in rfc6052.PREFIX_LENGTHS])
def test_other_prefix_lengths_are_refused(length: int) -> None:
    with pytest.raises(InvalidValue, match=r"RFC 6052"):
        rfc6052.require_prefix("dmr", IPv6Network(("2001::", length), strict=False))


# A small world, so that rules overlap: 2 bits of address decide everything.
_FEW_IPV6 = st.integers(0, 4).flatmap(
    lambda length: bits(length).map(
        lambda high: IPv6Network((high << (128 - length), length)),
    )
)
_FEW_IPV4 = st.integers(28, 32).flatmap(
    lambda length: bits(length - 28).map(
        lambda low: IPv4Network((0xC0000200 | low << (32 - length), length))
    )
)


@st.composite
def overlapping_rules(draw: st.DrawFn) -> MappingRule:
    ipv4 = draw(_FEW_IPV4)
    shares = draw(st.booleans())
    full = 32 - ipv4.prefixlen
    explicit = shares and draw(st.booleans())
    return MappingRule(
        ipv6=draw(_FEW_IPV6),
        ipv4=ipv4,
        ea_length=full + (1 if shares and not explicit else 0),
        psid_offset=draw(st.sampled_from([0, 1])),
        psid_length=1 if explicit else None,
        psid=draw(bits(1)) if explicit else None,
    )


@given(st.lists(overlapping_rules(), max_size=8), bits(4), st.integers(0, 4))
@repeatable
def test_the_bmr_is_the_longest_match(
    candidates: list[MappingRule], high: int, length: int
) -> None:
    prefix = IPv6Network((high >> (4 - length) << (128 - length), length))
    best: MappingRule | None = None
    for wanted in range(length + 1):
        for rule in candidates:
            same = int(rule.ipv6[0]) >> (128 - wanted) == int(prefix[0]) >> (128 - wanted)
            if rule.ipv6.prefixlen == wanted and same:
                best = best if best and best.ipv6.prefixlen == wanted else rule
    assert select_basic_rule(candidates, prefix) is best


def owns(rule: MappingRule, port: int | None) -> bool:
    """By enumeration: some CE of the rule has the port."""
    if rule.assignment is not Assignment.SHARED:
        return True
    psids = range(rule.port_parameters.sharing_ratio) if rule.psid is None else [rule.psid]
    return any(port in PortSet(rule.port_parameters, psid) for psid in psids)


@given(
    st.lists(overlapping_rules(), max_size=8),
    bits(5),
    st.sampled_from([None, 0, 80, 32767, 32768, 49151, 49152, 65535]),
)
@repeatable
def test_the_fmr_is_the_longest_match_that_can_own_the_port(
    candidates: list[MappingRule], low: int, port: int | None
) -> None:
    ipv4 = IPv4Address(0xC0000200 | low)
    best: MappingRule | None = None
    for rule in candidates:
        matches = rule.ipv4[0] <= ipv4 <= rule.ipv4[-1] and owns(rule, port)
        if matches and (best is None or rule.ipv4.prefixlen > best.ipv4.prefixlen):
            best = rule
    assert select_forwarding_rule(candidates, ipv4, port) is best


@given(ces(), bits(32), st.one_of(st.none(), bits(16)))
@repeatable
def test_a_destination_no_rule_owns_goes_to_the_far_end(
    ce: OneCe, ipv4: int, port: int | None
) -> None:
    host = IPv4Address(ipv4)
    assert ce.domain.destination_ipv6(host, port) == BR, "a BMR forwards nothing"
    if select_forwarding_rule([ce.rule], host, port) is not None:
        # What is selected can be computed: no InvalidValue.
        forwarding_destination(ce.rule, host, port, ce.layout)


def rule_with(**changes: object) -> MappingRule:
    given: dict[str, object] = {
        "ipv6": IPv6Network("2001:db8::/40"),
        "ipv4": IPv4Network("192.0.2.0/24"),
        "ea_length": 16,
    }
    return MappingRule(**(given | changes))  # type: ignore[arg-type]


def domain_with(rule: MappingRule | None = None, **changes: object) -> Domain:
    given: dict[str, object] = {
        "mode": Mode.MAP_T,
        "end_user_prefix": IPv6Network("2001:db8:12:3400::/56"),
        "rules": (rule or rule_with(),),
        "dmr": DMR,
    }
    return Domain(**(given | changes))  # type: ignore[arg-type]


FULL = IPv4Network("192.0.2.18/32")

REFUSALS: dict[str, tuple[str, object, Callable[[], object]]] = {
    "psid_offset below 0": ("psid_offset", -1, lambda: PortParameters(-1, 8)),
    "psid_offset above 15": ("psid_offset", 16, lambda: PortParameters(16, 0)),
    "psid_length below 0": ("psid_length", -1, lambda: PortParameters(6, -1)),
    "psid_length above 16": ("psid_length", 17, lambda: PortParameters(0, 17)),
    "a + k above 16": ("psid_offset", 6, lambda: PortParameters(6, 11)),
    "psid below 0": ("psid", -1, lambda: PortSet(PortParameters(6, 8), -1)),
    "psid of 9 bits": ("psid", 256, lambda: PortSet(PortParameters(6, 8), 256)),
    "ea_length below 0": ("ea_length", -1, lambda: rule_with(ea_length=-1)),
    "ea_length above 48": ("ea_length", 49, lambda: rule_with(ea_length=49)),
    "n + o above 128": (
        "ea_length",
        16,
        lambda: rule_with(ipv6=IPv6Network("2001:db8::/113")),
    ),
    "PSID of 17 bits in the EA bits": ("ea_length", 25, lambda: rule_with(ea_length=25)),
    "psid without psid_length": ("psid", 1, lambda: rule_with(psid=1)),
    "psid_length without psid": ("psid_length", 8, lambda: rule_with(psid_length=8)),
    "explicit PSID of a prefix": (
        "psid_length",
        4,
        lambda: rule_with(ea_length=4, psid_length=4, psid=1),
    ),
    "two PSID lengths": ("psid_length", 4, lambda: rule_with(psid_length=4, psid=1)),
    "explicit PSID that does not fit": (
        "psid",
        16,
        lambda: rule_with(ipv4=FULL, ea_length=0, psid_length=4, psid=16),
    ),
    "explicit PSID and psid_offset above 16 bits": (
        "psid_offset",
        6,
        lambda: rule_with(ipv4=FULL, ea_length=0, psid_length=11, psid=16),
    ),
    "no rule for the prefix": (
        "end_user_prefix",
        IPv6Network("2001:db9::/56"),
        lambda: domain_with(end_user_prefix=IPv6Network("2001:db9::/56")),
    ),
    "no rule at all": (
        "end_user_prefix",
        IPv6Network("2001:db8:12:3400::/56"),
        lambda: domain_with(rules=()),
    ),
    "end-user prefix too short": (
        "rule[0].ea_length",
        16,
        lambda: domain_with(end_user_prefix=IPv6Network("2001:db8:12::/48")),
    ),
    "explicit PSID that is not the prefix's": (
        "rule[0].psid",
        0x35,
        lambda: domain_with(rule_with(psid_length=8, psid=0x35)),
    ),
    "MAP-T without DMR": ("dmr", None, lambda: domain_with(dmr=None)),
    "MAP-T with BR": ("br", BR, lambda: domain_with(br=BR)),
    "MAP-E without BR": ("br", None, lambda: domain_with(mode=Mode.MAP_E, dmr=None)),
    "MAP-E with DMR": ("dmr", DMR, lambda: domain_with(mode=Mode.MAP_E, br=BR)),
    "DMR of a length without encoding": (
        "dmr",
        IPv6Network("2001:db8::/60"),
        lambda: domain_with(dmr=IPv6Network("2001:db8::/60")),
    ),
    "DMR with a u octet": (
        "dmr",
        IPv6Network("2001:db8:0:0:100::/96"),
        lambda: domain_with(dmr=IPv6Network("2001:db8:0:0:100::/96")),
    ),
    "lw4o6 with EA bits": (
        "rule[0].ipv4",
        IPv4Network("192.0.2.0/24"),
        lambda: domain_with(mode=Mode.LW4O6, dmr=None, br=BR),
    ),
    "lw4o6 with a prefix": (
        "rule[0].ipv4",
        IPv4Network("192.0.2.0/24"),
        lambda: domain_with(rule_with(ea_length=0), mode=Mode.LW4O6, dmr=None, br=BR),
    ),
    "WAN MTU below IPv6's minimum": ("mtu.wan", 1279, lambda: domain_with().ipv4_mtu(1279)),
    "WAN MTU above 16 bits": ("mtu.wan", 65536, lambda: domain_with().ipv4_mtu(65536)),
    "no port for a shared address": (
        "port",
        None,
        lambda: forwarding_destination(
            rule_with(), IPv4Address("192.0.2.1"), None, InterfaceIdFormat.RFC7597
        ),
    ),
    "excluded port": (
        "port",
        80,
        lambda: forwarding_destination(
            rule_with(), IPv4Address("192.0.2.1"), 80, InterfaceIdFormat.RFC7597
        ),
    ),
}


def check_message(error: InvalidValue) -> None:
    """A refusal says what, why, and what to do."""
    assert error.field
    assert error.rule
    assert error.remedy
    assert str(error) == f"{error.field} = {error.value}: {error.rule} → {error.remedy}"
    assert error.exit_code == 2


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_names_field_value_rule_and_remedy(case: str) -> None:
    field, value, build = REFUSALS[case]
    with pytest.raises(InvalidValue) as refusal:
        build()
    assert (refusal.value.field, refusal.value.value) == (field, value)
    check_message(refusal.value)


SMALL = st.integers(-2, 50)
MAYBE = st.one_of(st.none(), SMALL, st.sampled_from([255, 256, 65535, 65536]))


@given(
    n=st.integers(0, 128),
    r=st.integers(0, 32),
    o=SMALL,
    a=SMALL,
    k=MAYBE,
    psid=MAYBE,
    end_user=st.integers(0, 128),
    mode=st.sampled_from(Mode),
    dmr_length=st.one_of(st.none(), st.integers(0, 128)),
    has_br=st.booleans(),
)
@settings(repeatable, max_examples=500)
def test_any_parameters_make_a_domain_or_a_refusal(
    n: int,
    r: int,
    o: int,
    a: int,
    k: int | None,
    psid: int | None,
    end_user: int,
    mode: Mode,
    dmr_length: int | None,
    has_br: bool,
) -> None:
    try:
        rule = MappingRule(IPv6Network(("::", n)), IPv4Network(("0.0.0.0", r)), o, a, k, psid)
        domain = Domain(
            mode,
            IPv6Network(("::", end_user)),
            (rule,),
            dmr=None if dmr_length is None else IPv6Network(("::", dmr_length)),
            br=BR if has_br else None,
        )
    except InvalidValue as error:
        check_message(error)
        return
    assert rule.map_prefix_length <= end_user
    assert 0 < len(domain.port_set) <= 1 << 16
    assert domain.map_address in domain.end_user_prefix
    assert (domain.psid is not None) == (domain.assignment is Assignment.SHARED)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("2001:db8:12:3400::/56", False),
        ("2001:db8:12:3400::/64", False),
        ("2001:db8:12:34a0::/60", True),
        ("2001:db8:12:3401::/64", True),
    ],
)
def test_subnet_bits_a_peer_cannot_know(prefix: str, expected: bool) -> None:
    domain = domain_with(end_user_prefix=IPv6Network(prefix))
    assert domain.has_subnet_bits is expected
    peer_computes = forwarding_destination(
        domain.bmr, IPv4Address("192.0.2.18"), 1232, InterfaceIdFormat.RFC7597
    )
    assert (peer_computes != domain.map_address) is expected


@pytest.mark.parametrize(
    ("rule", "reserved"),
    [
        (rule_with(), range(1)),
        (rule_with(ea_length=8), range(1024)),
        (rule_with(ea_length=4), range(1024)),
    ],
    ids=["shared", "full", "prefix"],
)
def test_ports_that_are_never_handed_out(rule: MappingRule, reserved: range) -> None:
    domain = domain_with(rule)
    assert domain.reserved_ports == reserved


@pytest.mark.parametrize(
    ("mode", "overhead"), [(Mode.MAP_T, 20), (Mode.MAP_E, 40), (Mode.LW4O6, 40)]
)
def test_overhead(mode: Mode, overhead: int) -> None:
    assert mode.overhead == overhead
    assert mode.translates is (overhead == 20)
    assert mtu.mss_for(1500 - overhead) == 1500 - overhead - 40
