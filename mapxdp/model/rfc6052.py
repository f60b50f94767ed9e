# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4-embedded IPv6 addresses (RFC 6052 section 2.2), the encoding of a MAP-T DMR.

::

    PL   0-------------32--40--48--56--64--72--80--88--96--104---------|
    32   |     prefix    |v4(32)         | u | suffix                    |
    40   |     prefix        |v4(24)     | u |(8)| suffix                |
    48   |     prefix            |v4(16) | u | (16)  | suffix            |
    56   |     prefix                |(8)| u |  v4(24)   | suffix        |
    64   |     prefix                    | u |   v4(32)      | suffix    |
    96   |     prefix                                    |    v4(32)     |
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mapxdp.errors import InvalidValue

PREFIX_LENGTHS = (32, 40, 48, 56, 64, 96)
WELL_KNOWN_PREFIX = IPv6Network("64:ff9b::/96")
_U_OCTET = 8
#: RFC 1918, 6598, 6890, 5737 and 2544; what is no address of a host is not among them.
_NOT_GLOBAL = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)


def require_prefix(field: str, prefix: IPv6Network) -> IPv6Network:
    """``prefix`` again, if RFC 6052 defines an encoding for it; InvalidValue if not."""
    if prefix.prefixlen not in PREFIX_LENGTHS:
        raise InvalidValue(
            field,
            prefix,
            "RFC 6052 section 2.2 defines no encoding for this prefix length",
            "use a prefix of length 32, 40, 48, 56, 64 or 96 (RFC 7599 section 5.1: 64)",
        )
    if prefix.network_address.packed[_U_OCTET]:
        raise InvalidValue(
            field,
            prefix,
            "bits 64 to 71 must be zero (RFC 6052 section 2.2)",
            "choose a prefix with a zero octet there",
        )
    return prefix


def embed(prefix: IPv6Network, ipv4: IPv4Address) -> IPv6Address:
    """The IPv6 address that stands for ``ipv4`` under ``prefix``; suffix bits zero."""
    octets = bytearray(prefix.network_address.packed)
    for position, octet in zip(_positions(prefix.prefixlen), ipv4.packed, strict=True):
        octets[position] = octet
    return IPv6Address(bytes(octets))


def is_from(prefix: IPv6Network, ipv6: IPv6Address) -> bool:
    """True for an address that ``embed`` may have made, whatever its suffix."""
    return ipv6 in prefix and not ipv6.packed[_U_OCTET]


def may_stand_for(prefix: IPv6Network, ipv4: IPv4Address) -> bool:
    """False for what only some networks know, under the prefix that all have (section 3.1)."""
    return prefix != WELL_KNOWN_PREFIX or not any(ipv4 in network for network in _NOT_GLOBAL)


def extract(prefix_length: int, ipv6: IPv6Address) -> IPv4Address:
    """The IPv4 address inside ``ipv6``; the suffix is ignored, as section 2.2 asks."""
    packed = ipv6.packed
    return IPv4Address(bytes(packed[position] for position in _positions(prefix_length)))


def _positions(prefix_length: int) -> list[int]:
    """Octet positions of the IPv4 address: four after the prefix, octet 8 left out."""
    octets = range(prefix_length // 8, 16)
    return [octet for octet in octets if octet != _U_OCTET][:4]
