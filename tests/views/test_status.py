# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The one-page summary."""

from __future__ import annotations

import dataclasses
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
        "TCP ports      201 of 252: own 150, shared 50, forward 1, most 240",
        "  by range     " + "█" * 25 + "▂······",
        "UDP ports      30 of 252: own 30, shared 0, forward 0, most 240",
        "  by range     ███▆" + "·" * 28,
        "ICMP ports     1 of 252: own 1, shared 0, forward 0, most 240",
        "  by range     ▂" + "·" * 31,
        "flows          120 of 16384, most 2400",
        "LAN hosts      2, the busiest 192.168.1.3 (own 31, flows 120)",
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


def test_a_name_is_never_markup() -> None:
    """File names can hold anything; rich would take brackets for styles, or fail."""
    hostile = dataclasses.replace(
        snapshots.busy(), record=snapshots.record(config_path="/etc/[/x][red].toml")
    )
    console = Console(width=80, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(status.render(hostile, [Health("[/y]", "[/z]")]))
    assert "/etc/[/x][red].toml" in capture.get()
    assert "[/y]: [/z]" in capture.get()


def test_json() -> None:
    data = json.loads(json.dumps(status.to_json(snapshots.busy(3), HEALTH)))
    assert data["counters"]["downstream"]["NO_MAPPING"] == {"packets": 1234, "bytes": 90000}
    assert data["health"][1]["problem"] == "missing; up puts it right"
    assert data["datapath"] == "tc"
    assert data["ports"]["udp"]["own"] == 30
    assert data["flows"]["used"] == 120
    assert [host["host"] for host in data["hosts"]] == ["192.168.1.3", "192.168.1.2"]
