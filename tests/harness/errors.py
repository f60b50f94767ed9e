# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors for the tests, written out field by field."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from harness import packets
from harness.domains import BR, DMR
from harness.packets import HOST, SERVER
from mapxdp.model.domain import Domain

ROUTER = "203.0.113.9"
#: On the way, outside the domain: it has no IPv4 address.
ROUTER6 = IPv6Address("2001:db8:77::1")
#: RFC 4884 section 8: an extension header, and an object of MPLS labels.
OBJECTS = bytes.fromhex("20004cb3 0008 0101 00010203")


def icmp(kind: tuple[int, int], word: int, body: bytes, *, checksum: int | None = None) -> bytes:
    """An ICMP message; its checksum is right unless another is given."""
    data = struct.pack("!BBHI", *kind, 0, word) + body
    value = packets.internet_checksum(data) if checksum is None else checksum
    return data[:2] + struct.pack("!H", value) + data[4:]


def icmpv6(
    kind: tuple[int, int],
    word: int,
    body: bytes,
    source: str | IPv6Address,
    destination: str | IPv6Address,
) -> bytes:
    """An ICMPv6 message, its checksum right."""
    data = struct.pack("!BBHI", *kind, 0, word) + body
    pseudo = packets.pseudo_header(
        packets.v6(source), packets.v6(destination), len(data), packets.ICMPV6
    )
    value = packets.internet_checksum(pseudo + data)
    return data[:2] + struct.pack("!H", value) + data[4:]


def from_lan(
    kind: tuple[int, int],
    body: bytes,
    *,
    word: int = 0,
    source: str = HOST,
    destination: str = SERVER,
    **header: int,
) -> bytes:
    """An error of the LAN."""
    message = icmp(kind, word, body)
    return packets.ipv4(message, packets.ICMP, source, destination, **header)  # type: ignore[arg-type]


def from_wan(
    ce_domain: Domain,
    kind: tuple[int, int],
    body: bytes,
    *,
    word: int = 0,
    source: str | IPv6Address = ROUTER6,
    **header: int,
) -> bytes:
    """An ICMPv6 error to the MAP address."""
    to = ce_domain.map_address
    message = icmpv6(kind, word, body, source, to)
    return packets.ipv6(message, packets.ICMPV6, source, to, **header)  # type: ignore[arg-type]


def in_tunnel(
    ce_domain: Domain,
    kind: tuple[int, int],
    body: bytes,
    *,
    word: int = 0,
    source: str = ROUTER,
    **outer: int,
) -> bytes:
    """An ICMP error of the Internet, as the BR sends it on."""
    own = str(ce_domain.ipv4.network_address)
    inner = packets.ipv4(icmp(kind, word, body), packets.ICMP, source, own)
    return packets.ipv6(inner, packets.IPV4, BR, ce_domain.map_address, **outer)  # type: ignore[arg-type]


__all__ = ["DMR", "OBJECTS", "ROUTER", "ROUTER6", "from_lan", "from_wan", "icmp", "icmpv6", "in_tunnel"]
