"""A running CE as the views see it, made up."""

from __future__ import annotations

from ipaddress import IPv4Address

from mapxdp import config
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Count, Counters, Mapping
from mapxdp.reasons import Reason
from mapxdp.record import Record
from mapxdp.snapshot import Snapshot

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


def mapping(protocol: Protocol, host: int, port: int, idle: int = 1) -> Mapping:
    address = IPv4Address(f"192.168.1.{host}")
    return Mapping(protocol, address, 40000 + port, port, SERVER, 443, idle, 300)


def record(netns: str | None = None) -> Record:
    return Record(
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


def snapshot(
    seconds: float = 0,
    upstream: dict[Reason, Count] | None = None,
    downstream: dict[Reason, Count] | None = None,
    mappings: tuple[Mapping, ...] = (),
    netns: str | None = None,
) -> Snapshot:
    return Snapshot(
        taken_ns=int(seconds * 1e9),
        record=record(netns),
        config=config.parse(CONFIG, "home.toml"),
        uptime=93784 + seconds,
        counters=Counters(upstream or {}, downstream or {}),
        mappings=mappings,
    )


def busy(seconds: float = 0) -> Snapshot:
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
            *(mapping(Protocol.TCP, 2, 1232 + number) for number in range(200)),
            *(mapping(Protocol.UDP, 3, 1232 + number) for number in range(30)),
            *(mapping(Protocol.UDP, 4, 1300 + number, idle=301) for number in range(9)),
            mapping(Protocol.ICMP, 3, 1232),
        ),
    )
