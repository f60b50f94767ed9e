# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How headers are made: the table ``translation`` and ``mtu.lowest_ipv6_mtu``."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address

from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Mode
from mapxdp.model.mtu import MINIMUM_IPV6_MTU
from mapxdp.model.translation import DUMMY_ADDRESS, TranslationPolicy
from mapxdp.table_reader import TableReader

_MOST_OF_AN_OCTET = 255


class _UdpZeroChecksum(StrEnum):
    COMPUTE = "compute"
    DROP = "drop"


class _Fragment(StrEnum):
    OUTER = "outer"
    INNER = "inner"


def read_translation(table: TableReader, mode: Mode) -> TranslationPolicy:
    """What the table says; what it leaves open is as the RFCs have it."""
    zero_checksum = table.choice("udp_zero_checksum", _UdpZeroChecksum, _UdpZeroChecksum.COMPUTE)
    return TranslationPolicy(
        traffic_class=_traffic_class(table),
        compute_udp_checksum=zero_checksum is _UdpZeroChecksum.COMPUTE,
        icmp_error_source=_icmp_error_source(table),
        fragment_inner=_fragment_inner(table, mode),
    )


def lowest_ipv6_mtu(mtu: TableReader, wan_mtu: int | None) -> int | None:
    """The smallest MTU on the way through the domain; None: that of the WAN."""
    lowest = mtu.optional_number("lowest_ipv6_mtu")
    return None if lowest is None else require_lowest_ipv6_mtu(lowest, wan_mtu)


def require_lowest_ipv6_mtu(lowest: int, wan_mtu: int | None) -> int:
    """``lowest`` again, if packets of that size leave the WAN whole; InvalidValue if not."""
    if lowest < MINIMUM_IPV6_MTU:
        raise InvalidValue(
            "mtu.lowest_ipv6_mtu",
            lowest,
            "an IPv6 link has an MTU of at least 1280 (RFC 8200 section 5)",
            "write 1280 where you do not know better (RFC 7915 section 4)",
        )
    if wan_mtu is not None and lowest > wan_mtu:
        raise InvalidValue(
            "mtu.lowest_ipv6_mtu",
            lowest,
            f"the lowest MTU is at most that of the WAN, {wan_mtu}",
            "leave lowest_ipv6_mtu out: it is then the MTU of the WAN",
        )
    return lowest


def _traffic_class(table: TableReader) -> int | None:
    value = table.raw("traffic_class", "copy")
    if value == "copy":
        return None
    if value == "zero":
        return 0
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and 0 <= value <= _MOST_OF_AN_OCTET:
        return int(value)
    raise InvalidValue(
        "translation.traffic_class",
        value,
        f'it is "copy", "zero" or a number from 0 to {_MOST_OF_AN_OCTET}',
        'use "copy": the octet then crosses as it is',
    )


def _icmp_error_source(table: TableReader) -> IPv4Address:
    value = table.raw("icmp_error_source", str(DUMMY_ADDRESS))
    remedy = f'leave it out: it is then "{DUMMY_ADDRESS}" (RFC 7600 section 4.8)'
    try:
        if not isinstance(value, str):
            raise AddressValueError("it has to be text")
        address = IPv4Address(value)
    except AddressValueError as error:
        rule = f"it has to be an IPv4 address: {error}"
        raise InvalidValue("translation.icmp_error_source", value, rule, remedy) from None
    if _cannot_send(address):
        rule = "it has to be an address that a router can have"
        raise InvalidValue("translation.icmp_error_source", value, rule, remedy)
    return address


def _cannot_send(address: IPv4Address) -> bool:
    return (
        address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or address.packed[0] in (0, *range(240, 256))
    )


def _fragment_inner(table: TableReader, mode: Mode) -> bool:
    """Whether MAP-E cuts the IPv4 packet; where there is no choice, it has to be the other."""
    if table.choice("fragment", _Fragment, _Fragment.OUTER) is _Fragment.OUTER:
        return False
    if mode is Mode.MAP_E:
        return True
    rule = {
        Mode.MAP_T: "translated packets have one IP header",
        Mode.LW4O6: "lw4o6 cuts the IPv6 packet only (RFC 6333 section 5.3)",
    }[mode]
    raise InvalidValue(
        "translation.fragment", _Fragment.INNER.value, rule, 'use "outer", or leave it out'
    )
