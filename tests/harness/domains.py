"""The domains the tests run in: documentation prefixes, named once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.rule import MappingRule

END_USER_PREFIX = IPv6Network("2001:db8:12:3400::/56")
DMR = IPv6Network("2001:db8:ffff::/64")
BR = IPv6Address("2001:db8:ffff::1")

#: RFC 7597 appendix A example 1: 252 ports in 63 ranges.
EXAMPLE_RULE = MappingRule(IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24"), 16)

#: The same address with other port sets, by their number of ports.
RULES = {
    15: MappingRule(IPv6Network("2001:db8::/36"), IPv4Network("192.0.2.0/24"), 20, psid_offset=4),
    63: MappingRule(IPv6Network("2001:db8::/38"), IPv4Network("192.0.2.0/24"), 18),
    252: EXAMPLE_RULE,
    240: MappingRule(EXAMPLE_RULE.ipv6, EXAMPLE_RULE.ipv4, 16, psid_offset=4),
    1008: MappingRule(IPv6Network("2001:db8::/42"), IPv4Network("192.0.2.0/24"), 14, psid_offset=6),
    2048: MappingRule(IPv6Network("2001:db8::/43"), IPv4Network("192.0.2.0/24"), 13, psid_offset=0),
}


#: RFC 7596: a whole address with an explicit PSID, its ports in one range.
LW4O6 = Domain(
    mode=Mode.LW4O6,
    end_user_prefix=END_USER_PREFIX,
    rules=(
        MappingRule(
            ipv6=END_USER_PREFIX,
            ipv4=IPv4Network("192.0.2.18/32"),
            ea_length=0,
            psid_offset=0,
            psid_length=8,
            psid=0x34,
        ),
    ),
    br=BR,
)

#: MAP-E as v6plus provides it: 240 ports in 15 ranges, another layout of the MAP address.
DRAFT_03 = Domain(
    mode=Mode.MAP_E,
    end_user_prefix=END_USER_PREFIX,
    rules=(RULES[240],),
    br=BR,
    interface_id=InterfaceIdFormat.DRAFT03,
)


#: FMRs for two of the servers of generated traffic: one address whole, one shared.
FORWARDING_RULES = (
    MappingRule(
        IPv6Network("2001:db8:4000::/40"), IPv4Network("198.51.100.0/24"), 8, forwarding=True
    ),
    MappingRule(
        IPv6Network("2001:db8:4100::/40"), IPv4Network("203.0.113.0/24"), 16, forwarding=True
    ),
)


def mesh(mode: Mode | str, rule: MappingRule = EXAMPLE_RULE) -> Domain:
    """The example CE in a mesh: its own rule is an FMR too."""
    place = domain(mode, replace(rule, forwarding=True))
    return replace(place, rules=(*place.rules, *FORWARDING_RULES))


def domain(mode: Mode | str, rule: MappingRule = EXAMPLE_RULE) -> Domain:
    """The example CE in a mode, with one rule."""
    mode = Mode(mode)
    return Domain(
        mode=mode,
        end_user_prefix=END_USER_PREFIX,
        rules=(rule,),
        dmr=DMR if mode.translates else None,
        br=None if mode.translates else BR,
    )
