# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The trees in which the datapath finds the longest prefix around an address (bpf/rule_tree.h).

A node has a number for each value of the next bits: that of another node, or the end. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

from mapxdp.contract import Contract

_HALF = 64
_Prefix = TypeVar("_Prefix", IPv4Network, IPv6Network)


@dataclass(frozen=True, slots=True)
class Root:
    """What all prefixes of a tree begin with: ``number`` has ``length`` bits, of whole steps."""

    number: int
    length: int

    def values(self) -> dict[str, int]:
        """The fields of ``struct tree_root``."""
        behind = _HALF - self.length
        mask = ((1 << self.length) - 1) << behind
        return {
            "prefix": self.number << behind,
            "mask": mask,
            "length": self.length,
            "zero": 0,
        }


def root_of(contract: Contract, prefixes: Collection[IPv4Network | IPv6Network]) -> Root:
    """What they have in common, which are of one family; nothing where there are none."""
    if not prefixes:
        return Root(0, 0)
    step = contract.number("TREE_BITS")
    first = min(int(prefix.network_address) for prefix in prefixes)
    last = max(int(prefix.broadcast_address) for prefix in prefixes)
    address_length = max(prefix.max_prefixlen for prefix in prefixes)
    length = min(address_length - (first ^ last).bit_length(), _HALF - step)
    length -= length % step
    return Root(first >> (address_length - length), length)


def count_of(contract: Contract, prefixes: Collection[IPv4Network | IPv6Network]) -> int:
    """How many nodes ``nodes_of`` makes: one for each way that goes on behind a step."""
    root, step = root_of(contract, prefixes), contract.number("TREE_BITS")
    ways = {
        (length, int(prefix.network_address) >> (prefix.max_prefixlen - length))
        for prefix in prefixes
        for length in range(root.length + step, prefix.prefixlen, step)
    }
    return 1 + len(ways)


def nodes_of(contract: Contract, ends: Mapping[_Prefix, int], nothing: int) -> list[list[int]]:
    """The nodes of the tree that leads from each prefix to its number, else to ``nothing``."""
    root, end = root_of(contract, ends), contract.number("TREE_END")
    nodes = [[end | nothing] * contract.number("TREE_WAYS")]
    for prefix in sorted(ends, key=lambda prefix: prefix.prefixlen):
        length = prefix.prefixlen - root.length
        number = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        _insert(contract, nodes, (number & ((1 << length) - 1), length), end | ends[prefix])
    return nodes


def _insert(contract: Contract, nodes: list[list[int]], bits: tuple[int, int], end: int) -> None:
    """A prefix that is no shorter than those that are there: its bits behind the root."""
    step, ways = contract.number("TREE_BITS"), contract.number("TREE_WAYS")
    number, length = bits
    node = nodes[0]
    while length > step:
        length -= step
        way, number = divmod(number, 1 << length)
        if node[way] & contract.number("TREE_END"):
            nodes.append([node[way]] * ways)
            node[way] = len(nodes) - 1
        node = nodes[node[way]]
    same = 1 << (step - length)
    node[number * same : (number + 1) * same] = [end] * same
