# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who uses the port set: what ``top`` and ``status`` both say of it."""

from __future__ import annotations

from typing import Any

from mapxdp.model.timeouts import Protocol
from mapxdp.snapshot import HostUsage, Snapshot
from mapxdp.views.formats import levels


def host_name(host: HostUsage) -> str:
    """A host, and how many others the datapath does not tell from it."""
    return f"{host.name} +{host.others}" if host.others else host.name


def flows_line(snapshot: Snapshot) -> str:
    """``120 of 16384, most 2400``: as much of it as is known."""
    pool = snapshot.pool
    capacity = "" if pool.flow_capacity is None else f" of {pool.flow_capacity}"
    most = "" if pool.flow_high_water is None else f", most {pool.flow_high_water}"
    return f"{snapshot.flows}{capacity}{most}"


def range_line(snapshot: Snapshot, protocol: Protocol, width: int) -> str:
    """How full each range of the set is, in rising order."""
    ranges = snapshot.range_usage(protocol)
    return levels([each.used / each.size for each in ranges], width)


def ports_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """``ports``: by protocol. ``ranges`` are those in use, each first, last and used."""
    usable = snapshot.usable_ports
    return {
        protocol.name.lower(): {
            "used": usage.used,
            "usable": usable,
            "own": usage.own,
            "shared": usage.shared,
            "forwards": usage.forwards,
            "taken": snapshot.pool.ports[protocol].used,
            "high_water": snapshot.pool.ports[protocol].high_water,
            "ranges": [
                [each.first, each.last, each.used]
                for each in snapshot.range_usage(protocol)
                if each.used
            ],
        }
        for protocol, usage in snapshot.usage.items()
    }


def flows_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """``flows``: on shared ports, all protocols together."""
    pool = snapshot.pool
    return {
        "used": snapshot.flows,
        "taken": pool.flows,
        "capacity": pool.flow_capacity,
        "high_water": pool.flow_high_water,
    }


def hosts_to_json(snapshot: Snapshot) -> list[dict[str, Any]]:
    """``hosts``: the busiest first."""
    return [
        {
            "host": host.name,
            "others": host.others,
            "ports": host.own,
            "flows": host.flows,
            "refused": host.refused,
        }
        for host in snapshot.host_usage
    ]
