# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A domain's forwarding rules as the datapath's maps. Pure: nothing is opened here.

A tree finds the longest IPv4 prefix, but the rule of a port may be that of a shorter one: an
explicit PSID has only its own ports, and a shared address has owners for none below 2^(16-a).
So rules are chained: each names the one to ask next.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from mapxdp.contract import Contract
from mapxdp.datapath import rule_tree
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.rule import Assignment, MappingRule

_IDENTIFIER_SHIFT = {InterfaceIdFormat.RFC7597: 0, InterfaceIdFormat.DRAFT03: 8}
_LOW = (1 << 64) - 1


#: Room for what no domain without FMRs has.
NO_ROOM = {"RULES": 1, "TREE_NODES": 1}


def room_for(contract: Contract, domain: Domain) -> dict[str, int]:
    """What maps have to have room for, to hold the domain's FMRs; position 0 is no rule."""
    if not domain.forwarding_rules:
        return NO_ROOM
    prefixes = _ipv4_prefixes(domain), _ipv6_prefixes(domain)
    return {
        "RULES": 1 + len(domain.forwarding_rules),
        "TREE_NODES": max(rule_tree.count_of(contract, each) for each in prefixes),
    }


def roots(contract: Contract, domain: Domain) -> dict[str, dict[str, int]]:
    """Where the trees begin: fields of ``struct config``."""
    return {
        "ipv4_root": rule_tree.root_of(contract, _ipv4_prefixes(domain)).values(),
        "ipv6_root": rule_tree.root_of(contract, _ipv6_prefixes(domain)).values(),
    }


def are_in_dmr(domain: Domain) -> bool:
    """Whether an FMR's IPv6 prefix is the DMR, or under it."""
    dmr = domain.dmr
    return dmr is not None and any(rule.ipv6.subnet_of(dmr) for rule in domain.forwarding_rules)


def _ipv4_prefixes(domain: Domain) -> list[IPv4Network]:
    return [rule.ipv4 for rule in domain.forwarding_rules]


def _ipv6_prefixes(domain: Domain) -> list[IPv6Network]:
    """The DMR is among them only where it has to be told from a rule."""
    dmr = [domain.dmr] if domain.dmr is not None and are_in_dmr(domain) else []
    return dmr + [rule.ipv6 for rule in domain.forwarding_rules]


def identifier_shift(layout: InterfaceIdFormat) -> int:
    """How far up the interface identifier is."""
    return _IDENTIFIER_SHIFT[layout]


@dataclass
class RuleMaps:
    """What goes into the maps: rules and nodes by position, keys and values."""

    rules: dict[int, bytes] = field(default_factory=dict)
    rule_by_ipv4: dict[int, bytes] = field(default_factory=dict)
    rule_by_ipv6: dict[int, bytes] = field(default_factory=dict)
    rule_by_psid: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class _Group:
    """Rules of one IPv4 prefix that one look finds: one rule, or several explicit PSIDs."""

    position: int
    rule: MappingRule
    by_psid: dict[int, int] = field(default_factory=dict)
    after: _Group | None = None

    @property
    def has_explicit_psid(self) -> bool:
        return self.rule.assignment is Assignment.SHARED and self.rule.psid is not None

    def takes(self, rule: MappingRule) -> bool:
        """Whether a rule of the same prefix can be found together with these."""
        return (
            self.has_explicit_psid
            and rule.psid is not None
            and rule.assignment is Assignment.SHARED
            and rule.port_parameters == self.rule.port_parameters
        )

    def owns_all_of(self, other: _Group) -> bool:
        """Whether every port that ``other`` has owners for has one here."""
        if self.rule.assignment is not Assignment.SHARED:
            return True
        if self.has_explicit_psid or other.rule.assignment is not Assignment.SHARED:
            return False
        first, others = self.rule.psid_offset, other.rule.psid_offset
        return first == 0 or 0 < others <= first

    def length(self) -> int:
        return 1 + (self.after.length() if self.after else 0)


def rule_maps(contract: Contract, domain: Domain) -> RuleMaps:
    """The maps of a domain's FMRs; InvalidValue where too many compete for an address."""
    maps = RuleMaps()
    if not domain.forwarding_rules:
        return maps
    dmr, nothing = contract.number("DMR_RULE"), contract.number("NO_RULE")
    positions = dict(enumerate(domain.forwarding_rules, dmr + 1))
    by_ipv6 = dict.fromkeys(_ipv6_prefixes(domain), dmr)
    for position, rule in reversed(positions.items()):  # the first of two alike is left
        by_ipv6[rule.ipv6] = position
    heads = _chained(positions)
    by_ipv4 = {prefix: head.position for prefix, head in heads.items()}
    maps.rule_by_ipv4 = _packed_nodes(contract, rule_tree.nodes_of(contract, by_ipv4, dmr))
    maps.rule_by_ipv6 = _packed_nodes(contract, rule_tree.nodes_of(contract, by_ipv6, nothing))
    following: dict[int, int] = {}
    for prefix, head in heads.items():
        _require_short(contract, prefix, head)
        group: _Group | None = head
        while group is not None:
            for psid, position in group.by_psid.items():
                key = contract["psid_key"].pack(rule=group.position, psid=psid)
                maps.rule_by_psid[key] = _number(position)
            following[group.position] = group.after.position if group.after else 0
            group = group.after
    for position, rule in positions.items():
        maps.rules[position] = _packed(contract, domain, rule, following.get(position, 0))
    return maps


def _chained(positions: dict[int, MappingRule]) -> dict[IPv4Network, _Group]:
    """The group to ask first, by IPv4 prefix."""
    by_prefix: dict[IPv4Network, list[int]] = {}
    for position, rule in positions.items():
        by_prefix.setdefault(rule.ipv4, []).append(position)
    heads: dict[IPv4Network, _Group] = {}
    lengths = sorted({prefix.prefixlen for prefix in by_prefix})
    for prefix in sorted(by_prefix, key=lambda prefix: prefix.prefixlen):
        groups = _groups([(position, positions[position]) for position in by_prefix[prefix]])
        after = _enclosing(heads, prefix, lengths)
        for group in reversed(groups):
            while after is not None and group.owns_all_of(after):
                after = after.after
            group.after = after
            after = group
        heads[prefix] = groups[0]
    return heads


def _groups(rules: list[tuple[int, MappingRule]]) -> list[_Group]:
    groups: list[_Group] = []
    for position, rule in rules:
        if groups and groups[-1].takes(rule):
            assert rule.psid is not None  # by takes()
            groups[-1].by_psid.setdefault(rule.psid, position)
            continue
        groups.append(_Group(position, rule))
        if groups[-1].has_explicit_psid and rule.psid is not None:
            groups[-1].by_psid[rule.psid] = position
    return groups


def _enclosing(
    heads: dict[IPv4Network, _Group], prefix: IPv4Network, lengths: list[int]
) -> _Group | None:
    """The group of the longest shorter prefix around ``prefix``."""
    for length in reversed([length for length in lengths if length < prefix.prefixlen]):
        head = heads.get(prefix.supernet(new_prefix=length))
        if head is not None:
            return head
    return None


def _require_short(contract: Contract, prefix: IPv4Network, head: _Group) -> None:
    most = contract.number("RULE_CHAIN_MAX")
    if head.length() > most:
        raise InvalidValue(
            "rule.ipv4",
            prefix,
            f"more than {most} forwarding rules compete for its addresses",
            "leave out those that are not needed, or give them the same psid_offset and length",
        )


def _packed_nodes(contract: Contract, nodes: list[list[int]]) -> dict[int, bytes]:
    layout = contract["tree_node"]
    return {number: layout.pack(next=node) for number, node in enumerate(nodes)}


def _number(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _packed(contract: Contract, domain: Domain, rule: MappingRule, following: int) -> bytes:
    assigned = rule.ipv4_of(0)
    prefix = int(rule.ipv6.network_address)
    parameters = rule.port_parameters
    shared = rule.assignment is Assignment.SHARED
    return contract["rule"].pack(
        prefix=[prefix >> 64, prefix & _LOW],
        identifier_mask=(1 << (128 - rule.map_prefix_length)) - 1 & _LOW,
        ipv4=int(rule.ipv4.network_address),
        ipv4_mask=int(assigned.netmask),
        shown_mask=0xFFFFFFFF if domain.mode.translates else int(assigned.netmask),
        psid=rule.psid or 0,
        next=following,
        kind=contract.number(_kind(rule)),
        ea_length=rule.ea_length,
        ea_shift=128 - rule.map_prefix_length,
        host_bits=32 - assigned.prefixlen,
        embedded_psid=rule.embedded_psid_length,
        psid_offset=parameters.psid_offset if shared else 0,
        psid_length=parameters.psid_length if shared else 0,
        identifier_shift=identifier_shift(domain.interface_id),
        zero=0,
    )


def _kind(rule: MappingRule) -> str:
    if rule.assignment is not Assignment.SHARED:
        return "RULE_UNSHARED"
    return "RULE_SHARED" if rule.psid is None else "RULE_OF_ONE_PSID"
