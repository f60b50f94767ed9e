"""A running CE as the views see it, made up."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address
from typing import Any, TypeVar

from mapxdp import config
from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.observed import (
    Count,
    Counters,
    HostUse,
    Mapping,
    MappingKind,
    PoolState,
    PortUse,
    host_bucket,
)
from mapxdp.reasons import Reason
from mapxdp.record import Record
from mapxdp.snapshot import Snapshot

T = TypeVar("T")

CONFIG = """\
[ce]
name = "home"
wan = "eth1"
lan = ["br-lan"]
mode = "map-t"
end_user_prefix = "2001:db8:12:3400::/56"
dmr = "2001:db8:ffff::/64"

[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
"""
SERVER = IPv4Address("198.51.100.7")
PORTS = tuple(config.parse(CONFIG, "home.toml").domain.port_set)


ANSWERED = MappingFacts(answered=True)


def mapping(
    protocol: Protocol,
    host: int,
    port: int,
    idle: int = 1,
    kind: MappingKind = MappingKind.OWN,
    peer: IPv4Address = SERVER,
    facts: MappingFacts = ANSWERED,
    timeout: int = 300,
) -> Mapping:
    address = IPv4Address(f"192.168.1.{host}")
    return Mapping(
        protocol, address, 40000 + port, port, peer, 443, idle, timeout, kind, idle + 60, facts
    )


def forward(protocol: Protocol, host: int, host_port: int, port: int) -> Mapping:
    """A port forward that nobody has used."""
    address, nobody = IPv4Address(f"192.168.1.{host}"), IPv4Address(0)
    return Mapping(
        protocol, address, host_port, port, nobody, 0, 9000, 0, MappingKind.FORWARD, 9000
    )


def flow(host: int, port: int, number: int) -> Mapping:
    """One of several on a shared port."""
    peer = SERVER + number
    return mapping(Protocol.TCP, host, port, kind=MappingKind.FLOW, peer=peer)


def refused(host: int, packets: int) -> HostUse:
    """A LAN host that met a limit; the rest of its use is not what the views show."""
    bucket = host_bucket(IPv4Address(f"192.168.1.{host}"))
    return HostUse(bucket, dict.fromkeys(Protocol, 0), 0, packets)


def record(netns: str | None = None, **changes: Any) -> Record:
    made = Record(
        name="home",
        netns=netns,
        wan="eth1",
        config_path="/etc/mapxdp/home.toml",
        config_text=CONFIG,
        map_address="2001:db8:12:3400:0:c000:212:34",
        gateway="fe80::1",
        wan_mtu=1500,
        ipv4_mtu=1480,
    )
    return replace(made, **changes)


def snapshot(
    seconds: float = 0,
    upstream: dict[Reason, Count] | None = None,
    downstream: dict[Reason, Count] | None = None,
    mappings: tuple[Mapping, ...] = (),
    netns: str | None = None,
    hosts: tuple[HostUse, ...] = (),
    high_water: int = 0,
) -> Snapshot:
    return Snapshot(
        taken_ns=int(seconds * 1e9),
        record=record(netns),
        config=config.parse(CONFIG, "home.toml"),
        uptime=93784 + seconds,
        counters=Counters(upstream or {}, downstream or {}),
        mappings=mappings,
        pool=PoolState(
            ports=dict.fromkeys(Protocol, PortUse(0, 0, high_water)),
            flows=0,
            flow_high_water=10 * high_water,
            flow_capacity=16384,
        ),
        hosts=hosts,
    )


def busy(seconds: float = 0, refusals: bool = False) -> Snapshot:
    """A household that uses much, and has something dropped."""
    crossed = int(1000 * seconds)
    return snapshot(
        seconds,
        upstream={
            Reason.TRANSLATED: Count(crossed, crossed * 100),
            Reason.PORTS_EXHAUSTED: Count(12, 800),
            Reason.MAPPING_CREATED: Count(250 + int(5 * seconds), 0),
        },
        downstream={
            Reason.TRANSLATED: Count(2 * crossed, 2 * crossed * 1250),
            Reason.NO_MAPPING: Count(1234, 90000),
        },
        mappings=(
            *(mapping(Protocol.TCP, 2, PORTS[number]) for number in range(150)),
            *(flow(3, PORTS[150 + number % 50], number) for number in range(120)),
            forward(Protocol.TCP, 4, 443, PORTS[200]),
            *(mapping(Protocol.UDP, 3, PORTS[number]) for number in range(30)),
            *(mapping(Protocol.UDP, 4, PORTS[100 + number], idle=301) for number in range(9)),
            mapping(Protocol.ICMP, 3, PORTS[0]),
        ),
        hosts=(refused(9, 77),) if refusals else (),
        high_water=240,
    )


def replace(what: T, **changes: Any) -> T:
    """A copy with other fields, of a dataclass or of a named tuple."""
    if isinstance(what, tuple):
        return what._replace(**changes)  # type: ignore[attr-defined, no-any-return]
    return dataclasses.replace(what, **changes)  # type: ignore[type-var]
