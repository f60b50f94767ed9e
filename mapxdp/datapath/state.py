# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the control plane writes: new state maps, and configurations."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

from mapxdp.datapath import rules, tables
from mapxdp.datapath.maps import STATE_MAPS, MapSet
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.model.domain import Domain


def initialise(maps: MapSet, settings: DatapathSettings) -> None:
    """Fills new state maps: an empty table with its reserved ports, and what it is."""
    contract = maps.contract
    maps.set_value("pool", tables.initial_pool(contract, settings))
    slots = contract.number("SLOTS")
    for position in tables.reserved_positions(settings):
        for protocol in range(contract.number("PROTOCOLS")):
            maps.set_value("slots", tables.reserved_slot(contract), protocol * slots + position)
    maps.set_value(
        "instance",
        contract["instance"].pack(
            layout=contract.fingerprint(STATE_MAPS),
            port_set=port_set_fingerprint(settings.domain),
            created_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            hash_key=secrets.randbits(64),
        ),
    )


def read_instance(maps: MapSet) -> dict[str, int]:
    """The fields of ``struct instance``."""
    return maps.contract["instance"].unpack(maps.value("instance"))


def port_set_fingerprint(domain: Domain) -> int:
    """64 bits that change with the IPv4 address or the port set."""
    identity = repr((str(domain.ipv4), domain.port_set))
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")


def write_rules(maps: MapSet, domain: Domain) -> None:
    """Fills new maps of rules: before anything reads them, and once."""
    made = rules.rule_maps(maps.contract, domain)
    maps.set_values("rules", made.rules)
    maps.set_values("rule_by_ipv4", made.rule_by_ipv4)
    maps.set_values("rule_by_ipv6", made.rule_by_ipv6)
    maps.set_entries("rule_by_psid", made.rule_by_psid)


def write_config(maps: MapSet, settings: DatapathSettings) -> None:
    """Puts a configuration in force in one step, whatever packets are under way.

    The half that no program reads is rewritten first, and only then made the active one.
    """
    contract = maps.contract
    layout = contract["config_buffer"]
    buffer = layout.unpack(maps.value("config"))
    size = contract["config"].size
    halves = [buffer["half"][:size], buffer["half"][size:]]
    following = 1 - (buffer["active"] & 1)
    halves[following] = contract["config"].pack(**tables.config_values(contract, settings))
    for active in (buffer["active"], following):
        maps.set_value("config", layout.pack(active=active, half=b"".join(halves)))


def read_active_config(maps: MapSet) -> dict[str, Any]:
    """The fields of the ``struct config`` in force."""
    layout, size = maps.contract["config_buffer"], maps.contract["config"].size
    buffer = layout.unpack(maps.value("config"))
    first = (buffer["active"] & 1) * size
    return maps.contract["config"].unpack(buffer["half"][first : first + size])
