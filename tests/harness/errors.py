# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors for the tests, written out field by field."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.utils import checksum

from harness import packets
from harness.domains import BR
from harness.packets import HOST, SERVER
from mapxdp.model.domain import Domain

ROUTER = "203.0.113.9"
#: On the way, outside the domain: it has no IPv4 address.
ROUTER6 = IPv6Address("2001:db8:77::1")
#: RFC 4884 section 8: an extension header, and an object of MPLS labels.
OBJECTS = bytes.fromhex("20004cb3 0008 0101 00010203")


def icmp(kind: tuple[int, int], word: int, body: bytes) -> bytes:
    """An ICMP message, its checksum right."""
    data = struct.pack("!BBHI", *kind, 0, word) + body
    value = packets.internet_checksum(data)
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


def assert_sound(packet: bytes) -> None:
    """Lengths are right, and every checksum is what scapy makes of it."""
    if packet[0] >> 4 == 6:
        assert len(packet) == 40 + int.from_bytes(packet[4:6], "big")
        if packet[6] == packets.IPV4:
            assert_sound(packet[40:])
            return
        unset = packet[:42] + bytes(2) + packet[44:]
        expected = in6_chksum(packets.ICMPV6, IPv6(unset), unset[40:])
        assert packet[42:44] == struct.pack("!H", expected)
        return
    assert len(packet) == int.from_bytes(packet[2:4], "big")
    assert checksum(packet[:20]) == 0
    assert packet[22:24] == struct.pack("!H", checksum(packet[20:22] + bytes(2) + packet[24:]))
