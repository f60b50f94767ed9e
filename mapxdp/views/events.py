# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The log of mappings: a line for people, an object for programs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from mapxdp.observed import Event

_NS = 1_000_000_000


def wall_clock_offset() -> int:
    """What to add to CLOCK_MONOTONIC to have the time of day, in nanoseconds."""
    return time.time_ns() - time.monotonic_ns()


def line(event: Event, offset: int, external: str) -> str:
    """With the local time; ``external`` is the CE's IPv4 address."""
    moment = _moment(event, offset)
    when = "(no time)" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{when} {text(event, external)}"


def text(event: Event, external: str) -> str:
    """The same without the time."""
    what = "unknown event" if event.kind is None else event.kind.value
    protocol = "?" if event.protocol is None else event.protocol.name.lower()
    words = f"{what} {protocol} {event.host}:{event.host_port}"
    if event.port:
        words += f" → {external}:{event.port}"
    if event.remote is not None:
        words += f" to {event.remote}:{event.remote_port}"
    return words


def to_json(event: Event, offset: int, external: str) -> dict[str, Any]:
    """Time in UTC; what was not logged is null."""
    moment = _moment(event, offset)
    return {
        "time": None if moment is None else moment.isoformat(timespec="milliseconds"),
        "event": None if event.kind is None else event.kind.name.lower(),
        "protocol": None if event.protocol is None else event.protocol.name.lower(),
        "host": str(event.host),
        "host_port": event.host_port,
        "external": external,
        "port": event.port or None,
        "remote": None if event.remote is None else str(event.remote),
        "remote_port": None if event.remote is None else event.remote_port,
    }


def _moment(event: Event, offset: int) -> datetime | None:
    try:
        return datetime.fromtimestamp((event.time_ns + offset) / _NS, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
