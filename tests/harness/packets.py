"""Packets for the tests, written out field by field; checksums made here, word by word."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

TCP, UDP, ICMP, ICMPV6, IPV4 = 6, 17, 1, 58, 4
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

HOST = "192.168.1.2"
SERVER = "198.51.100.7"


def internet_checksum(data: bytes) -> int:
    total = sum(
        struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2))
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_header_checksum(packet: bytes) -> bytes:
    """An IPv4 packet whose header checksum is right."""
    header = (packet[0] & 0xF) * 4
    summed = packet[:10] + bytes(2) + packet[12:header]
    return packet[:10] + internet_checksum(summed).to_bytes(2, "big") + packet[12:]


def v4(address: str) -> bytes:
    return IPv4Address(address).packed


def v6(address: str | IPv6Address) -> bytes:
    return IPv6Address(address).packed


def ipv4(
    payload: bytes,
    protocol: int,
    source: str = HOST,
    destination: str = SERVER,
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0x1234,
    fragment: int = 0x4000,
    options: bytes = b"",
    total_length: int | None = None,
    version: int = 4,
) -> bytes:
    words = 5 + len(options) // 4
    total = 4 * words + len(payload) if total_length is None else total_length
    header = struct.pack(
        "!BBHHHBBH4s4s",
        version << 4 | words,
        tos,
        total & 0xFFFF,
        identification,
        fragment,
        ttl,
        protocol,
        0,
        v4(source),
        v4(destination),
    )
    header += options
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + payload


def ipv6(
    payload: bytes,
    next_header: int,
    source: str | IPv6Address,
    destination: str | IPv6Address,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
    payload_length: int | None = None,
    version: int = 6,
) -> bytes:
    length = len(payload) if payload_length is None else payload_length
    return (
        struct.pack(
            "!IHBB",
            version << 28 | traffic_class << 20 | flow_label,
            length,
            next_header,
            hop_limit,
        )
        + v6(source)
        + v6(destination)
        + payload
    )


def pseudo_header(source: bytes, destination: bytes, length: int, protocol: int) -> bytes:
    return source + destination + struct.pack("!II", length, protocol)


def _with_checksum(data: bytes, at: int, pseudo: bytes, protocol: int) -> bytes:
    value = internet_checksum(pseudo + data)
    if protocol == UDP and value == 0:
        value = 0xFFFF
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]


def _addresses(source: str | IPv6Address, destination: str | IPv6Address) -> tuple[bytes, bytes]:
    if ":" in str(source):
        return v6(source), v6(destination)
    return v4(str(source)), v4(str(destination))


def tcp(
    source: str | IPv6Address,
    destination: str | IPv6Address,
    source_port: int,
    destination_port: int,
    *,
    flags: int = ACK,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    data = struct.pack(
        "!HHIIBBHHH", source_port, destination_port, 1, 2, words << 4, flags, 8192, 0, 0
    )
    data += options + payload
    pseudo = pseudo_header(*_addresses(source, destination), len(data), TCP)
    return _with_checksum(data, 16, pseudo, TCP)


def udp(
    source: str | IPv6Address,
    destination: str | IPv6Address,
    source_port: int,
    destination_port: int,
    payload: bytes = b"",
    *,
    length: int | None = None,
    checksum: bool = True,
) -> bytes:
    size = 8 + len(payload) if length is None else length
    data = struct.pack("!HHHH", source_port, destination_port, size, 0) + payload
    if not checksum:
        return data
    pseudo = pseudo_header(*_addresses(source, destination), len(data), UDP)
    return _with_checksum(data, 6, pseudo, UDP)


def echo(identifier: int, *, reply: bool = False, payload: bytes = b"") -> bytes:
    """An ICMP echo message."""
    data = struct.pack("!BBHHH", 0 if reply else 8, 0, 0, identifier, 1) + payload
    return _with_checksum(data, 2, b"", ICMP)


def echo6(
    source: str | IPv6Address,
    destination: str | IPv6Address,
    identifier: int,
    *,
    reply: bool = False,
    payload: bytes = b"",
) -> bytes:
    """An ICMPv6 echo message."""
    data = struct.pack("!BBHHH", 129 if reply else 128, 0, 0, identifier, 1) + payload
    pseudo = pseudo_header(*_addresses(source, destination), len(data), ICMPV6)
    return _with_checksum(data, 2, pseudo, ICMPV6)


def checksums_are_right(packet: bytes) -> bool:
    """True if every checksum of a TCP, UDP or echo packet is what it should be."""
    if packet[0] >> 4 == 4:
        size = (packet[0] & 0xF) * 4
        data, protocol = packet[size:], packet[9]
        addresses = packet[12:16], packet[16:20]
        if internet_checksum(packet[:size]):
            return False
        if protocol == ICMP:
            return internet_checksum(data) == 0
    else:
        data, protocol = packet[40:], packet[6]
        addresses = packet[8:24], packet[24:40]
        if protocol == IPV4:
            return checksums_are_right(data)
    if protocol == UDP and data[6:8] == b"\0\0":
        return packet[0] >> 4 == 4
    return internet_checksum(pseudo_header(*addresses, len(data), protocol) + data) == 0
