# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The ports and flows in use, one in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind, MappingState
from mapxdp.sessions import Ended
from mapxdp.views.formats import short_duration

_STATE_STYLES = {
    MappingState.OPENING: "yellow",
    MappingState.UNANSWERED: "yellow",
    MappingState.CLOSING: "dim",
}


def render(chosen: Sequence[Mapping], ended: Ended | None = None) -> RenderableType:
    """The sessions for people; what became of them where they were to end."""
    if not chosen:
        return Text("no sessions")
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("", "LAN", "port", "remote", "kind", "state", "idle", "left"):
        right = title in ("port", "idle", "left")
        wraps = title in ("LAN", "remote")
        table.add_column(
            title, justify="right" if right else "left", no_wrap=not wraps, overflow="fold"
        )
    for mapping in chosen:
        table.add_row(*_cells(mapping))
    return table if ended is None else Group(table, Text(), Text(ended_in_words(ended)))


def _cells(mapping: Mapping) -> tuple[Text, ...]:
    state = mapping.state.value if mapping.is_live else "expired"
    style = _STATE_STYLES.get(mapping.state, "") if mapping.is_live else "dim"
    left = "" if mapping.left is None else short_duration(mapping.left)
    idle = short_duration(mapping.idle) if mapping.was_used else ""
    return (
        Text(mapping.protocol.name.lower()),
        Text(f"{mapping.host}:{mapping.host_port}"),
        Text(str(mapping.port)),
        Text(remote(mapping)),
        Text(mapping.kind.value),
        Text(state, style=style),
        Text(idle),
        Text(left),
    )


def remote(mapping: Mapping) -> str:
    """The first remote; a + where there were more."""
    if not mapping.has_peer:
        return "anyone" if mapping.kind is MappingKind.FORWARD else ""
    port = "" if mapping.protocol is Protocol.ICMP else f":{mapping.peer_port}"
    return f"{mapping.peer}{port}{' +' if mapping.facts.several_peers else ''}"


def ended_in_words(ended: Ended) -> str:
    """``ended 3; 1 had ended by itself``."""
    changed = f"; {ended.changed} had ended or changed by itself" if ended.changed else ""
    return f"ended {ended.ended}{changed}"


def to_json(name: str, chosen: Sequence[Mapping], ended: Ended | None = None) -> dict[str, Any]:
    """The sessions as data."""
    data: dict[str, Any] = {"name": name, "sessions": [_entry(mapping) for mapping in chosen]}
    if ended is not None:
        data |= {"ended": ended.ended, "changed": ended.changed}
    return data


def _entry(mapping: Mapping) -> dict[str, Any]:
    return {
        "protocol": mapping.protocol.name.lower(),
        "host": str(mapping.host),
        "host_port": mapping.host_port,
        "port": mapping.port,
        "remote": str(mapping.peer) if mapping.has_peer else None,
        "remote_port": mapping.peer_port if mapping.has_peer else None,
        "several_remotes": mapping.facts.several_peers,
        "kind": mapping.kind.value,
        "state": mapping.state.value,
        "live": mapping.is_live,
        "age_seconds": mapping.age,
        "idle_seconds": mapping.idle,
        "expires_in_seconds": mapping.left,
    }
