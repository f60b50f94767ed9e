# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The list of port forwards."""

from __future__ import annotations

import io
import json

from rich.console import Console

from harness import snapshots
from harness.snapshots import replace
from mapxdp.model.napt44 import Forward, Napt44Policy
from mapxdp.model.timeouts import Protocol
from mapxdp.snapshot import Snapshot
from mapxdp.views import forwards as view

WEB = snapshots.forward(Protocol.TCP, 20, 443, snapshots.PORTS[4])
GAME = replace(
    snapshots.forward(Protocol.UDP, 21, 3074, snapshots.PORTS[0]), peer=snapshots.SERVER, idle=75
)


def with_forwards() -> Snapshot:
    now = snapshots.snapshot(mappings=(GAME, snapshots.mapping(Protocol.TCP, 2, 1233), WEB))
    configured = Forward(Protocol.TCP, None, WEB.host, 443)
    policy = Napt44Policy(forwards=(configured,))
    return replace(now, config=replace(now.config, policy=policy))


def lines(now: Snapshot) -> list[str]:
    console = Console(width=80, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(view.render(now))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_list() -> None:
    assert lines(with_forwards()) == [
        "     port  to                  last use  from",
        "tcp  2256  192.168.1.20:443       never  configuration",
        "udp  1232  192.168.1.21:3074  1m15s ago  run time",
    ]


def test_none() -> None:
    assert lines(snapshots.snapshot()) == ["no port forwards"]


def test_json() -> None:
    data = json.loads(json.dumps(view.to_json(with_forwards())))
    assert (data["name"], data["external"]) == ("home", "192.0.2.18")
    assert data["forwards"][1] == {
        "protocol": "udp",
        "port": 1232,
        "host": "192.168.1.21",
        "host_port": 3074,
        "last_use_seconds": 75,
        "from": "run time",
    }
    assert data["forwards"][0]["last_use_seconds"] is None
