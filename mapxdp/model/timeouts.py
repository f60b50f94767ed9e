# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How long a silent NAPT44 mapping lives, in seconds, and the phase that decides it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Protocol(Enum):
    """The protocols NAPT44 knows; each has the whole port set to itself."""

    TCP = auto()
    UDP = auto()
    ICMP = auto()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds of silence after which a mapping has expired.

    The defaults are the minima of RFC 5382 REQ-5 (with RFC 7857 section 2), RFC 4787 REQ-5
    and RFC 5508 REQ-2, except that UDP gets the recommended 5 minutes once it was answered.
    """

    tcp_opening: int = 240
    tcp_established: int = 7440
    tcp_closing: int = 240
    udp_unanswered: int = 120
    udp_answered: int = 300
    icmp_query: int = 60


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """What is known of a mapping's traffic."""

    answered: bool = False
    closing: bool = False
    several_peers: bool = False


def timeout_of(timeouts: Timeouts, protocol: Protocol, facts: MappingFacts) -> int:
    """The timeout of a mapping. With several peers nobody knows which of them are closed."""
    if protocol is Protocol.ICMP:
        return timeouts.icmp_query
    if protocol is Protocol.UDP:
        answered = facts.answered or facts.several_peers
        return timeouts.udp_answered if answered else timeouts.udp_unanswered
    if facts.several_peers:
        return timeouts.tcp_established
    if facts.closing:
        return timeouts.tcp_closing
    return timeouts.tcp_established if facts.answered else timeouts.tcp_opening
