# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""MAP IPv6 addresses: RFC 7597 sections 5.2, 5.3, 6 and 8.1, RFC 7596 section 5.1."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mapxdp.errors import InvalidValue
from mapxdp.model.interface_id import (
    InterfaceIdFormat,
    first_ipv4_bit,
    interface_identifier,
    shown_ipv4,
)
from mapxdp.model.rule import Assignment, MappingRule


def map_address(
    prefix: IPv6Network, ipv4: IPv4Address, psid: int | None, layout: InterfaceIdFormat
) -> IPv6Address:
    """A CE's address: its prefix, zero subnet bits, and the interface identifier.

    ``prefix`` is the end-user prefix, or the binding prefix of lw4o6. Where it is longer
    than /64 its bits overwrite the identifier's (RFC 7597 section 6). ``ipv4`` has its host
    bits zero where a prefix was assigned.
    """
    identifier = interface_identifier(layout, int(ipv4), psid or 0)
    host_mask = (1 << (128 - prefix.prefixlen)) - 1
    return IPv6Address(int(prefix.network_address) | identifier & host_mask)


def with_host(
    address: IPv6Address, prefix: IPv4Network, ipv4: IPv4Address, layout: InterfaceIdFormat
) -> IPv6Address:
    """The address of a CE that was assigned ``prefix``, for packets of ``ipv4`` alone: MAP-T.

    RFC 7597 section 6 has zeros where the identifier's IPv4 address goes on after the prefix.
    A translated packet has no other place to say which host it is from or to (docs/decisions/0015).
    A whole address leaves no bits over: nothing changes.
    """
    host = int(ipv4) & int(prefix.hostmask)
    return IPv6Address(int(address) | interface_identifier(layout, host, 0))


def host_of(address: IPv6Address, prefix: IPv4Network, layout: InterfaceIdFormat) -> IPv4Address:
    """The inverse: the IPv4 address of ``prefix`` that a MAP address is for in MAP-T."""
    host = shown_ipv4(layout, int(address)) & int(prefix.hostmask)
    return IPv4Address(int(prefix.network_address) | host)


def require_room_for_hosts(
    field: str, length: int, prefix: IPv4Network, layout: InterfaceIdFormat
) -> None:
    """InvalidValue where an IPv6 prefix of ``length`` overwrites what ``with_host`` adds."""
    room = first_ipv4_bit(layout) + prefix.prefixlen
    if prefix.prefixlen < 32 and length > room:
        raise InvalidValue(
            field,
            f"/{length}",
            f"in MAP-T the hosts of {prefix} are told apart by bits {room} to "
            f"{first_ipv4_bit(layout) + 31} of the "
            "MAP address, which it overwrites",
            f"use MAP-E, or an IPv6 prefix of at most {room} bits",
        )


def ea_bits_of(rule: MappingRule, address: IPv6Address) -> int:
    """The o bits that follow the rule IPv6 prefix, at whatever bit position that is."""
    return int(address) >> (128 - rule.map_prefix_length) & ((1 << rule.ea_length) - 1)


def forwarding_destination(
    rule: MappingRule, ipv4: IPv4Address, port: int | None, layout: InterfaceIdFormat
) -> IPv6Address:
    """The MAP address of the CE that owns ``ipv4`` and ``port`` (RFC 7597 section 5.3).

    ``port`` is a port or ICMP identifier; None is accepted only for unshared addresses.
    """
    psid = _psid_for(rule, port)
    ea_bits = rule.ea_bits_for(ipv4, psid)
    length = rule.map_prefix_length
    prefix = IPv6Network((int(rule.ipv6.network_address) | ea_bits << (128 - length), length))
    return map_address(prefix, rule.ipv4_of(ea_bits).network_address, psid, layout)


def translated_destination(
    rule: MappingRule, ipv4: IPv4Address, port: int | None, layout: InterfaceIdFormat
) -> IPv6Address:
    """The same in MAP-T, where the address has to say which host of a prefix is meant."""
    address = forwarding_destination(rule, ipv4, port, layout)
    return with_host(address, rule.ipv4_of(ea_bits_of(rule, address)), ipv4, layout)


def translated_source(
    rule: MappingRule, address: IPv6Address, layout: InterfaceIdFormat
) -> IPv4Address:
    """The IPv4 address that a MAP-T packet from ``address``, under ``rule``, claims to be from."""
    return host_of(address, rule.ipv4_of(ea_bits_of(rule, address)), layout)


def _psid_for(rule: MappingRule, port: int | None) -> int | None:
    if rule.assignment is not Assignment.SHARED:
        return None
    if port is None:
        raise InvalidValue(
            "port",
            None,
            f"{rule.ipv4} is shared: only a port tells which CE owns an address "
            "(RFC 7597 section 5.3)",
            "give a port, or an ICMP identifier",
        )
    psid = rule.port_parameters.psid_of(port)
    if psid is None or rule.psid not in (None, psid):
        raise InvalidValue(
            "port",
            port,
            f"no CE of rule {rule.ipv4} owns it: excluded, or of another PSID "
            "(RFC 7597 section 5.1)",
            "use a port of the CE's port set",
        )
    return psid


def source_is_consistent(
    rule: MappingRule, ipv6: IPv6Address, ipv4: IPv4Address, port: int | None
) -> bool:
    """The check of RFC 7597 section 8.1: do the EA bits of ``ipv6`` own ``ipv4`` and ``port``?"""
    if ipv6 not in rule.ipv6:
        return False
    ea_bits = ea_bits_of(rule, ipv6)
    if ipv4 not in rule.ipv4_of(ea_bits):
        return False
    if rule.assignment is not Assignment.SHARED:
        return True
    return port is not None and rule.port_parameters.psid_of(port) == rule.psid_of(ea_bits)


def source_is_map_address(
    rule: MappingRule,
    ipv6: IPv6Address,
    ipv4: IPv4Address,
    port: int | None,
    layout: InterfaceIdFormat,
) -> bool:
    """The stricter check: ``ipv6`` is exactly the MAP address of ``ipv4`` and ``port``.

    It also refuses a forged interface identifier, which the EA bits alone do not show.
    """
    if not source_is_consistent(rule, ipv6, ipv4, port):
        return False
    return forwarding_destination(rule, ipv4, port, layout) == ipv6
