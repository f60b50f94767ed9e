# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Plays generated steps of a household on both paths."""

from __future__ import annotations

from harness import packets, traffic
from harness.follower import Follower, is_translated
from harness.traffic import LAST_PORT, Again, Burst, Each, FromLan, FromWan, Step, Talk, Wait
from mapxdp.observed import Mapping
from mapxdp.software.verdict import Outcome


def play(follower: Follower, step: Step) -> None:
    """One step."""
    if isinstance(step, Wait):
        follower.advance(step.ticks)
    elif isinstance(step, Burst | Talk):
        for packet in step.packets():
            send(follower, packet)
    elif isinstance(step, Again):
        mapping = mapping_of(follower, step.number)
        if mapping is not None:
            send(follower, step.about(mapping, own_address(follower)))
    elif isinstance(step, Each):
        for mapping in [*follower.software.napt44.mappings()][: step.most]:
            send(follower, step.again.about(mapping, own_address(follower)))
    else:
        send(follower, step)


def mapping_of(follower: Follower, number: int) -> Mapping | None:
    """The ``number``-th mapping there is, counted in a circle; None where there is none."""
    mappings = list(follower.software.napt44.mappings())
    return mappings[number % len(mappings)] if mappings else None


def last_port(follower: Follower) -> int:
    """That of the last packet that left; before it, any of the set."""
    return follower.last_port or follower.ce.domain.port_set.port_at(0)


def own_address(follower: Follower) -> str:
    return str(follower.ce.domain.ipv4.network_address)


def send(follower: Follower, step: FromLan | FromWan) -> None:
    """A sound packet, whose checksums stay right."""
    outcome = deliver(follower, step, packet_of(follower, step))
    if is_translated(outcome):
        assert packets.checksums_are_right(outcome.packets[0])


def packet_of(follower: Follower, step: FromLan | FromWan) -> bytes:
    """As it comes now: its port may be that of the last packet that left."""
    if isinstance(step, FromLan):
        return traffic.upstream_packet(step)
    port = last_port(follower) if step.port == LAST_PORT else step.port
    return traffic.downstream_packet(follower.ce.domain, step, port)


def deliver(follower: Follower, step: FromLan | FromWan, packet: bytes) -> Outcome:
    """The packet, from where the step says."""
    return (follower.from_lan if isinstance(step, FromLan) else follower.from_wan)(packet)
