# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Addresses that no host on the Internet has (RFC 6890)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

_MARTIAN = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/3"),
)


def is_martian(address: bytes) -> bool:
    """Whether a packet from or to this address (4 octets) cannot be one of the Internet."""
    return any(IPv4Address(address) in network for network in _MARTIAN)
