# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The summary of a running CE on one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapxdp.health import Health
from mapxdp.observed import Count
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.snapshot import Snapshot
from mapxdp.views.formats import duration, quantity
from mapxdp.views.usage import (
    flows_line,
    flows_to_json,
    host_name,
    hosts_to_json,
    ports_to_json,
    range_line,
)

_RANGES_WIDTH = 60

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
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_setup(snapshot), *_usage(snapshot)):
        table.add_row(name, Text(value))
    return table


def _setup(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    domain, running = snapshot.config.domain, snapshot.record
    where = f"{running.wan}, network namespace {running.netns}" if running.netns else running.wan
    psid = "" if domain.psid is None else f", PSID {domain.psid}"
    yield "instance", f"{running.name} ({domain.mode}) on {where}"
    if snapshot.config.lan:
        yield "LAN", ", ".join(snapshot.config.lan)
    yield "configuration", running.config_path
    yield "datapath", f"{running.datapath}, up {duration(snapshot.uptime)}"
    if running.acceleration:
        yield "accelerator", running.acceleration
    yield "IPv4", f"{domain.ipv4_address or domain.ipv4}{psid}"
    yield "MAP address", str(domain.map_address)
    yield "far end", f"DMR {domain.dmr}" if domain.dmr else f"BR {domain.br}"
    yield "MTU", f"IPv4 {running.ipv4_mtu}, WAN {running.wan_mtu}"


def _usage(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Who uses the port set; protocols without a port in use are short."""
    usable = snapshot.usable_ports
    for protocol, usage in snapshot.usage.items():
        most = snapshot.pool.ports[protocol].high_water
        whose = f": own {usage.own}, shared {usage.shared}, forward {usage.forwards}"
        yield (
            f"{protocol.name} ports",
            f"{usage.used} of {usable}{whose if usage.used else ''}"
            f"{f', most {most}' if most else ''}",
        )
        if usage.used:
            yield "  by range", range_line(snapshot, protocol, _RANGES_WIDTH)
    yield "flows", flows_line(snapshot)
    hosts = snapshot.host_usage
    if hosts:
        first, refused = hosts[0], sum(host.refused for host in hosts)
        yield (
            "LAN hosts",
            f"{len(hosts)}, the busiest {host_name(first)} (own {first.own}, flows {first.flows})"
            f"{f', refused {quantity(refused)} packets' if refused else ''}",
        )


def _health(health: list[Health]) -> Table:
    table = Table.grid(padding=(0, 1))
    for entry in health:
        if entry.problem is None:
            table.add_row(Text("✓", style="green"), Text(entry.what))
        else:
            table.add_row(Text("✗", style="red"), Text(f"{entry.what}: {entry.problem}"))
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
        "ports": ports_to_json(snapshot),
        "flows": flows_to_json(snapshot),
        "hosts": hosts_to_json(snapshot),
        "counters": {
            "upstream": counts(snapshot.counters.upstream),
            "downstream": counts(snapshot.counters.downstream),
        },
        "health": [{"what": entry.what, "problem": entry.problem} for entry in health],
    }
