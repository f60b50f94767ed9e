# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4 in IPv6 (RFC 2473), and ECN at the two ends of the tunnel (RFC 6040)."""

from __future__ import annotations

import dataclasses
from enum import IntEnum

from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software import checksum
from mapxdp.software.transport import Transport
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import PROTO_IPV4, Ipv4, Ipv6

TUNNEL_HOP_LIMIT = 64


class Ecn(IntEnum):
    """The code points of RFC 3168."""

    NOT_ECT = 0b00
    ECT1 = 0b01
    ECT0 = 0b10
    CE = 0b11


#: RFC 6040 figure 4, by (inner, outer); None: the packet is dropped.
_LEAVING: dict[tuple[Ecn, Ecn], Ecn | None] = {
    (Ecn.NOT_ECT, Ecn.NOT_ECT): Ecn.NOT_ECT,
    (Ecn.NOT_ECT, Ecn.ECT0): Ecn.NOT_ECT,
    (Ecn.NOT_ECT, Ecn.ECT1): Ecn.NOT_ECT,
    (Ecn.NOT_ECT, Ecn.CE): None,
    (Ecn.ECT0, Ecn.NOT_ECT): Ecn.ECT0,
    (Ecn.ECT0, Ecn.ECT0): Ecn.ECT0,
    (Ecn.ECT0, Ecn.ECT1): Ecn.ECT1,
    (Ecn.ECT0, Ecn.CE): Ecn.CE,
    (Ecn.ECT1, Ecn.NOT_ECT): Ecn.ECT1,
    (Ecn.ECT1, Ecn.ECT0): Ecn.ECT1,
    (Ecn.ECT1, Ecn.ECT1): Ecn.ECT1,
    (Ecn.ECT1, Ecn.CE): Ecn.CE,
    (Ecn.CE, Ecn.NOT_ECT): Ecn.CE,
    (Ecn.CE, Ecn.ECT0): Ecn.CE,
    (Ecn.CE, Ecn.ECT1): Ecn.CE,
    (Ecn.CE, Ecn.CE): Ecn.CE,
}


def leaving_ecn(inner: Ecn, outer: Ecn) -> Ecn:
    """What a packet carries out of the tunnel; raises Refused for a mark that would be lost."""
    leaving = _LEAVING[inner, outer]
    if leaving is None:
        raise Refused(Reason.CONGESTION_MARK_LOST)
    return leaving


def renumbered(
    ipv4: Ipv4, transport: Transport, source: bytes, destination: bytes, tos: int | None = None
) -> Ipv4:
    """The packet with other addresses (and TOS), its checksums brought up to date."""
    if transport.protocol is not Protocol.ICMP:  # which has no pseudo header
        transport = transport.with_pseudo_header(
            ipv4.source + ipv4.destination, source + destination
        )
    changed = dataclasses.replace(ipv4, payload=transport.data)
    return readdressed(changed, source, destination, ipv4.tos if tos is None else tos)


def readdressed(ipv4: Ipv4, source: bytes, destination: bytes, tos: int) -> Ipv4:
    """The packet with another header, its payload as it is."""
    changed = dataclasses.replace(ipv4, tos=tos, source=source, destination=destination)
    field = checksum.updated(ipv4.checksum, ipv4.header(0), changed.header(0))
    return dataclasses.replace(changed, checksum=field)


def tunnel_packet(
    inner: Ipv4, source: bytes, destination: bytes, traffic_class: int | None = None
) -> Ipv6:
    """The packet inside a tunnel header; ``traffic_class`` None copies TOS.

    The congestion mark is TOS's in any case: it has to cross the tunnel.
    """
    dscp = inner.tos if traffic_class is None else traffic_class
    return Ipv6(
        traffic_class=dscp & ~3 | inner.tos & 3,
        hop_limit=TUNNEL_HOP_LIMIT,
        next_header=PROTO_IPV4,
        source=source,
        destination=destination,
        payload=inner.as_it_is(),
    )


def encapsulate(
    ipv4: Ipv4, source: bytes, destination: bytes, traffic_class: int | None = None
) -> bytes:
    """The same as octets."""
    return tunnel_packet(ipv4, source, destination, traffic_class).to_bytes()


def decapsulated_tos(inner_tos: int, outer_class: int) -> int:
    """The inner TOS with the congestion mark of the outer header merged in."""
    ecn = leaving_ecn(Ecn(inner_tos & 3), Ecn(outer_class & 3))
    return inner_tos & ~3 | ecn
