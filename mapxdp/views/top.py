# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The live view: one frame, as a value made from snapshots. Fits 80 by 24, and smaller."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mapxdp.model.timeouts import Protocol
from mapxdp.snapshot import HostUsage, Rates, Snapshot, rates
from mapxdp.views.formats import bar, duration, history_line, quantity
from mapxdp.views.usage import (
    flows_line,
    flows_to_json,
    host_name,
    hosts_to_json,
    ports_to_json,
    range_line,
)

HISTORY = 60
_FIXED_LINES = 13
_TALL = 30
_NARROW = 72
_HOST_WIDTH = (20, 26, 34)  # with one, two or three numbers


@dataclass
class Top:
    """What a frame is made of: the last snapshot, the rates up to it, and a minute of them."""

    snapshot: Snapshot
    rates: Rates = field(default_factory=Rates)
    upstream: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    downstream: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def add(self, snapshot: Snapshot) -> None:
        """Moves on to a newer snapshot."""
        self.rates = rates(self.snapshot, snapshot)
        self.snapshot = snapshot
        self.upstream.append(self.rates.upstream_bits)
        self.downstream.append(self.rates.downstream_bits)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.size.height
        yield _frame(self, options.max_width, height)


def _frame(top: Top, width: int, height: int) -> RenderableType:
    snapshot = top.snapshot
    ranges = _ranges(snapshot, width) if height >= _TALL else []
    list_lines = max(0, height - _FIXED_LINES - len(ranges))
    return Group(
        _title(snapshot),
        _addresses(snapshot),
        Rule(style="dim"),
        _traffic(top, width),
        Rule(style="dim"),
        _ports(snapshot, width),
        *ranges,
        _flows(snapshot, top.rates),
        Rule(style="dim"),
        _lists(snapshot, list_lines, width),
        Text("q quits", style="dim", no_wrap=True),
    )


def _title(snapshot: Snapshot) -> Text:
    config, running = snapshot.config, snapshot.record
    where = running.wan + (f" in {running.netns}" if running.netns else "")
    return Text.assemble(
        ("mapxdp ", "bold"),
        (config.name, "bold cyan"),
        f"  {config.domain.mode.upper()} on {where}  up {duration(snapshot.uptime)}",
        no_wrap=True,
        overflow="ellipsis",
    )


def _addresses(snapshot: Snapshot) -> Text:
    domain = snapshot.config.domain
    psid = "" if domain.psid is None else f"  PSID {domain.psid}"
    return Text(
        f"{domain.ipv4_address or domain.ipv4}{psid}  {domain.map_address}",
        no_wrap=True,
        overflow="ellipsis",
    )


def _traffic(top: Top, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    room = max(0, width - 45)
    for name, packets, bits, history in (
        ("LAN → WAN", top.rates.upstream_packets, top.rates.upstream_bits, top.upstream),
        ("WAN → LAN", top.rates.downstream_packets, top.rates.downstream_bits, top.downstream),
    ):
        table.add_row(
            name,
            f"{quantity(packets, 'packet/s'):>14}",
            f"{quantity(bits, 'bit/s'):>12}",
            Text(history_line(history, min(room, HISTORY)), style="green"),
        )
    return table


def _ports(snapshot: Snapshot, width: int) -> Table:
    """A line for each protocol; whose the ports are where there is room to say it."""
    table = Table.grid(padding=(0, 2))
    details = width >= _NARROW
    titles = ("", "", "in use", "own", "shared", "forward", "most")[: 7 if details else 3]
    for title in titles:
        table.add_column(justify="right" if title else "left", no_wrap=True)
    table.add_row(*(Text(title, style="dim") for title in titles))
    total = snapshot.usable_ports
    cells = max(4, min(40, width - (64 if details else 40)))
    for protocol, usage in snapshot.usage.items():
        part = usage.used / total if total else 0.0
        full, empty = bar(part, cells)
        style = "red" if part > 0.9 else "yellow" if part > 0.7 else "green"
        most = snapshot.pool.ports[protocol].high_water
        more = (usage.own, usage.shared, usage.forwards, "" if most is None else most)
        table.add_row(
            f"{protocol.name} ports",
            Text.assemble((full, style), (empty, "dim")),
            f"{usage.used} of {total}",
            *(map(str, more) if details else ()),
        )
    return table


def _ranges(snapshot: Snapshot, width: int) -> list[RenderableType]:
    """A line for each protocol: how full each range of the set is, in rising order."""
    return [
        Text(f"{protocol.name + ' ranges':12}{range_line(snapshot, protocol, width - 12)}")
        for protocol in Protocol
    ]


def _flows(snapshot: Snapshot, current: Rates) -> Text:
    return Text(
        f"new mappings  {quantity(current.new_mappings)}/s"
        f"   flows on shared ports  {flows_line(snapshot)}",
        no_wrap=True,
        overflow="ellipsis",
    )


def _lists(snapshot: Snapshot, lines: int, width: int) -> Table:
    """Drops in words on the left, the busiest hosts on the right, as many as there is room."""
    rows = max(0, lines - 1)
    drops = [(reason.text, quantity(count.packets)) for reason, count in snapshot.drops.items()]
    hosts = snapshot.host_usage
    columns = 1 if width < _NARROW else 3 if any(host.refused for host in hosts) else 2
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=1)
    table.add_column(width=_HOST_WIDTH[columns - 1])
    table.add_row(
        _list(("dropped so far", ""), drops or [("nothing", "")], rows),
        _list(
            ("LAN hosts", *("own", "flows", "refused")[:columns]),
            [_host(host, columns) for host in hosts] or [("none", *("",) * columns)],
            rows,
        ),
    )
    return table


def _host(host: HostUsage, columns: int) -> tuple[str, ...]:
    return host_name(host), *map(str, (host.own, host.flows, host.refused)[:columns])


def _list(titles: tuple[str, ...], entries: Sequence[tuple[str, ...]], rows: int) -> Table:
    """A name and numbers; the name gives way where there is no room."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for _ in titles[1:]:
        table.add_column(justify="right", no_wrap=True)
    table.add_row(*(Text(title, style="bold") for title in titles))
    for entry in entries[:rows]:
        table.add_row(*map(Text, entry))
    return table


def to_json(top: Top) -> dict[str, Any]:
    """The frame as data."""
    snapshot, domain = top.snapshot, top.snapshot.config.domain
    return {
        "name": snapshot.config.name,
        "mode": domain.mode.value,
        "wan": snapshot.record.wan,
        "netns": snapshot.record.netns,
        "ipv4_address": None if domain.ipv4_address is None else str(domain.ipv4_address),
        "psid": domain.psid,
        "map_ipv6_address": str(domain.map_address),
        "uptime_seconds": round(snapshot.uptime, 1),
        "upstream": {
            "packets_per_second": round(top.rates.upstream_packets, 1),
            "bits_per_second": round(top.rates.upstream_bits),
        },
        "downstream": {
            "packets_per_second": round(top.rates.downstream_packets, 1),
            "bits_per_second": round(top.rates.downstream_bits),
        },
        "new_mappings_per_second": round(top.rates.new_mappings, 1),
        "ports": ports_to_json(snapshot),
        "flows": flows_to_json(snapshot),
        "drops": {reason.name: count.packets for reason, count in snapshot.drops.items()},
        "hosts": hosts_to_json(snapshot),
    }
