# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The port forwards of a running CE."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mapxdp import forwards
from mapxdp.observed import Mapping, MappingKind
from mapxdp.snapshot import Snapshot
from mapxdp.views.formats import short_duration


def _forwards(snapshot: Snapshot) -> list[Mapping]:
    found = [mapping for mapping in snapshot.mappings if mapping.kind is MappingKind.FORWARD]
    return sorted(found, key=lambda mapping: (mapping.protocol.value, mapping.port))


def render(snapshot: Snapshot) -> RenderableType:
    """The forwards for people."""
    found = _forwards(snapshot)
    if not found:
        return Text("no port forwards")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    table.add_column("port", justify="right")
    table.add_column("to", overflow="fold")
    table.add_column("last use", justify="right")
    table.add_column("from")
    for mapping in found:
        last = f"{short_duration(mapping.idle)} ago" if mapping.was_used else "never"
        table.add_row(
            Text(mapping.protocol.name.lower()),
            Text(str(mapping.port)),
            Text(f"{mapping.host}:{mapping.host_port}"),
            Text(last),
            Text(_origin(snapshot, mapping)),
        )
    return table


def _origin(snapshot: Snapshot, mapping: Mapping) -> str:
    return "configuration" if forwards.is_configured(snapshot, mapping) else "run time"


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The forwards as data."""
    return {
        "name": snapshot.record.name,
        "external": str(snapshot.config.domain.ipv4_address),
        "forwards": [
            {
                "protocol": mapping.protocol.name.lower(),
                "port": mapping.port,
                "host": str(mapping.host),
                "host_port": mapping.host_port,
                "last_use_seconds": mapping.idle if mapping.was_used else None,
                "from": _origin(snapshot, mapping),
            }
            for mapping in _forwards(snapshot)
        ],
    }
