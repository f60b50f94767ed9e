# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What of a fragmented datagram from the WAN goes to the LAN (RFC 7915 section 5.1)."""

from __future__ import annotations

import dataclasses
import secrets

from mapxdp.software import checksum
from mapxdp.software.datagrams import Part
from mapxdp.software.fragmentation import ipv4_fragments
from mapxdp.software.wire import DONT_FRAGMENT, IPV4_HEADER, Ipv4, Ipv6

#: The datapath can make packets this long at the ingress of an interface.
LONGEST = 16000


def fits_ingress(payload: bytes) -> bool:
    """Whether the datagram reaches the kernel as one packet."""
    return IPV4_HEADER + len(payload) <= LONGEST


def is_too_long(outer: Ipv6) -> bool:
    """Whether a tunnel packet that was put together does not reach the kernel as one packet."""
    return len(outer.payload) > LONGEST


def arrived(ipv4: Ipv4, part: Part, identification: int) -> tuple[bytes, ...]:
    """The translated packet as what it was a part of: DF is not set."""
    header = dataclasses.replace(ipv4, flags=0)
    header = dataclasses.replace(header, checksum=checksum.checksum(header.header(0)))
    part = dataclasses.replace(part, payload=ipv4.payload)
    return _packets(ipv4_fragments(header, part, identification & 0xFFFF, LONGEST))


def inner_arrived(ipv4: Ipv4) -> tuple[bytes, ...]:
    """The same for IPv4 that came through a tunnel."""
    return _packets(ipv4_fragments(ipv4, ipv4.part, ipv4.identification, LONGEST))


def numbered(ipv4: Ipv4) -> Ipv4:
    """With a number of its own, which packets that must not be cut need not have (RFC 6864 section
    4.1): pieces of two of them would be taken for those of one."""
    changed = dataclasses.replace(ipv4, identification=secrets.randbits(16))
    field = checksum.updated(ipv4.checksum, ipv4.header(0), changed.header(0))
    return dataclasses.replace(changed, checksum=field)


def following(first: Ipv4, ipv6: Ipv6) -> Ipv4:
    """The header of a later fragment, from and to where the first one went."""
    return dataclasses.replace(first, tos=ipv6.traffic_class, ttl=ipv6.hop_limit)


def permitted_fragments(first: Ipv4, payload: bytes) -> Ipv4:
    """The datagram as one packet that may be cut: it was cut before."""
    changed = dataclasses.replace(first, flags=first.flags & ~(DONT_FRAGMENT | 0x3FFF))
    changed = dataclasses.replace(changed, payload=payload)
    field = checksum.updated(first.checksum, first.header(0), changed.header(0))
    return dataclasses.replace(changed, checksum=field)


def _packets(fragments: tuple[Ipv4, ...]) -> tuple[bytes, ...]:
    return tuple(fragment.as_it_is() for fragment in fragments)
