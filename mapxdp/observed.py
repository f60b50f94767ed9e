# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a datapath lets one see, whichever datapath it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason


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
    """How an endpoint has a port."""

    OWN = "own"
    FLOW = "flow"  # shares it with others, towards one remote
    FORWARD = "forward"  # by configuration, whether it sends or not


@dataclass(frozen=True, slots=True)
class Mapping:
    """One use of a port; ``idle``, ``timeout`` and ``age`` in seconds or a little more.

    ``peer`` is the first remote; 0.0.0.0 and port 0 for a forward that has sent nothing yet.
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

    @property
    def is_live(self) -> bool:
        """False once it has expired and waits to be taken over; a forward never does."""
        return self.kind is MappingKind.FORWARD or self.idle <= self.timeout
