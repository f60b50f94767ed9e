# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The trees of rules: does the way that C goes through them end at the longest prefix?"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.domains import domain
from mapxdp.datapath import rule_tree, tables

CONTRACT = tables.contract_for(domain("map-t").port_set)
STEP, END = CONTRACT.number("TREE_BITS"), CONTRACT.number("TREE_END")
NOTHING = CONTRACT.number("NO_RULE")
#: Few bits are set, so that prefixes nest and part anywhere.
SPARSE = st.lists(st.integers(0, 127), max_size=3).map(lambda bits: sum(1 << bit for bit in bits))

repeatable = settings(deadline=None, derandomize=True, database=None)


def network(bits: int, length: int, family: int) -> IPv4Network | IPv6Network:
    size, kind = (32, IPv4Network) if family == 4 else (128, IPv6Network)
    length = min(length, size)
    return kind((bits >> (128 - size) >> (size - length) << (size - length), length))


def found(root: rule_tree.Root, nodes: list[list[int]], number: int) -> int:
    """As bpf/rule_tree.h finds it; ``number`` has 128 bits, of IPv4 the first 32."""
    if number >> (128 - root.length) != root.number:
        return NOTHING
    number = number << root.length & ((1 << 128) - 1)
    following, steps = 0, 0
    while not following & END:
        following = nodes[following][number >> (128 - STEP)]
        number = number << STEP & ((1 << 128) - 1)
        steps += 1
    assert steps <= 128 // STEP
    return following & ~END


@repeatable
@given(
    family=st.sampled_from([4, 6]),
    drawn=st.lists(st.tuples(SPARSE, st.integers(0, 128)), min_size=1, max_size=8),
    asked=st.lists(SPARSE, min_size=1, max_size=8),
)
def test_the_way_ends_at_the_longest_prefix(
    family: int, drawn: list[tuple[int, int]], asked: list[int]
) -> None:
    prefixes = [network(bits, length, family) for bits, length in drawn]
    ends = {prefix: number for number, prefix in enumerate(prefixes, 1)}
    root = rule_tree.root_of(CONTRACT, ends)  # type: ignore[arg-type]  # of one family
    nodes = rule_tree.nodes_of(CONTRACT, ends, NOTHING)  # type: ignore[type-var]
    assert rule_tree.count_of(CONTRACT, ends) == len(nodes)  # type: ignore[arg-type]
    for bits in asked + [bits for bits, _ in drawn]:
        address = network(bits, 128, family)
        around = [prefix for prefix in ends if address.subnet_of(prefix)]  # type: ignore[arg-type]
        longest = max(around, key=lambda prefix: prefix.prefixlen, default=None)
        number = int(address.network_address) << (128 - address.max_prefixlen)
        assert found(root, nodes, number) == (NOTHING if longest is None else ends[longest])


@pytest.mark.parametrize(
    ("prefixes", "length"),
    [
        (["192.0.2.0/24"], 24),
        (["192.0.2.0/25"], 24),
        (["192.0.2.1/32", "192.0.2.2/32"], 28),
        (["0.0.0.0/0", "192.0.2.0/24"], 0),
        (["2001:db8::/40", "2001:db8:ffff::/64"], 32),
        (["2001:db8::1/128"], 60),
    ],
)
def test_the_root_is_what_all_prefixes_begin_with(prefixes: list[str], length: int) -> None:
    kind = IPv4Network if "." in prefixes[0] else IPv6Network
    known = [kind(prefix) for prefix in prefixes]
    root = rule_tree.root_of(CONTRACT, known)
    assert root.length == length
    values = root.values()
    number = int(known[0].network_address) << (128 - known[0].max_prefixlen) >> 64
    assert values["prefix"] == number & values["mask"]
    assert values["mask"] == (1 << 64) - (1 << (64 - length))


def test_no_rules_have_no_root() -> None:
    assert rule_tree.root_of(CONTRACT, []) == rule_tree.Root(0, 0)
