# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames that anybody can send to a CE's WAN, and what each is dropped for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from benchmarks.pps import way
from benchmarks.pps.way import Connection
from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason

_FRAGMENT = 44
_STRANGER = IPv6Address("2001:db8:eeee::1")


@dataclass(frozen=True, slots=True)
class Invalid:
    """One kind."""

    what: str
    reason: Reason
    frame: bytes


def invalid(domain: Domain) -> list[Invalid]:
    """Every kind, at a CE of this place that has no mapping."""
    inside = domain.port_set.port_at(0)
    outside = next(port for port in range(2000, 4000) if port not in domain.port_set)
    return [
        *_of_packets(domain, inside, outside),
        *_of_errors(domain, inside, outside),
        *(_of_tunnels(domain, inside) if domain.br is not None else []),
    ]


def _of_packets(domain: Domain, inside: int, outside: int) -> list[Invalid]:
    sound = Connection(0)
    good = sound.down_from(domain, inside)
    at_udp = 54 if domain.mode.translates else 74
    too_long = good[: at_udp + 4] + (9999).to_bytes(2, "big") + good[at_udp + 6 :]
    long_ipv6 = good[:18] + (9999).to_bytes(2, "big") + good[20:]
    martian = way.down_between(domain, IPv4Address("127.0.0.1"), inside)
    return [
        Invalid("UDP, port of another", Reason.PORT_OUTSIDE_SET, sound.down_from(domain, outside)),
        Invalid("UDP, no mapping", Reason.NO_MAPPING, good),
        Invalid("UDP, length wrong", Reason.MALFORMED_TRANSPORT, too_long),
        Invalid("IPv6, length wrong", Reason.MALFORMED_IPV6, long_ipv6),
        Invalid("UDP, from 127.0.0.1", Reason.SOURCE_MARTIAN, martian),
        Invalid("fragment, odd length", Reason.FRAGMENT_INVALID, _odd_fragment(good)),
    ]


def _of_errors(domain: Domain, inside: int, outside: int) -> list[Invalid]:
    sound = way.error_about(domain, inside)
    wrong_sum = sound[:-1] + bytes([sound[-1] ^ 1])
    elsewhere = way.error_about(domain, outside)
    return [
        Invalid("ICMP error, no mapping", Reason.NO_MAPPING, sound),
        Invalid("ICMP error, port of another", Reason.PORT_OUTSIDE_SET, elsewhere),
        Invalid("ICMP error, checksum wrong", Reason.ICMP_CHECKSUM, wrong_sum),
    ]


def _of_tunnels(domain: Domain, inside: int) -> list[Invalid]:
    good = Connection(0).down_from(domain, inside)
    from_stranger = good[:22] + _STRANGER.packed + good[38:]
    to_neighbour = way.inner_to(domain, IPv4Address("192.0.2.99"), inside)
    return [
        Invalid("tunnel, from a stranger", Reason.TUNNEL_SOURCE, from_stranger),
        Invalid("tunnel, to another", Reason.INNER_DESTINATION, to_neighbour),
    ]


def _odd_fragment(frame: bytes) -> bytes:
    """A first fragment of 13 octets: all but the last are multiples of 8."""
    header = frame[20:21] + bytes([0]) + (0x0001).to_bytes(2, "big") + bytes(4)
    fixed = frame[14:18] + (8 + 13).to_bytes(2, "big") + bytes([_FRAGMENT]) + frame[21:54]
    return (frame[:14] + fixed + header + frame[54:67]).ljust(len(frame), b"\0")
