# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Choices that RFC 7915, RFC 2473 and RFC 7597 leave to the operator of a translator or tunnel."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

#: The IPv4 dummy address (RFC 7600 section 4.8).
DUMMY_ADDRESS = IPv4Address("192.0.0.8")


@dataclass(frozen=True, slots=True)
class TranslationPolicy:
    """How headers are made, beyond what the RFCs fix.

    ``traffic_class`` None copies the octet (RFC 7915 sections 4.1 and 5.1, RFC 2473 section
    6.4); a number from 0 to 255 is what every packet to the WAN gets. ``icmp_error_source`` is
    that of ICMP errors from routers without an IPv4 address (RFC 6791), and of the CE's own where
    there is no NAPT44. ``fragment_inner`` is for MAP-E: the IPv4 packet is cut and not the IPv6
    one (RFC 7597 section 8.3.1).
    """

    traffic_class: int | None = None
    compute_udp_checksum: bool = True
    icmp_error_source: IPv4Address = DUMMY_ADDRESS
    fragment_inner: bool = False
