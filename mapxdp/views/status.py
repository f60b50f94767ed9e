# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The summary of a running CE on one page."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapxdp.health import Health
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Count
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.snapshot import Snapshot
from mapxdp.views.formats import duration, quantity

_HEADINGS = {
    ReasonClass.TRANSLATED: "crossed",
    ReasonClass.DROP: "dropped",
    ReasonClass.PASS: "left to the kernel",
    ReasonClass.EVENT: "events",
}


def render(snapshot: Snapshot, health: list[Health]) -> RenderableType:
    """The page for people."""
    return Group(_facts(snapshot), Text(), _health(health), Text(), _counters(snapshot))


def _facts(snapshot: Snapshot) -> Table:
    domain, running = snapshot.config.domain, snapshot.record
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    where = f"{running.wan}, network namespace {running.netns}" if running.netns else running.wan
    table.add_row("instance", f"{running.name} ({domain.mode}) on {where}")
    if snapshot.config.lan:
        table.add_row("LAN", ", ".join(snapshot.config.lan))
    table.add_row("configuration", running.config_path)
    table.add_row("datapath", f"{running.datapath}, up {duration(snapshot.uptime)}")
    psid = "" if domain.psid is None else f", PSID {domain.psid}"
    table.add_row("IPv4", f"{domain.ipv4_address or domain.ipv4}{psid}")
    table.add_row("MAP address", str(domain.map_address))
    table.add_row("far end", f"DMR {domain.dmr}" if domain.dmr else f"BR {domain.br}")
    table.add_row("MTU", f"IPv4 {running.ipv4_mtu}, WAN {running.wan_mtu}")
    used = ", ".join(
        f"{protocol.name} {count}" for protocol, count in snapshot.ports_in_use.items()
    )
    table.add_row("ports in use", f"{used} of {snapshot.usable_ports} each")
    return table


def _health(health: list[Health]) -> Table:
    table = Table.grid(padding=(0, 1))
    for entry in health:
        if entry.problem is None:
            table.add_row(Text("✓", style="green"), entry.what)
        else:
            table.add_row(Text("✗", style="red"), f"{entry.what}: {entry.problem}")
    return table


def _counters(snapshot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("LAN → WAN", justify="right", no_wrap=True)
    table.add_column("WAN → LAN", justify="right", no_wrap=True)
    up, down = snapshot.counters.upstream, snapshot.counters.downstream
    for reason_class, heading in _HEADINGS.items():
        reasons = [
            reason
            for reason in Reason
            if reason.reason_class is reason_class and (reason in up or reason in down)
        ]
        if not reasons:
            continue
        table.add_row(Text(heading, style="bold"))
        for reason in reasons:
            table.add_row(f"  {reason.text}", _cell(up.get(reason)), _cell(down.get(reason)))
    return table


def _cell(count: Count | None) -> str:
    return "" if count is None else quantity(count.packets)


def to_json(snapshot: Snapshot, health: list[Health]) -> dict[str, Any]:
    """The page as data."""
    domain, running = snapshot.config.domain, snapshot.record

    def counts(direction: dict[Reason, Count]) -> dict[str, dict[str, int]]:
        return {
            reason.name: {"packets": count.packets, "bytes": count.bytes}
            for reason, count in direction.items()
        }

    return {
        "name": running.name,
        "mode": domain.mode.value,
        "wan": running.wan,
        "netns": running.netns,
        "config": running.config_path,
        "datapath": running.datapath,
        "uptime_seconds": round(snapshot.uptime, 1),
        "ipv4_address": None if domain.ipv4_address is None else str(domain.ipv4_address),
        "ipv4_prefix": str(domain.ipv4),
        "psid": domain.psid,
        "map_ipv6_address": str(domain.map_address),
        "dmr": None if domain.dmr is None else str(domain.dmr),
        "br": None if domain.br is None else str(domain.br),
        "gateway": running.gateway,
        "wan_mtu": running.wan_mtu,
        "ipv4_mtu": running.ipv4_mtu,
        "ports": {
            protocol.name.lower(): {
                "used": snapshot.ports_in_use[protocol],
                "usable": snapshot.usable_ports,
            }
            for protocol in Protocol
        },
        "counters": {
            "upstream": counts(snapshot.counters.upstream),
            "downstream": counts(snapshot.counters.downstream),
        },
        "health": [{"what": entry.what, "problem": entry.problem} for entry in health],
    }
