# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Datagrams cut into fragments, and put together again by scapy."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet import IP, defragment
from scapy.layers.inet6 import IPv6, defragment6

from harness import packets
from harness.exchange import HIGH
from harness.packets import HOST, SERVER
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain

FRAGMENT = 44
_MORE = 0x2000
IDENTIFICATION = 0x4D58


@dataclass(frozen=True)
class Part:
    """``length`` octets of a datagram's payload, from ``offset`` on."""

    offset: int
    length: int
    more: bool


def parts_of(length: int, size: int) -> list[Part]:
    """A payload of ``length`` octets in parts of at most ``size``, in order."""
    return [
        Part(start, min(size, length - start), start + size < length)
        for start in range(0, length, size)
    ]


def noise(length: int) -> bytes:
    """The same octets each time, none like another."""
    return random.Random(length).randbytes(length)


#: Makes a packet of a part of a datagram.
Cut = Callable[[Part], bytes]


def ipv4_cut(
    payload: bytes,
    protocol: int,
    source: str = HOST,
    destination: str = SERVER,
    identification: int = IDENTIFICATION,
    flags: int = 0,
    **fields: int,
) -> Cut:
    """Cuts an IPv4 datagram."""

    def cut(part: Part) -> bytes:
        return packets.ipv4(
            payload[part.offset : part.offset + part.length],
            protocol,
            source,
            destination,
            identification=identification,
            fragment=flags | (_MORE if part.more else 0) | part.offset // 8,
            **fields,
        )

    return cut


def ipv6_cut(
    payload: bytes,
    next_header: int,
    source: str | IPv6Address,
    destination: str | IPv6Address,
    identification: int = IDENTIFICATION,
    traffic_class: int = 0,
) -> Cut:
    """Cuts an IPv6 packet behind its header."""

    def cut(part: Part) -> bytes:
        header = bytes([next_header, 0]) + (part.offset | part.more).to_bytes(2, "big")
        header += identification.to_bytes(4, "big")
        data = payload[part.offset : part.offset + part.length]
        data = header + data
        return packets.ipv6(data, FRAGMENT, source, destination, traffic_class=traffic_class)

    return cut


def through_tunnel(ce_domain: Domain, cut: Cut) -> Cut:
    """What the BR makes of IPv4 fragments."""
    return lambda part: encapsulated(ce_domain, cut(part))


def encapsulated(ce_domain: Domain, packet: bytes) -> bytes:
    """An IPv4 packet from the BR."""
    assert ce_domain.br is not None
    return packets.ipv6(packet, packets.IPV4, ce_domain.br, ce_domain.map_address)


def far_end(ce_domain: Domain, server: str = SERVER) -> IPv6Address:
    """A server of the Internet as MAP-T shows it."""
    assert ce_domain.dmr is not None
    return rfc6052.embed(ce_domain.dmr, IPv4Address(server))


def from_lan(
    protocol: str, body: bytes, port: int = 40000, identification: int = IDENTIFICATION
) -> tuple[Cut, int]:
    """How a datagram of a LAN host is cut, and the length of its payload."""
    if protocol == "echo":
        data, number = packets.echo(port, payload=body), packets.ICMP
    elif protocol == "tcp":
        data = packets.tcp(HOST, SERVER, port, HIGH, flags=packets.SYN, payload=body)
        number = packets.TCP
    else:
        data, number = packets.udp(HOST, SERVER, port, HIGH, body), packets.UDP
    return ipv4_cut(data, number, identification=identification), len(data)


def from_wan(
    ce_domain: Domain,
    protocol: str,
    body: bytes,
    port: int,
    identification: int = IDENTIFICATION,
) -> tuple[Cut, int]:
    """How an answer to a port of the CE is cut, and the length of its payload.

    In MAP-E the IPv4 packet is cut, and each fragment goes through the tunnel.
    """
    if not ce_domain.mode.translates:
        data, number = wan_payload(ce_domain, protocol, body, port)
        own = str(ce_domain.ipv4_address)
        cut = ipv4_cut(data, number, SERVER, own, identification)
        return through_tunnel(ce_domain, cut), len(data)
    source, destination = far_end(ce_domain), ce_domain.map_address
    if protocol == "echo":
        data = packets.echo6(source, destination, port, reply=True, payload=body)
        number = packets.ICMPV6
    elif protocol == "tcp":
        flags = packets.SYN | packets.ACK
        data = packets.tcp(source, destination, HIGH, port, flags=flags, payload=body)
        number = packets.TCP
    else:
        data, number = packets.udp(source, destination, HIGH, port, body), packets.UDP
    return ipv6_cut(data, number, source, destination, identification), len(data)


def wan_payload(ce_domain: Domain, protocol: str, body: bytes, port: int) -> tuple[bytes, int]:
    """What an answer carries in IPv4, and its protocol number."""
    own = str(ce_domain.ipv4_address)
    if protocol == "echo":
        return packets.echo(port, reply=True, payload=body), packets.ICMP
    if protocol == "tcp":
        flags = packets.SYN | packets.ACK
        return packets.tcp(SERVER, own, HIGH, port, flags=flags, payload=body), packets.TCP
    return packets.udp(SERVER, own, HIGH, port, body), packets.UDP


def put_together(pieces: Iterable[bytes]) -> bytes:
    """The one datagram that the packets are, without a tunnel header.

    Both a tunnel's packets and what is in them may be fragments. AssertionError where something is
    missing.
    """
    wholes = list(_wholes(list(pieces)))
    if all(whole[0] >> 4 == 6 and whole[6] == packets.IPV4 for whole in wholes):
        wholes = [whole[40:] for whole in wholes]
    if all(whole[0] >> 4 == 4 for whole in wholes):
        return _put_ipv4_together(wholes)
    assert len(wholes) == 1, "some of the packets are fragments, others are not"
    return wholes[0]


def _wholes(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Packets as they are but for fragments of IPv6, which are put together."""
    groups: dict[bytes, list[bytes]] = {}
    for piece in pieces:
        if piece[0] >> 4 == 6 and piece[6] == FRAGMENT:
            groups.setdefault(piece[44:48], []).append(piece)
        else:
            yield piece
    for group in groups.values():
        yield bytes(defragment6([IPv6(piece) for piece in group]))


def _put_ipv4_together(pieces: Sequence[bytes]) -> bytes:
    assert all(packets.internet_checksum(piece[:20]) == 0 for piece in pieces)
    in_order = sorted((IP(piece) for piece in pieces), key=lambda piece: int(piece.frag))
    whole = list(defragment(in_order))  # scapy wants them so
    assert len(whole) == 1
    made = whole[0]
    assert not made.frag and not made.flags.MF, "something is missing"
    del made.len, made.chksum
    return bytes(made)


def body_of(whole: bytes) -> bytes:
    """What is behind the transport header of a whole packet."""
    at, protocol = (40, whole[6]) if whole[0] >> 4 == 6 else (20, whole[9])
    return whole[at + (20 if protocol == packets.TCP else 8) :]


def reordered(parts: Sequence[Part], order: str) -> list[Part]:
    """``in order``, ``reversed``, or with the ``first last``."""
    if order == "reversed":
        return list(reversed(parts))
    if order == "first last":
        return [*parts[1:], parts[0]]
    return list(parts)


def with_more(part: Part) -> Part:
    """The same as if others followed it."""
    return dataclasses.replace(part, more=True)
