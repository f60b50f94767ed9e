# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What follows from a CE's parameters: a table for people, a flat object for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mapxdp.config import MssClamp
from mapxdp.model.domain import Domain
from mapxdp.model.port_set import PORT_COUNT, PortRange
from mapxdp.model.rule import MappingRule

_RANGES_SHOWN = 8
_RULES_SHOWN = 8
_MAP_COLUMNS = 64
_MAP_ROWS = 8


@dataclass(frozen=True)
class Destination:
    """An IPv4 destination to look up; ``port`` None for a packet without ports."""

    ipv4: IPv4Address
    port: int | None


@dataclass(frozen=True)
class Calculation:
    """A domain, the WAN's MTU, and perhaps a destination."""

    domain: Domain
    wan_mtu: int
    mss_clamp: MssClamp = field(default_factory=MssClamp)
    destination: Destination | None = None

    @property
    def ipv4_mtu(self) -> int:
        """The largest IPv4 packet that crosses whole."""
        return self.domain.ipv4_mtu(self.wan_mtu)


def to_json(calculation: Calculation) -> dict[str, Any]:
    """The result as data."""
    domain = calculation.domain
    result: dict[str, Any] = {
        "mode": domain.mode.value,
        "ipv4_address": None if domain.ipv4_address is None else str(domain.ipv4_address),
        "ipv4_prefix": str(domain.ipv4),
        "psid": domain.psid,
        "psid_length": domain.bmr.port_parameters.psid_length,
        "psid_offset": domain.bmr.psid_offset,
        "map_ipv6_address": str(domain.map_address),
        "port_count": len(domain.port_set),
        "port_ranges": [list(port_range) for port_range in domain.port_set.ranges()],
        "dmr": None if domain.dmr is None else str(domain.dmr),
        "br": None if domain.br is None else str(domain.br),
        "bmr": _rule_to_json(domain.bmr),
        "fmrs": [_rule_to_json(rule) for rule in domain.forwarding_rules],
        "mtu": calculation.ipv4_mtu,
        "mss": calculation.mss_clamp.limit(calculation.ipv4_mtu),
    }
    if calculation.destination is not None:
        result["destination_ipv6"] = str(_destination_ipv6(calculation, calculation.destination))
    return result


def _rule_to_json(rule: MappingRule) -> dict[str, Any]:
    return {
        "ipv6": str(rule.ipv6),
        "ipv4": str(rule.ipv4),
        "ea_length": rule.ea_length,
        "psid_offset": rule.psid_offset,
        "psid_length": rule.psid_length,
        "psid": rule.psid,
        "forwarding": rule.forwarding,
    }


def _destination_ipv6(calculation: Calculation, destination: Destination) -> object:
    return calculation.domain.destination_ipv6(destination.ipv4, destination.port)


def render(calculation: Calculation) -> RenderableType:
    """The result for people."""
    parts: list[RenderableType] = [
        _facts(calculation),
        Panel(
            _port_map(calculation.domain),
            title="ports 0 to 65535, owned ones bright",
            width=_MAP_COLUMNS + 4,
        ),
    ]
    if calculation.domain.has_subnet_bits:
        parts.append(
            Text(
                f"The end-user prefix {calculation.domain.end_user_prefix} has bits after the EA "
                "bits that are not zero. A BR computes this CE's address from the rule and will "
                "not find them: ask the provider which address it expects.",
                style="yellow",
            )
        )
    return Group(*parts)


def _facts(calculation: Calculation) -> Table:
    domain, rule = calculation.domain, calculation.domain.bmr
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("mode", domain.mode.value)
    if domain.ipv4_address is None:
        table.add_row("IPv4 prefix", str(domain.ipv4))
    else:
        table.add_row("IPv4 address", f"{domain.ipv4_address} ({domain.assignment})")
    if domain.psid is not None:
        length = domain.bmr.port_parameters.psid_length
        table.add_row("PSID", f"{domain.psid} = {domain.psid:#x}, {length} bits")
    table.add_row("MAP IPv6 address", str(domain.map_address))
    table.add_row("ports", f"{len(domain.port_set)} in {len(domain.port_set.ranges())} ranges")
    table.add_row("", _ranges(domain.port_set.ranges()))
    table.add_row("rule", f"{rule.ipv6} ↔ {rule.ipv4}, {rule.ea_length} EA bits")
    table.add_row("PSID offset", str(rule.psid_offset))
    if domain.dmr is not None:
        table.add_row("DMR", str(domain.dmr))
    if domain.br is not None:
        table.add_row("BR", str(domain.br))
    if domain.forwarding_rules:
        table.add_row("without the BR", _forwarding(domain.forwarding_rules))
    mss = calculation.mss_clamp.limit(calculation.ipv4_mtu)
    table.add_row("IPv4 MTU", f"{calculation.ipv4_mtu} on a WAN of {calculation.wan_mtu}")
    table.add_row("TCP MSS", "left alone" if mss is None else f"at most {mss}")
    destination = calculation.destination
    if destination is not None:
        port = "" if destination.port is None else f" port {destination.port}"
        table.add_row(
            f"{destination.ipv4}{port}", f"→ {_destination_ipv6(calculation, destination)}"
        )
    return table


def _forwarding(rules: tuple[MappingRule, ...]) -> str:
    shown = [str(rule.ipv4) for rule in rules[:_RULES_SHOWN]]
    more = len(rules) - len(shown)
    return ", ".join(shown) + (f" and {more} more rules" if more else "")


def _ranges(ranges: tuple[PortRange, ...]) -> str:
    shown = [_range(port_range) for port_range in ranges]
    if len(shown) > _RANGES_SHOWN + 1:
        shown = [*shown[:_RANGES_SHOWN], "…", shown[-1]]
    return ", ".join(shown)


def _range(port_range: PortRange) -> str:
    first, last = port_range
    return str(first) if first == last else f"{first}-{last}"


def _port_map(domain: Domain) -> Text:
    """The port space as a picture: each cell stands for the same number of ports."""
    cell = PORT_COUNT // (_MAP_COLUMNS * _MAP_ROWS)
    owned = [0] * (_MAP_COLUMNS * _MAP_ROWS)
    for first, last in domain.port_set.ranges():
        for number in range(first // cell, last // cell + 1):
            start, end = number * cell, number * cell + cell - 1
            owned[number] += min(last, end) - max(first, start) + 1
    text = Text()
    for number, count in enumerate(owned):
        if number and number % _MAP_COLUMNS == 0:
            text.append("\n")
        text.append(*_cell(count, cell))
    return text


def _cell(count: int, size: int) -> tuple[str, str]:
    if count == 0:
        return "·", "dim"
    return ("█" if count == size else "▒"), "bright_green"
