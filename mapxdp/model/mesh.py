# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The forwarding rules of a domain, indexed: whose an IPv4 address is, who may send from one.

``select_forwarding_rule`` says the same of few rules; here it takes no longer for thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from mapxdp.model.rule import MappingRule, can_own

#: Prefix length, network as a number: the rules of that prefix, in the order they were given.
_Index = dict[int, dict[int, list[MappingRule]]]


class ForwardingRules:
    """FMRs by the longest match of either of their prefixes (RFC 7599 section 8.1 and 8.2)."""

    def __init__(self, rules: Iterable[MappingRule]) -> None:
        self._by_ipv4: _Index = {}
        self._by_ipv6: _Index = {}
        for rule in rules:
            for index, prefix in ((self._by_ipv4, rule.ipv4), (self._by_ipv6, rule.ipv6)):
                number = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
                index.setdefault(prefix.prefixlen, {}).setdefault(number, []).append(rule)
        self._ipv4_lengths = sorted(self._by_ipv4, reverse=True)
        self._ipv6_lengths = sorted(self._by_ipv6, reverse=True)

    def towards(self, ipv4: IPv4Address, port: int | None) -> MappingRule | None:
        """The rule for a destination: longest IPv4 prefix whose CEs can own ``port``."""
        return next((rule for rule in self._holding(ipv4) if can_own(rule, port)), None)

    def _holding(self, ipv4: IPv4Address) -> Iterator[MappingRule]:
        number = int(ipv4)
        for length in self._ipv4_lengths:
            yield from self._by_ipv4[length].get(number >> (32 - length), ())

    def of_source(self, ipv6: IPv6Address) -> MappingRule | None:
        """The rule a source is under: longest IPv6 prefix."""
        number = int(ipv6)
        for length in self._ipv6_lengths:
            rules = self._by_ipv6[length].get(number >> (128 - length))
            if rules:
                return rules[0]
        return None
