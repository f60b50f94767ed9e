# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where an unknown packet from the LAN may get a port: docs/napt44.md, 'A packet from the LAN'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mapxdp.model.napt44 import MappingPolicy, Napt44Policy, is_shared_first
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.fairness import Hosts, Limits, Use
from mapxdp.software.flows import Flows
from mapxdp.software.lifecycle import LanPacket, Life, Lifetimes
from mapxdp.software.ports import Ports
from mapxdp.software.verdict import Refused

#: True for a life that is over, and whose place another may have.
IsOver = Callable[[Life, int], bool]


@dataclass(frozen=True, slots=True)
class Tables:
    """All that a search looks at."""

    policy: Napt44Policy
    limits: Limits
    lifetimes: Lifetimes
    target: int
    ports: dict[Protocol, Ports]
    flows: Flows
    hosts: Hosts


class Place(NamedTuple):
    """What a packet gets: a port of its own or a flow, on any of these ports.

    Of those that a flow may have, the first is the one it has by the rules.
    """

    kind: MappingKind
    ports: Sequence[int]
    early: bool = False


class Search:
    """The search for one packet; ``home`` is the position its endpoint looks at first."""

    def __init__(self, tables: Tables, packet: LanPacket, home: int, now: int) -> None:
        self._tables = tables
        self._packet = packet
        self._home = home
        self._now = now
        self._ports = tables.ports[packet.protocol]
        self._host_limit = False
        self._flows_full = False

    @property
    def _use(self) -> Use:
        return self._tables.hosts.use(self._packet.protocol, self._packet.endpoint)

    def place(self) -> Place:
        """The first place that has a port; raises Refused where none has."""
        for place in self._places():
            if place.ports:
                return place
        if self._host_limit:
            raise Refused(Reason.HOST_LIMIT)
        if self._flows_full:
            raise Refused(Reason.FLOWS_FULL)
        raise Refused(Reason.PORTS_EXHAUSTED)

    def _places(self) -> Iterator[Place]:
        """Steps 4 to 7, in their order."""
        policy, protocol = self._tables.policy, self._packet.protocol
        mapping, lifetimes = policy.mapping[protocol], self._tables.lifetimes
        owns = not is_shared_first(mapping, protocol, self._packet.remote.port)
        shares = not owns or mapping is not MappingPolicy.EIM
        if owns:
            if self._may_own_more():
                yield from self._free_of_its_own()
            yield Place(MappingKind.OWN, self._given_back(lifetimes.is_over))
        if shares and self._may_have_more_flows():
            yield from self._shared()
            yield Place(MappingKind.FLOW, self._from_home(self._over(lifetimes.is_over)))
        if policy.early_reclaim:
            if owns:
                given_back = self._given_back(lifetimes.is_over_early)
                yield Place(MappingKind.OWN, given_back, early=True)
            if shares and self._may_have_more_flows():
                yield Place(MappingKind.FLOW, self._early_for_a_flow(), early=True)

    def _may_own_more(self) -> bool:
        reached = self._tables.limits.has_all_ports(self._use)
        self._host_limit |= reached
        return not reached

    def _may_have_more_flows(self) -> bool:
        reached = self._tables.limits.has_all_flows(self._use)
        self._host_limit |= reached
        self._flows_full |= self._tables.flows.are_full
        return not reached and not self._tables.flows.are_full

    def _free_of_its_own(self) -> Iterator[Place]:
        """Step 4.1."""
        free = self._ports.free
        if self._tables.limits.may_own(self._use, len(free)):
            wanted = self._packet.endpoint.port
            yield Place(MappingKind.OWN, (wanted,) if wanted in free else sorted(free))
        elif free:
            self._host_limit = True

    def _shared(self) -> Iterator[Place]:
        """Steps 6.1 to 6.3."""
        free = self._free_for_the_pool()
        unclaimed = self._from_home(
            port for port in self._ports.shared() if not self._is_claimed(port)
        )
        if free and len(self._ports.shared()) < self._tables.target:
            yield Place(MappingKind.FLOW, self._home_first(free, unclaimed))
        yield Place(MappingKind.FLOW, unclaimed)
        yield Place(MappingKind.FLOW, free)

    def _free_for_the_pool(self) -> list[int]:
        free = self._ports.free
        if self._tables.limits.may_share(self._use, len(free)):
            return self._from_home(free)
        self._host_limit |= bool(free)
        return []

    def _home_first(self, free: list[int], unclaimed: list[int]) -> list[int]:
        if free[0] == self._ports.at(self._home):
            return [free[0], *unclaimed, *free[1:]]
        return [*unclaimed, *free]

    def _is_claimed(self, port: int) -> bool:
        packet = self._packet
        return self._tables.flows.claim(packet.protocol, port, packet.remote) is not None

    def _given_back(self, is_over: IsOver) -> list[int]:
        """Steps 4.2 and 7: a host at its limit gets back only what it has lost itself."""
        if self._may_own_more():
            return self._over(is_over)
        host = self._packet.endpoint.address
        return [
            slot.port
            for slot in self._ports.own_slots()
            if slot.endpoint.address == host and is_over(slot.life, self._now)
        ]

    def _over(self, is_over: IsOver) -> list[int]:
        """Ports of owners that lost them: steps 4.2, 6.4 and 7."""
        return [slot.port for slot in self._ports.own_slots() if is_over(slot.life, self._now)]

    def _early_for_a_flow(self) -> list[int]:
        """Step 7: owned ports first, then claims of this remote."""
        is_over = self._tables.lifetimes.is_over_early
        packet = self._packet
        claims = (
            (port, self._tables.flows.claim(packet.protocol, port, packet.remote))
            for port in self._ports.shared()
        )
        claimed = [port for port, flow in claims if flow and is_over(flow.life, self._now)]
        return self._from_home(self._over(is_over)) + self._from_home(claimed)

    def _from_home(self, ports: Iterable[int]) -> list[int]:
        return self._ports.from_home_on(self._home, ports)
