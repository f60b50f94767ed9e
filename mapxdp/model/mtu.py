# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""MTU and MSS that follow from the WAN's MTU (RFC 7597 section 8.3, RFC 7599 section 10)."""

from __future__ import annotations

from mapxdp.errors import InvalidValue

IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20
MINIMUM_IPV6_MTU = 1280
MAXIMUM_MTU = 65535

TRANSLATION_OVERHEAD = IPV6_HEADER - IPV4_HEADER
ENCAPSULATION_OVERHEAD = IPV6_HEADER


def require_wan_mtu(field: str, mtu: int) -> int:
    """``mtu`` again, if an IPv6 link can have it; InvalidValue if not."""
    if mtu > MAXIMUM_MTU:
        raise InvalidValue(
            field,
            mtu,
            f"an IP packet has at most {MAXIMUM_MTU} octets (RFC 791)",
            "write the MTU of the WAN interface",
        )
    if mtu < MINIMUM_IPV6_MTU:
        raise InvalidValue(
            field,
            mtu,
            "an IPv6 link has an MTU of at least 1280 (RFC 8200 section 5)",
            "raise the MTU of the WAN interface to 1280 or more",
        )
    return mtu


def mss_for(ipv4_mtu: int) -> int:
    """The largest TCP MSS whose segments fit ``ipv4_mtu`` unfragmented."""
    return ipv4_mtu - IPV4_HEADER - TCP_HEADER
