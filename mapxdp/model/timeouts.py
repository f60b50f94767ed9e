# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How long a silent NAPT44 mapping lives, in seconds, and the phase that decides it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum, auto

from mapxdp.errors import InvalidValue


class Protocol(Enum):
    """The protocols NAPT44 knows; each has the whole port set to itself."""

    TCP = auto()
    UDP = auto()
    ICMP = auto()


class TimeoutClass(Enum):
    """Which timeouts a mapping has."""

    TCP = auto()
    UDP = auto()
    ICMP = auto()
    QUERY = auto()
    QUIC = auto()


#: Well-known ports may have shorter timeouts (RFC 4787 REQ-5a).
_CLASS_OF_UDP_PORT = {53: TimeoutClass.QUERY, 123: TimeoutClass.QUERY, 443: TimeoutClass.QUIC}
_CLASS_OF_PROTOCOL = {
    Protocol.TCP: TimeoutClass.TCP,
    Protocol.UDP: TimeoutClass.UDP,
    Protocol.ICMP: TimeoutClass.ICMP,
}


def timeout_class(protocol: Protocol, remote_port: int) -> TimeoutClass:
    """The class of a mapping whose first remote has this port."""
    general = _CLASS_OF_PROTOCOL[protocol]
    return _CLASS_OF_UDP_PORT.get(remote_port, general) if protocol is Protocol.UDP else general


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds of silence after which a mapping has expired.

    The defaults are the minima of RFC 5382 REQ-5 (with RFC 7857 section 2), RFC 4787 REQ-5
    and RFC 5508 REQ-2, except that UDP gets the recommended 5 minutes once it was answered.
    ``tcp_early_closing`` counts only when no port is left, where that is allowed.
    """

    tcp_opening: int = 240
    tcp_established: int = 7440
    tcp_closing: int = 240
    tcp_early_closing: int = 60
    udp_unanswered: int = 120
    udp_answered: int = 300
    query_unanswered: int = 10
    query_answered: int = 3
    quic_unanswered: int = 30
    quic_answered: int = 120
    icmp_query: int = 60

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not 1 <= value <= LONGEST:
                raise InvalidValue(
                    entry.name,
                    value,
                    f"a timeout is 1 to {LONGEST} seconds",
                    "leave it out: the defaults are those of the RFCs",
                )

    def require_rfc_minima(self) -> None:
        """InvalidValue for a timeout below what an RFC says it MUST NOT be below."""
        for name, (least, rule) in RFC_MINIMA.items():
            if getattr(self, name) < least:
                raise InvalidValue(
                    name,
                    getattr(self, name),
                    f"it has to be at least {least} seconds ({rule})",
                    "raise it, or set strict = false and live with broken connections",
                )


#: A week: long enough for anything, and far from where ticks overflow.
LONGEST = 604_800
#: The least of each timeout that an RFC limits.
RFC_MINIMA = {
    "tcp_established": (7440, "RFC 5382 REQ-5"),
    "tcp_opening": (
        60,
        "RFC 7857 section 2.1 allows less than 4 minutes, no less than a SYN's life",
    ),
    "tcp_closing": (240, "RFC 5382 REQ-5, RFC 7857 section 2.2"),
    "udp_unanswered": (120, "RFC 4787 REQ-5"),
    "udp_answered": (120, "RFC 4787 REQ-5"),
    "icmp_query": (60, "RFC 5508 REQ-2"),
}


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """What is known of a mapping's traffic."""

    answered: bool = False
    closing: bool = False
    several_peers: bool = False


def timeout_of(timeouts: Timeouts, which: TimeoutClass, facts: MappingFacts) -> int:
    """The timeout of a mapping. With several peers nobody knows which of them are closed."""
    if which is TimeoutClass.ICMP:
        return timeouts.icmp_query
    if which is TimeoutClass.TCP:
        return _of_tcp(timeouts, facts)
    if facts.several_peers:
        return timeouts.udp_answered
    if which is TimeoutClass.QUERY:
        return timeouts.query_answered if facts.answered else timeouts.query_unanswered
    if which is TimeoutClass.QUIC:
        return timeouts.quic_answered if facts.answered else timeouts.quic_unanswered
    return timeouts.udp_answered if facts.answered else timeouts.udp_unanswered


def _of_tcp(timeouts: Timeouts, facts: MappingFacts) -> int:
    if facts.several_peers:
        return timeouts.tcp_established
    if facts.closing:
        return timeouts.tcp_closing
    return timeouts.tcp_established if facts.answered else timeouts.tcp_opening


def under_pressure(timeouts: Timeouts) -> Timeouts:
    """The timeouts when no port is left: closing TCP goes first."""
    return replace(timeouts, tcp_closing=min(timeouts.tcp_closing, timeouts.tcp_early_closing))
