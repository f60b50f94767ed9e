# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A mapping rule (RFC 7597 section 5): the BMR of a CE, or an FMR towards other CEs.

::

    |     n bits         |  o bits   | s bits  |   128-n-o-s bits  |
    |  Rule IPv6 prefix  |  EA bits  |subnet=0 |   interface ID    |
    |<--- End-user IPv6 prefix --->|

    EA bits = p bits of IPv4 suffix, then q bits of PSID
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from mapxdp.errors import InvalidValue
from mapxdp.model.port_set import PORT_BITS, PortParameters, PortSet

MAX_EA_LENGTH = 48
DEFAULT_PSID_OFFSET = 6


class Assignment(StrEnum):
    """What a rule gives to one CE (RFC 7597 section 5.2)."""

    PREFIX = "prefix"
    FULL = "full"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class MappingRule:
    """One rule. ``psid_length`` and ``psid`` are the explicit PSID of RFC 7598 section 4.5."""

    ipv6: IPv6Network
    ipv4: IPv4Network
    ea_length: int
    psid_offset: int = DEFAULT_PSID_OFFSET
    psid_length: int | None = None
    psid: int | None = None
    forwarding: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.ea_length <= MAX_EA_LENGTH:
            raise InvalidValue(
                "ea_length",
                self.ea_length,
                "the EA length is 0 to 48 (RFC 7598 section 4.1)",
                "take ea_length from the provider's rule",
            )
        if self.ipv6.prefixlen + self.ea_length > 128:
            raise InvalidValue(
                "ea_length",
                self.ea_length,
                f"rule IPv6 prefix /{self.ipv6.prefixlen} + EA bits exceed 128 bits",
                f"use at most {128 - self.ipv6.prefixlen}",
            )
        if self.embedded_psid_length > PORT_BITS:
            raise InvalidValue(
                "ea_length",
                self.ea_length,
                f"after {self.ipv4_suffix_length} bits of IPv4 suffix it leaves a PSID of "
                f"{self.embedded_psid_length} bits; a port has {PORT_BITS}",
                f"use at most {self.ipv4_suffix_length + PORT_BITS}, or a shorter ipv4 prefix",
            )
        self._check_explicit_psid()
        parameters = self.port_parameters
        if self.psid is not None:
            PortSet(parameters, self.psid)

    def _check_explicit_psid(self) -> None:
        if (self.psid is None) != (self.psid_length is None):
            raise InvalidValue(
                "psid" if self.psid_length is None else "psid_length",
                self.psid if self.psid_length is None else self.psid_length,
                "an explicit PSID needs both psid and psid_length (RFC 7598 section 4.5)",
                "give both, or neither",
            )
        if self.psid_length is None:
            return
        if self.assignment is Assignment.PREFIX:
            raise InvalidValue(
                "psid_length",
                self.psid_length,
                f"an explicit PSID needs a full IPv4 address, but /{self.ipv4.prefixlen} "
                f"+ {self.ea_length} EA bits leave a prefix (RFC 7598 section 4.5)",
                "remove psid and psid_length, or correct ipv4 or ea_length",
            )
        if self.embedded_psid_length and self.embedded_psid_length != self.psid_length:
            raise InvalidValue(
                "psid_length",
                self.psid_length,
                f"the EA bits already hold a PSID of {self.embedded_psid_length} bits",
                "remove psid and psid_length: the PSID comes from the end-user prefix",
            )

    @property
    def assignment(self) -> Assignment:
        """The case of RFC 7597 section 5.2 this rule falls in."""
        if self.ea_length + self.ipv4.prefixlen < 32:
            return Assignment.PREFIX
        if self.embedded_psid_length or self.psid_length:
            return Assignment.SHARED
        return Assignment.FULL

    @property
    def ipv4_suffix_length(self) -> int:
        """p: bits of the IPv4 address inside the EA bits."""
        return min(self.ea_length, 32 - self.ipv4.prefixlen)

    @property
    def embedded_psid_length(self) -> int:
        """q: bits of PSID inside the EA bits."""
        return self.ea_length - self.ipv4_suffix_length

    @property
    def port_parameters(self) -> PortParameters:
        """a and k of the CEs of this rule."""
        return PortParameters(self.psid_offset, self.embedded_psid_length or self.psid_length or 0)

    @property
    def map_prefix_length(self) -> int:
        """n + o: the shortest end-user prefix this rule can serve."""
        return self.ipv6.prefixlen + self.ea_length

    def ipv4_of(self, ea_bits: int) -> IPv4Network:
        """The IPv4 address (as a /32) or prefix that these EA bits assign."""
        suffix = ea_bits >> self.embedded_psid_length
        length = self.ipv4.prefixlen + self.ipv4_suffix_length
        return IPv4Network((int(self.ipv4.network_address) | suffix << (32 - length), length))

    def psid_of(self, ea_bits: int) -> int | None:
        """The PSID these EA bits (or the explicit PSID) assign; None where nothing is shared."""
        if self.assignment is not Assignment.SHARED:
            return None
        if self.embedded_psid_length:
            return ea_bits & ((1 << self.embedded_psid_length) - 1)
        return self.psid

    def ea_bits_for(self, ipv4: IPv4Address, psid: int | None) -> int:
        """The EA bits of the CE that owns ``ipv4`` (inside the rule) and ``psid``."""
        suffix_mask = (1 << self.ipv4_suffix_length) - 1
        host_bits = 32 - self.ipv4.prefixlen - self.ipv4_suffix_length
        suffix = (int(ipv4) >> host_bits) & suffix_mask
        embedded = (psid or 0) if self.embedded_psid_length else 0
        return suffix << self.embedded_psid_length | embedded


def select_basic_rule(
    rules: Iterable[MappingRule], end_user_prefix: IPv6Network
) -> MappingRule | None:
    """The BMR: longest rule IPv6 prefix that holds the end-user prefix (RFC 7597 section 5)."""
    matching = [rule for rule in rules if end_user_prefix.subnet_of(rule.ipv6)]
    return max(matching, key=lambda rule: rule.ipv6.prefixlen, default=None)


def select_forwarding_rule(
    rules: Iterable[MappingRule], ipv4: IPv4Address, port: int | None
) -> MappingRule | None:
    """The FMR for a destination: longest IPv4 prefix whose port set can own ``port``.

    ``port`` is None for a packet without ports. None is returned where no rule matches, and
    for an excluded port, which no CE owns: such packets go to the BR or the DMR.
    """
    matching = [rule for rule in rules if ipv4 in rule.ipv4 and can_own(rule, port)]
    return max(matching, key=lambda rule: rule.ipv4.prefixlen, default=None)


def can_own(rule: MappingRule, port: int | None) -> bool:
    """Whether a CE of the rule can have ``port``; None is a packet without ports."""
    if rule.assignment is not Assignment.SHARED:
        return True
    if port is None:
        return False
    psid = rule.port_parameters.psid_of(port)
    return psid is not None and rule.psid in (None, psid)
