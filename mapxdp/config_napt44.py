# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The NAPT44 part of a configuration: the tables ``napt44`` and ``forward`` to a policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum

from mapxdp.config_forward import read_forwards, require_owned
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import (
    Filtering,
    LogLevel,
    MappingPolicy,
    Napt44Policy,
    Refusal,
)
from mapxdp.model.port_set import PORT_COUNT, PortSet
from mapxdp.model.timeouts import Protocol, Timeouts
from mapxdp.table_reader import Choice, TableReader

_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_MOST_OF_A_HOST = PORT_COUNT - 1


class _RefusalName(StrEnum):
    PROHIBITED = "prohibited"
    UNREACHABLE = "unreachable"
    OFF = "off"


_REFUSALS = {
    _RefusalName.PROHIBITED: Refusal.PROHIBITED,
    _RefusalName.UNREACHABLE: Refusal.HOST_UNREACHABLE,
    _RefusalName.OFF: Refusal.OFF,
}


def read_policy(napt44: TableReader, forwards: list[TableReader], domain: Domain) -> Napt44Policy:
    """The policy that the tables say, checked against the domain; ``mode`` is not its part."""
    default = Napt44Policy()
    least = _count(napt44, "host_ports_min", default.host_ports_min, smallest=0)
    reserved = _reserved_ports(napt44, domain.port_set)
    return Napt44Policy(
        mapping=_by_protocol(
            napt44, "mapping", MappingPolicy, default.mapping, (Protocol.TCP, Protocol.UDP)
        ),
        filtering=_by_protocol(napt44, "filtering", Filtering, default.filtering, tuple(Protocol)),
        timeouts=_timeouts(napt44),
        host_ports_min=least,
        host_ports_max=_optional_count(napt44, "host_ports_max", max(least, 1)),
        host_flows_max=_optional_count(napt44, "host_flows_max", 1),
        pick_up=napt44.flag("pick_up", default.pick_up),
        early_reclaim=napt44.flag("early_reclaim", default.early_reclaim),
        refusal=_REFUSALS[napt44.choice("refusal", _RefusalName, _RefusalName.PROHIBITED)],
        log=napt44.choice("log", LogLevel, default.log),
        reserved_ports=reserved,
        forwards=read_forwards(forwards, domain, reserved),
    )


def _by_protocol(
    napt44: TableReader,
    key: str,
    choices: type[Choice],
    defaults: Mapping[Protocol, Choice],
    meant_by_one: tuple[Protocol, ...],
) -> dict[Protocol, Choice]:
    """One value for ``meant_by_one``, or a table with a value for each protocol it names."""
    if not isinstance(napt44.raw(key, {}), dict):
        return {**defaults, **dict.fromkeys(meant_by_one, napt44.choice(key, choices))}
    table = napt44.table(key, optional=True)
    chosen = {
        protocol: table.choice(protocol.name.lower(), choices, value)
        for protocol, value in defaults.items()
    }
    table.finish()
    return chosen


def _timeouts(napt44: TableReader) -> Timeouts:
    """Timeouts, none below an RFC's minimum unless ``strict`` is false."""
    strict = napt44.flag("strict", default=True)
    table = napt44.table("timeouts", optional=True)
    default = Timeouts()
    try:
        timeouts = Timeouts(
            **{
                entry.name: table.number(entry.name, getattr(default, entry.name))
                for entry in fields(Timeouts)
            }
        )
        if strict:
            timeouts.require_rfc_minima()
    except InvalidValue as error:
        raise table.located(error) from error
    table.finish()
    return timeouts


def _count(napt44: TableReader, key: str, default: int | None, smallest: int) -> int:
    value = napt44.number(key, default)
    if not smallest <= value <= _MOST_OF_A_HOST:
        raise InvalidValue(
            f"napt44.{key}",
            value,
            f"it is {smallest} to {_MOST_OF_A_HOST}"
            + (", no less than host_ports_min" if smallest > 1 else ""),
            f"leave {key} out, or correct it",
        )
    return value


def _optional_count(napt44: TableReader, key: str, smallest: int) -> int | None:
    return None if napt44.raw(key, None) is None else _count(napt44, key, None, smallest)


def _reserved_ports(napt44: TableReader, port_set: PortSet) -> frozenset[int]:
    """Numbers and ranges of ports, all of them in the set."""
    field = "napt44.reserved_ports"
    entries = napt44.raw("reserved_ports", [])
    if not isinstance(entries, list):
        raise _no_port_list(field, entries)
    ports: set[int] = set()
    for entry in entries:
        named = _ports_named(entry)
        if not named:
            raise _no_port_list(field, entry)
        for port in named:
            require_owned(field, entry, port, port_set, "reserve")
        ports.update(named)
    return frozenset(ports)


def _ports_named(entry: object) -> range:
    """The ports of one entry; empty where it names none."""
    if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < PORT_COUNT:
        return range(entry, entry + 1)
    match = _PORT_RANGE.fullmatch(entry) if isinstance(entry, str) else None
    if match is None or int(match[2]) >= PORT_COUNT:
        return range(0)
    return range(int(match[1]), int(match[2]) + 1)


def _no_port_list(field: str, value: object) -> InvalidValue:
    return InvalidValue(
        field,
        value,
        "it has to be a list of port numbers and ranges, each from low to high",
        'write reserved_ports = [5000, "4928-4931"]',
    )
