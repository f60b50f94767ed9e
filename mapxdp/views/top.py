# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The live view: one frame, as a value made from snapshots. Fits 80 by 24, and smaller."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mapxdp.model.timeouts import Protocol
from mapxdp.snapshot import Rates, Snapshot, rates
from mapxdp.views.formats import bar, duration, history_line, quantity

HISTORY = 60
_FIXED_LINES = 12


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
        yield _frame(self, options.max_width, max(0, height - _FIXED_LINES))


def _frame(top: Top, width: int, list_lines: int) -> RenderableType:
    snapshot = top.snapshot
    return Group(
        _title(snapshot),
        _addresses(snapshot),
        Rule(style="dim"),
        _traffic(top, width),
        Rule(style="dim"),
        _ports(snapshot, top.rates, width),
        Rule(style="dim"),
        _lists(snapshot, list_lines),
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


def _ports(snapshot: Snapshot, current: Rates, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    total = snapshot.usable_ports
    cells = max(4, min(40, width - 40))
    for protocol in Protocol:
        used = snapshot.ports_in_use[protocol]
        part = used / total if total else 0.0
        full, empty = bar(part, cells)
        style = "red" if part > 0.9 else "yellow" if part > 0.7 else "green"
        table.add_row(
            f"{protocol.name} ports",
            Text.assemble((full, style), (empty, "dim")),
            f"{used} of {total}",
        )
    table.add_row("new mappings", f"{quantity(current.new_mappings)}/s", "")
    return table


def _lists(snapshot: Snapshot, lines: int) -> Table:
    """Drops in words on the left, the busiest hosts on the right, as many as there is room."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=2)
    table.add_column(ratio=1)
    rows = max(0, lines - 1)
    drops = [(reason.text, quantity(count.packets)) for reason, count in snapshot.drops.items()]
    hosts = [(host, f"{ports}") for host, ports in snapshot.ports_by_host]
    table.add_row(
        _list("dropped so far", drops or [("nothing", "")], rows),
        _list("LAN hosts by ports", hosts or [("none", "")], rows),
    )
    return table


def _list(title: str, entries: list[tuple[str, str]], rows: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text(title, style="bold"), "")
    for name, value in entries[:rows]:
        table.add_row(name, value)
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
        "ports": {
            protocol.name.lower(): {"used": used, "usable": snapshot.usable_ports}
            for protocol, used in snapshot.ports_in_use.items()
        },
        "drops": {reason.name: count.packets for reason, count in snapshot.drops.items()},
        "hosts": [{"host": host, "ports": ports} for host, ports in snapshot.ports_by_host],
    }
