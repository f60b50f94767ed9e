# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every key of JSON that programs read is described for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from harness import snapshots
from mapxdp.health import Health
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Event, EventKind, MappingKind, MappingState
from mapxdp.reasons import Reason
from mapxdp.sessions import Ended
from mapxdp.views import events, forwards, sessions, status
from mapxdp.views import top as top_view

PAGE = Path(__file__).parents[2].joinpath("docs", "observing.md").read_text(encoding="utf-8")
TEXT = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
DOCUMENTED = {word for code in re.findall(r"`([^`]+)`", TEXT) for word in re.split(r"[. ]", code)}

NOW = snapshots.busy()
EVENT = Event(0, EventKind.REFUSED, Protocol.TCP, IPv4Address(1), 1, 1, IPv4Address(2), 2)


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


@pytest.mark.parametrize(
    "data",
    [
        top_view.to_json(top_view.Top(NOW)),
        status.to_json(NOW, [Health("a", None)]),
        sessions.to_json("home", NOW.mappings, Ended(0, 0)),
        forwards.to_json(NOW),
        events.to_json(EVENT, 0, ""),
    ],
    ids=["top", "status", "sessions", "forward list", "log"],
)
def test_keys(data: dict[str, Any]) -> None:
    reasons = {reason.name for reason in Reason}
    assert set(keys(data)) - reasons - DOCUMENTED == set()


def test_words_of_kinds_and_states() -> None:
    assert {kind.name.lower() for kind in EventKind} <= DOCUMENTED
    assert {*map(str, MappingState), *map(str, MappingKind)} <= DOCUMENTED
