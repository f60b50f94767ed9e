# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packets of the connections of a household: each has a number, the host's and its port."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.software.checksum import checksum
from mapxdp.software.icmp_message import with_icmp_checksum, with_icmpv6_checksum
from mapxdp.software.wire import PROTO_ICMP, PROTO_ICMPV6

LAN_MAC, HOST_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
WAN_MAC, GATEWAY_MAC = bytes.fromhex("020000000003"), bytes.fromhex("020000000004")
REMOTE = IPv4Address("198.18.0.1")
MASQUERADE = IPv4Address("198.51.100.2")
HOSTS = 16
_FIRST_HOST = IPv4Address("192.168.1.16")
_FIRST_PORT, REMOTE_PORT = 2000, 50000
_PAYLOAD = bytes(22)
_UDP, _IPV4 = 17, 4
_TTL = 64
_QUOTED = 18
_PORT_UNREACHABLE, _PORT_UNREACHABLE_V6 = (3, 3), (1, 4)


@dataclass(frozen=True, slots=True)
class Connection:
    """The ``number``-th: a port of a host's to a remote, by default the one of all."""

    number: int
    remote: IPv4Address = REMOTE

    @property
    def host(self) -> IPv4Address:
        """The LAN host."""
        return _FIRST_HOST + self.number % HOSTS

    @property
    def port(self) -> int:
        """Its port; no two connections have the same one, so that masquerade keeps it."""
        return _FIRST_PORT + self.number

    def up(self) -> bytes:
        """As it arrives from the LAN: 64 octets."""
        packet = _ipv4(self.host, self.remote, self.port, REMOTE_PORT)
        return LAN_MAC + HOST_MAC + b"\x08\x00" + packet

    def down(self) -> bytes:
        """The answer, to a router that changes nothing."""
        return _from_wan(_ipv4(self.remote, self.host, REMOTE_PORT, self.port))

    def down_masqueraded(self) -> bytes:
        """The answer, to one that masquerades."""
        return _from_wan(_ipv4(self.remote, MASQUERADE, REMOTE_PORT, self.port))

    def down_from(self, domain: Domain, port: int) -> bytes:
        """The answer through a MAP domain, to the external port."""
        return down_between(domain, self.remote, port)


def in_no_order(count: int) -> list[Connection]:
    """All of them, always the same way: what was made in order, such as ports beside each other,
    could be fetched ahead of the packets, as it cannot where people send them."""
    numbers = list(range(count))
    random.Random(count).shuffle(numbers)  # noqa: S311, for no secret
    return [Connection(number) for number in numbers]


def down_between(domain: Domain, remote: IPv4Address, port: int) -> bytes:
    """From a remote to a port of a CE's."""
    if domain.dmr is None:
        return inner_to(domain, domain.ipv4.network_address, port, remote)
    source = domain.destination_ipv6(remote, REMOTE_PORT)
    addresses = source.packed + domain.map_address.packed
    return _from_wan(_ipv6(source, domain.map_address, _UDP, _udp(addresses, REMOTE_PORT, port)))


def inner_to(
    domain: Domain, destination: IPv4Address, port: int, remote: IPv4Address = REMOTE
) -> bytes:
    """From a remote, in a CE's tunnel, to any address."""
    far_end = domain.destination_ipv6(remote, REMOTE_PORT)
    inner = _ipv4(remote, destination, REMOTE_PORT, port)
    return _from_wan(_ipv6(far_end, domain.map_address, _IPV4, inner))


def error_about(domain: Domain, port: int) -> bytes:
    """That the remote's port is closed, as if the CE had sent it something from the port. It quotes
    so much that the frame can be played: whole words."""
    if domain.dmr is None:
        about = _ipv4(domain.ipv4.network_address, REMOTE, port, REMOTE_PORT)[: 20 + _QUOTED]
        inner = _ipv4_header(REMOTE, domain.ipv4.network_address, PROTO_ICMP, 8 + len(about))
        error = with_icmp_checksum(bytes(_PORT_UNREACHABLE) + bytes(6) + about)
        assert domain.br is not None  # by Domain, where there is a tunnel
        return _from_wan(_ipv6(domain.br, domain.map_address, _IPV4, inner + error))
    source = rfc6052.embed(domain.dmr, REMOTE)
    addresses = domain.map_address.packed + source.packed
    about = _ipv6(domain.map_address, source, _UDP, _udp(addresses, port, REMOTE_PORT))
    message = bytes(_PORT_UNREACHABLE_V6) + bytes(6) + about[: 40 + _QUOTED]
    error = with_icmpv6_checksum(message, source.packed, domain.map_address.packed)
    return _from_wan(_ipv6(source, domain.map_address, PROTO_ICMPV6, error))


def _from_wan(packet: bytes) -> bytes:
    ether_type = b"\x08\x00" if packet[0] >> 4 == _IPV4 else b"\x86\xdd"
    return WAN_MAC + GATEWAY_MAC + ether_type + packet


def _udp(addresses: bytes, source: int, destination: int) -> bytes:
    length = 8 + len(_PAYLOAD)
    datagram = struct.pack(">HHHH", source, destination, length, 0) + _PAYLOAD
    total = checksum(addresses + struct.pack(">HH", _UDP, length) + datagram)
    return datagram[:6] + (total or 0xFFFF).to_bytes(2, "big") + _PAYLOAD


def _ipv4(source: IPv4Address, destination: IPv4Address, port: int, to: int) -> bytes:
    addresses = source.packed + destination.packed
    datagram = _udp(addresses, port, to)
    return _ipv4_header(source, destination, _UDP, len(datagram)) + datagram


def _ipv4_header(
    source: IPv4Address, destination: IPv4Address, protocol: int, octets: int
) -> bytes:
    head = struct.pack(">HHHHBBH", 0x4500, 20 + octets, 0, 0x4000, _TTL, protocol, 0)
    head += source.packed + destination.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:]


def _ipv6(source: IPv6Address, destination: IPv6Address, header: int, payload: bytes) -> bytes:
    fixed = struct.pack(">IHBB", 6 << 28, len(payload), header, _TTL)
    return fixed + source.packed + destination.packed + payload
