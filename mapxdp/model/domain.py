# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A CE's place in its MAP domain: what was provisioned, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mapxdp.errors import InvalidValue
from mapxdp.model import mtu, rfc6052
from mapxdp.model.interface_id import InterfaceIdFormat, first_ipv4_bit
from mapxdp.model.map_address import (
    ea_bits_of,
    forwarding_destination,
    host_of,
    map_address,
    require_room_for_hosts,
    source_is_consistent,
    translated_destination,
    translated_source,
    with_host,
)
from mapxdp.model.mesh import ForwardingRules
from mapxdp.model.port_set import PortSet
from mapxdp.model.rule import (
    Assignment,
    MappingRule,
    select_basic_rule,
)

WELL_KNOWN_PORTS = 1024


class Mode(StrEnum):
    """How IPv4 crosses the IPv6 network."""

    MAP_T = "map-t"
    MAP_E = "map-e"
    LW4O6 = "lw4o6"

    @property
    def translates(self) -> bool:
        """True for RFC 7915 translation, false for RFC 2473 encapsulation."""
        return self is Mode.MAP_T

    @property
    def overhead(self) -> int:
        """Bytes the IPv6 packet is longer than the IPv4 packet."""
        return mtu.TRANSLATION_OVERHEAD if self.translates else mtu.ENCAPSULATION_OVERHEAD


@dataclass(frozen=True)
class Domain:
    """The parameters a CE is provisioned with, checked, and all that is derived from them.

    ``dmr`` is set in MAP-T; ``br`` in MAP-E (the BR's address) and lw4o6 (the lwAFTR's).
    Raises InvalidValue where the parameters contradict each other or an RFC.
    """

    mode: Mode
    end_user_prefix: IPv6Network
    rules: tuple[MappingRule, ...]
    dmr: IPv6Network | None = None
    br: IPv6Address | None = None
    interface_id: InterfaceIdFormat = InterfaceIdFormat.RFC7597

    def __post_init__(self) -> None:
        self._check_far_end()
        bmr = self.bmr
        if bmr.map_prefix_length > self.end_user_prefix.prefixlen:
            raise InvalidValue(
                self._of_bmr("ea_length"),
                bmr.ea_length,
                f"rule prefix /{bmr.ipv6.prefixlen} + EA bits exceed the end-user prefix "
                f"/{self.end_user_prefix.prefixlen} (RFC 7597 section 5.2)",
                f"use at most {self.end_user_prefix.prefixlen - bmr.ipv6.prefixlen}, "
                f"or an end-user prefix of /{bmr.map_prefix_length} or longer",
            )
        if bmr.embedded_psid_length and bmr.psid not in (None, self.psid):
            raise InvalidValue(
                self._of_bmr("psid"),
                bmr.psid,
                f"the end-user prefix holds PSID {self.psid}",
                "remove psid and psid_length: the PSID comes from the end-user prefix",
            )
        if self.mode is Mode.LW4O6 and (bmr.ea_length or bmr.ipv4.prefixlen != 32):
            raise InvalidValue(
                self._of_bmr("ipv4"),
                bmr.ipv4,
                "lw4o6 binds one whole IPv4 address, not a prefix with EA bits "
                "(RFC 7596 section 5.1)",
                "write the address as /32 and set ea_length = 0",
            )

        if self.mode.translates:
            self._require_room_for_hosts()

    def _require_room_for_hosts(self) -> None:
        layout = self.interface_id
        require_room_for_hosts("end_user_prefix", self.end_user_prefix.prefixlen, self.ipv4, layout)
        for number, rule in enumerate(self.rules):
            if rule.forwarding:
                field = f"rule[{number}].ea_length"
                length = rule.map_prefix_length
                require_room_for_hosts(field, length, rule.ipv4_of(0), layout)

    def _of_bmr(self, field: str) -> str:
        """The name of a field of the BMR, as it is found among the rules."""
        return f"rule[{self.rules.index(self.bmr)}].{field}"

    def _check_far_end(self) -> None:
        wanted, unwanted = ("dmr", "br") if self.mode.translates else ("br", "dmr")
        if getattr(self, wanted) is None:
            raise InvalidValue(
                wanted, None, f"{self.mode} needs it", f"set {wanted} to the provider's value"
            )
        if getattr(self, unwanted) is not None:
            raise InvalidValue(
                unwanted,
                getattr(self, unwanted),
                f"{self.mode} has no use for it",
                f"remove {unwanted}, or change mode",
            )
        if self.dmr is not None:
            rfc6052.require_prefix("dmr", self.dmr)

    @cached_property
    def bmr(self) -> MappingRule:
        """The rule that gives this CE its address and ports."""
        rule = select_basic_rule(self.rules, self.end_user_prefix)
        if rule is None:
            known = ", ".join(str(rule.ipv6) for rule in self.rules) or "none"
            raise InvalidValue(
                "end_user_prefix",
                self.end_user_prefix,
                f"it matches no rule (rule IPv6 prefixes: {known})",
                "check the delegated prefix, or add the provider's rule for it",
            )
        return rule

    @cached_property
    def forwarding_rules(self) -> tuple[MappingRule, ...]:
        """The FMRs: rules towards other CEs of the domain."""
        return tuple(rule for rule in self.rules if rule.forwarding)

    @cached_property
    def _ea_bits(self) -> int:
        return ea_bits_of(self.bmr, self.end_user_prefix.network_address)

    @cached_property
    def ipv4(self) -> IPv4Network:
        """The CE's IPv4 address as a /32, or its prefix."""
        return self.bmr.ipv4_of(self._ea_bits)

    @property
    def ipv4_address(self) -> IPv4Address | None:
        """The CE's IPv4 address, shared or not; None where it was given a prefix."""
        return None if self.assignment is Assignment.PREFIX else self.ipv4.network_address

    @property
    def assignment(self) -> Assignment:
        """Prefix, full address or shared address."""
        return self.bmr.assignment

    @cached_property
    def psid(self) -> int | None:
        """The PSID; None where the address is not shared."""
        return self.bmr.psid_of(self._ea_bits)

    @cached_property
    def port_set(self) -> PortSet:
        """The ports this CE owns: every port where the address is not shared."""
        if self.psid is None:
            return PortSet.every_port()
        return PortSet(self.bmr.port_parameters, self.psid)

    @property
    def reserved_ports(self) -> range:
        """Ports that NAPT44 never hands out, whether they are in the set or not.

        Port 0, which most stacks refuse; and the well-known ports of an address that is not
        shared, which are for forwarding and which peers distrust as sources.
        """
        return range(1 if self.assignment is Assignment.SHARED else WELL_KNOWN_PORTS)

    @cached_property
    def map_address(self) -> IPv6Address:
        """The CE's MAP IPv6 address (lw4o6: the tunnel address of RFC 7596 section 5.1)."""
        return map_address(
            self.end_user_prefix, self.ipv4.network_address, self.psid, self.interface_id
        )

    @cached_property
    def has_subnet_bits(self) -> bool:
        """True where bits of the end-user prefix follow the EA bits and are not zero.

        Peers and BRs compute this CE's address from the rule and will not find those bits:
        nothing comes back, unless the operator's BR knows the whole prefix.
        """
        extra = self.end_user_prefix.prefixlen - self.bmr.map_prefix_length
        low = int(self.end_user_prefix.network_address) >> (128 - self.end_user_prefix.prefixlen)
        return bool(low & ((1 << extra) - 1))

    @cached_property
    def _forwarding(self) -> ForwardingRules:
        return ForwardingRules(self.forwarding_rules)

    def destination_ipv6(self, ipv4: IPv4Address, port: int | None) -> IPv6Address:
        """Where a packet to ``ipv4`` and ``port`` is sent: FMR, else DMR or BR.

        ``port`` is an ICMP echo's identifier, as it leaves; None is a packet without ports.
        """
        rule = self._forwarding.towards(ipv4, port)
        if rule is not None:
            return self._peer_ipv6(rule, ipv4, port)
        if self.br is not None:
            return self.br
        assert self.dmr is not None  # by _check_far_end
        return rfc6052.embed(self.dmr, ipv4)

    def _peer_ipv6(self, rule: MappingRule, ipv4: IPv4Address, port: int | None) -> IPv6Address:
        destination = translated_destination if self.mode.translates else forwarding_destination
        return destination(rule, ipv4, port, self.interface_id)

    def source_ipv6(self, ipv4: IPv4Address) -> IPv6Address:
        """The source of packets from ``ipv4``, an address of this CE's."""
        if not self.mode.translates:
            return self.map_address
        return with_host(self.map_address, self.ipv4, ipv4, self.interface_id)

    @property
    def map_network(self) -> IPv6Network:
        """What packets to this CE are addressed to: the MAP address alone, or in MAP-T of an
        IPv4 prefix the addresses of all its hosts."""
        if not self.mode.translates or self.assignment is not Assignment.PREFIX:
            return IPv6Network((self.map_address, 128))
        length = first_ipv4_bit(self.interface_id) + self.ipv4.prefixlen
        return IPv6Network((int(self.map_address), length))

    def own_ipv4(self, ipv6: IPv6Address) -> IPv4Address | None:
        """The inverse: the IPv4 address a packet to ``ipv6`` is for in MAP-T; None: not ours."""
        ipv4 = host_of(ipv6, self.ipv4, self.interface_id)
        return ipv4 if self.source_ipv6(ipv4) == ipv6 else None

    def rule_of_source(self, ipv6: IPv6Address) -> MappingRule | None:
        """The FMR that a source is under; None where it is the DMR, the BR or nothing at all."""
        rule = self._forwarding.of_source(ipv6)
        if rule is None or ipv6 == self.br:
            return None
        if self.dmr is not None and ipv6 in self.dmr and self.dmr.prefixlen > rule.ipv6.prefixlen:
            return None
        return rule

    def peer_ipv4(self, rule: MappingRule, ipv6: IPv6Address) -> IPv4Address:
        """The IPv4 address that a MAP-T packet from ``ipv6``, under an FMR, seems to be from."""
        return translated_source(rule, ipv6, self.interface_id)

    def is_source_of(
        self, rule: MappingRule, ipv6: IPv6Address, ipv4: IPv4Address, port: int | None
    ) -> bool:
        """The check of RFC 7597 section 8.1, of all 128 bits."""
        if not source_is_consistent(rule, ipv6, ipv4, port):
            return False
        return self._peer_ipv6(rule, ipv4, port) == ipv6

    def ipv4_mtu(self, wan_mtu: int) -> int:
        """The largest IPv4 packet that crosses a WAN of ``wan_mtu`` whole."""
        return mtu.require_wan_mtu("mtu.wan", wan_mtu) - self.mode.overhead
