# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Port forwards: slots that are there before any packet, and never expire."""

from __future__ import annotations

from mapxdp.errors import InvalidValue
from mapxdp.model.napt44 import Filtering, Forward
from mapxdp.model.timeouts import timeout_class
from mapxdp.observed import MappingKind
from mapxdp.software.lifecycle import NOBODY, Endpoint, Life
from mapxdp.software.permissions import Permissions
from mapxdp.software.ports import Ports, Slot


def set_up(forward: Forward, ports: Ports, now: int) -> None:
    """Gives the forward its port; raises InvalidValue if it cannot have it.

    Without one to be asked for, that is the host's own number or else the lowest that is free:
    the same at every start.
    """
    life = Life(NOBODY, timeout_class(forward.protocol, 0), created=now, touched=now)
    endpoint = Endpoint(forward.host.packed, forward.host_port)
    anyone = Permissions(Filtering.EIF)
    ports.give(Slot(MappingKind.FORWARD, endpoint, _port_of(forward, ports), life, anyone))


def _port_of(forward: Forward, ports: Ports) -> int:
    if forward.port is not None:
        if ports.is_open(forward.port):
            return forward.port
    elif forward.host_port in ports.free:
        return forward.host_port
    elif ports.free:
        return min(ports.free)
    raise InvalidValue(
        "forward",
        forward,
        "the port is in use, is not of this CE's set, or none is left",
        "choose another port of the set (mapxdp calc shows it)",
    )
