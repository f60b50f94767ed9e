# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a datapath lets one see, whichever datapath it is."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

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


class Mapping(NamedTuple):
    """One port in use; ``idle`` and ``timeout`` in seconds or a little more.

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

    @property
    def is_live(self) -> bool:
        """False once it has expired and waits to be taken over."""
        return self.idle <= self.timeout
