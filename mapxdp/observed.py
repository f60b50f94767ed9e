# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a datapath lets one see, whichever datapath it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.reasons import Reason

#: The datapath tells LAN hosts apart by this many bits at the end of their address.
HOST_BITS = 12

_NOTHING_KNOWN = MappingFacts()


@dataclass(frozen=True, slots=True)
class Count:
    """Packets (pieces of a segmented one counted each) and bytes of IP."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """What happened so far, by reason, in each direction; reasons that never did are left out."""

    upstream: dict[Reason, Count]
    downstream: dict[Reason, Count]


class MappingKind(StrEnum):
    """Whose a port is."""

    OWN = "own"  # one endpoint's, towards any remote
    FLOW = "flow"  # one endpoint's towards one remote; others share the port
    FORWARD = "forward"  # one endpoint's by configuration


class MappingState(StrEnum):
    """How far the traffic of a mapping has come, in one word."""

    WAITING = "waiting"  # a forward that has not been used
    USED = "used"  # a forward that has
    OPENING = "opening"
    ESTABLISHED = "established"
    CLOSING = "closing"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"


class Mapping(NamedTuple):
    """A port in use, or a flow on one; ``idle``, ``timeout`` and ``age`` in seconds or a
    little more. ``peer`` is the first remote: 0.0.0.0 where there was none yet.

    A tuple, since there may be tens of thousands each second.
    """

    protocol: Protocol
    host: IPv4Address
    host_port: int
    port: int
    peer: IPv4Address
    peer_port: int
    idle: int
    timeout: int
    kind: MappingKind = MappingKind.OWN
    age: int = 0
    facts: MappingFacts = _NOTHING_KNOWN

    @property
    def is_live(self) -> bool:
        """False once it has expired and waits to be taken over; a forward never does."""
        return self.kind is MappingKind.FORWARD or self.idle <= self.timeout

    @property
    def left(self) -> int | None:
        """Seconds of silence until it expires; None for a forward."""
        return None if self.kind is MappingKind.FORWARD else max(0, self.timeout - self.idle)

    @property
    def has_peer(self) -> bool:
        """False for a forward: it is nobody's in particular."""
        return int(self.peer) != 0

    @property
    def was_used(self) -> bool:
        """False for a forward whose endpoint has not sent anything yet."""
        return self.has_peer or self.facts.several_peers

    @property
    def state(self) -> MappingState:
        """What its packets have said so far."""
        if self.kind is MappingKind.FORWARD:
            return MappingState.USED if self.was_used else MappingState.WAITING
        if self.protocol is not Protocol.TCP:
            return MappingState.ANSWERED if self.facts.answered else MappingState.UNANSWERED
        if self.facts.closing and not self.facts.several_peers:
            return MappingState.CLOSING
        return MappingState.ESTABLISHED if self.facts.answered else MappingState.OPENING


@dataclass(frozen=True, slots=True)
class PortUse:
    """Ports of one protocol that are not free, expired mappings included; ``shared`` of them
    are in the pool for flows. ``high_water`` None: not recorded.
    """

    used: int
    shared: int
    high_water: int | None = None


@dataclass(frozen=True, slots=True)
class PoolState:
    """The datapath's own count of ports and flows; None where it has no such limit or record."""

    ports: dict[Protocol, PortUse]
    flows: int
    flow_high_water: int | None = None
    flow_capacity: int | None = None


@dataclass(frozen=True, slots=True)
class HostUse:
    """What the LAN hosts whose address ends in ``bucket`` use, as the datapath counts it."""

    bucket: int
    ports: dict[Protocol, int]
    flows: int
    refused: int = 0


class EventKind(StrEnum):
    """What a line of the log of mappings is about."""

    PORT_MAPPED = "mapped"
    PORT_RELEASED = "released"
    FLOW_MAPPED = "flow mapped"
    FLOW_RELEASED = "flow released"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log of mappings; ``time_ns`` of CLOCK_MONOTONIC.

    ``kind`` and ``protocol`` are None where a newer datapath wrote what this version does not
    know; ``port`` 0 where none was given, ``remote`` None where it was not logged.
    """

    time_ns: int
    kind: EventKind | None
    protocol: Protocol | None
    host: IPv4Address
    host_port: int
    port: int
    remote: IPv4Address | None
    remote_port: int


def host_bucket(address: IPv4Address) -> int:
    """The bits by which the datapath tells LAN hosts apart."""
    return int(address) & ((1 << HOST_BITS) - 1)


def pool_of(mappings: Sequence[Mapping]) -> PoolState:
    """The count where the datapath keeps none of its own."""
    every = {(mapping.protocol, mapping.port) for mapping in mappings}
    flows = [mapping for mapping in mappings if mapping.kind is MappingKind.FLOW]
    shared = {(mapping.protocol, mapping.port) for mapping in flows}
    return PoolState(
        ports={
            protocol: PortUse(
                used=sum(of is protocol for of, _ in every),
                shared=sum(of is protocol for of, _ in shared),
            )
            for protocol in Protocol
        },
        flows=len(flows),
    )


def hosts_of(mappings: Iterable[Mapping]) -> tuple[HostUse, ...]:
    """The same for hosts; nobody counts whom it refused."""
    ports: Counter[tuple[int, Protocol]] = Counter()
    flows: Counter[int] = Counter()
    for mapping in mappings:
        bucket = host_bucket(mapping.host)
        if mapping.kind is MappingKind.FLOW:
            flows[bucket] += 1
        elif mapping.kind is MappingKind.OWN:
            ports[bucket, mapping.protocol] += 1
    return tuple(
        HostUse(bucket, {of: ports[bucket, of] for of in Protocol}, flows[bucket])
        for bucket in sorted({bucket for bucket, _ in ports} | set(flows))
    )
