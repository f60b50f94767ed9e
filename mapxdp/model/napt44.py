# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a CE's NAPT44 is to do, as ``docs/napt44.md`` explains it: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address

from mapxdp.model.timeouts import Protocol, Timeouts

#: ``auto`` shares towards remote ports below this: those of servers (RFC 6335 section 6).
WELL_KNOWN_PORTS = 1024


class MappingPolicy(StrEnum):
    """How endpoints of one protocol get ports."""

    AUTO = "auto"
    EIM = "eim"
    SHARED = "shared"


class Filtering(StrEnum):
    """Who may send to a port that an endpoint owns (RFC 4787 section 5)."""

    EIF = "eif"
    ADF = "adf"
    APDF = "apdf"


class Refusal(IntEnum):
    """The code of the ICMP error of type 3 that a refused host is told; OFF: none."""

    OFF = 0
    HOST_UNREACHABLE = 1
    PROHIBITED = 13  # RFC 5508 REQ-8


class LogLevel(StrEnum):
    """What the event log holds."""

    OFF = "off"
    MAPPINGS = "mappings"
    DESTINATIONS = "destinations"


@dataclass(frozen=True, slots=True)
class Forward:
    """A port forward. ``port`` None is any free port of the set."""

    protocol: Protocol
    port: int | None
    host: IPv4Address
    host_port: int

    def __str__(self) -> str:
        port = "any" if self.port is None else self.port
        return f"{self.protocol.name.lower()} {port} to {self.host}:{self.host_port}"


def _each(value: MappingPolicy) -> dict[Protocol, MappingPolicy]:
    return {Protocol.TCP: value, Protocol.UDP: value, Protocol.ICMP: MappingPolicy.EIM}


@dataclass(frozen=True)
class Napt44Policy:
    """Everything that can be chosen about NAPT44; the defaults are those of the RFCs.

    ``host_ports_max`` and ``host_flows_max`` None: no limit, half of the table of flows.
    ``reserved_ports`` are never handed out.
    """

    mapping: dict[Protocol, MappingPolicy] = field(
        default_factory=lambda: _each(MappingPolicy.AUTO)
    )
    filtering: dict[Protocol, Filtering] = field(
        default_factory=lambda: dict.fromkeys(Protocol, Filtering.ADF)
    )
    timeouts: Timeouts = field(default_factory=Timeouts)
    host_ports_min: int = 8
    host_ports_max: int | None = None
    host_flows_max: int | None = None
    pick_up: bool = True
    early_reclaim: bool = False
    refusal: Refusal = Refusal.PROHIBITED
    log: LogLevel = LogLevel.MAPPINGS
    reserved_ports: frozenset[int] = frozenset()
    forwards: tuple[Forward, ...] = ()


def is_shared_first(policy: MappingPolicy, protocol: Protocol, remote_port: int) -> bool:
    """Whether a packet to a remote looks for a shared port before one of its own."""
    if policy is MappingPolicy.AUTO:
        return protocol is not Protocol.ICMP and remote_port < WELL_KNOWN_PORTS
    return policy is MappingPolicy.SHARED


def shared_target(ports: int) -> int:
    """Ports the shared pool grows to before endpoints share a port that is not their home."""
    return min(max(ports // 4, 16), ports // 2)


def shared_reserve(ports: int) -> int:
    """Free ports that the shared pool leaves to small hosts."""
    return ports // 16
