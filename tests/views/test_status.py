# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The one-page summary."""

from __future__ import annotations

import io
import json

from rich.console import Console

from harness import snapshots
from mapxdp.health import Health
from mapxdp.views import status

HEALTH = [Health("TC egress of eth1"), Health("IPv4 default route", "missing; up puts it right")]


def test_page() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(status.render(snapshots.busy(3), HEALTH))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert lines == [
        "instance       home (map-t) on eth1",
        "LAN            br-lan",
        "configuration  /etc/mapxdp/home.toml",
        "datapath       tc, up 1d 02:03:07",
        "IPv4           192.0.2.18, PSID 52",
        "MAP address    2001:db8:12:3400:0:c000:212:34",
        "far end        DMR 2001:db8:ffff::/64",
        "MTU            IPv4 1480, WAN 1500",
        "ports in use   TCP 200, UDP 30, ICMP 1 of 252 each",
        "",
        "✓ TC egress of eth1",
        "✗ IPv4 default route: missing; up puts it right",
        "",
        "                                                 LAN → WAN  WAN → LAN",
        "crossed",
        "  translated or encapsulated                           3 k        6 k",
        "dropped",
        "  every port of the set is in use                       12",
        "  no mapping: nothing on the LAN uses this port                1.23 k",
        "events",
        "  port mappings created                                265",
    ]


def test_json() -> None:
    data = json.loads(json.dumps(status.to_json(snapshots.busy(3), HEALTH)))
    assert data["counters"]["downstream"]["NO_MAPPING"] == {"packets": 1234, "bytes": 90000}
    assert data["health"][1]["problem"] == "missing; up puts it right"
    assert data["datapath"] == "tc"
