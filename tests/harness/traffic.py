"""Generated traffic of a household: steps for hypothesis, and the packets they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from harness import packets
from harness.domains import BR
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain

HOSTS = ["192.168.1.2", "192.168.1.3", "10.0.0.9"]
SERVERS = ["198.51.100.7", "203.0.113.9", "8.8.8.8"]
LAST_PORT = -1


@dataclass(frozen=True)
class FromLan:
    protocol: str
    host: str
    port: int
    server: str
    server_port: int
    flags: int
    payload: bytes
    options: bytes
    tos: int


@dataclass(frozen=True)
class FromWan:
    """``port`` may be LAST_PORT: that of the last packet that left."""

    protocol: str
    port: int
    server: str
    server_port: int
    flags: int
    payload: bytes
    options: bytes
    tos: int
    outer: int


@dataclass(frozen=True)
class Wait:
    ticks: int


Step = FromLan | FromWan | Wait

TCP_OPTIONS = st.sampled_from(
    [
        b"",
        bytes([2, 4, 0x05, 0xB4]),
        bytes([1, 2, 4, 0x05, 0xB4, 0, 0, 0]),
        bytes([1, 1, 2, 4, 0x23, 0x28, 1, 1]),
        bytes([3, 3, 7, 2, 4, 0xFF, 0xFF, 0]),
        bytes([2, 4, 0x02, 0x18]),
        bytes([4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 0x05, 0xB4]),
        bytes([2, 3, 0x05, 0xB4, 2, 4, 5, 200]),
        bytes([9, 1, 2, 4]),
        bytes([8, 40, 2, 4]),
        bytes([1] * 37 + [2, 4, 9]),
        bytes([1] * 36 + [2, 4, 9, 9]),
        bytes([0, 2, 4, 9, 9, 0, 0, 0]),
    ]
)
TCP_FLAGS = st.sampled_from(
    [
        packets.SYN,
        packets.SYN | packets.ACK,
        packets.ACK,
        packets.FIN | packets.ACK,
        packets.RST,
        packets.RST | packets.ACK,
        0,
        0xFF,
    ]
)
PROTOCOLS = st.sampled_from(["tcp", "udp", "echo", "echo reply"])
TOS = st.sampled_from([0, 1, 2, 3, 0xB8, 0xFF])
PAYLOADS = st.binary(max_size=40)
SERVER_PORTS = st.sampled_from([80, 443, 53, 0, 65535])
#: Around every timeout there is.
WAITS = st.sampled_from(
    [0, 1, *(seconds + more for seconds in (60, 120, 240, 300, 7440) for more in (-1, 0, 1, 2))]
)


def from_lan(ports: Sequence[int]) -> st.SearchStrategy[FromLan]:
    return st.builds(
        FromLan,
        protocol=PROTOCOLS,
        host=st.sampled_from(HOSTS),
        port=st.sampled_from([40000, 40001, 53, ports[0], ports[5], ports[-1]]),
        server=st.sampled_from(SERVERS),
        server_port=SERVER_PORTS,
        flags=TCP_FLAGS,
        payload=PAYLOADS,
        options=TCP_OPTIONS,
        tos=TOS,
    )


def from_wan(ports: Sequence[int]) -> st.SearchStrategy[FromWan]:
    return st.builds(
        FromWan,
        protocol=PROTOCOLS,
        port=st.one_of(st.sampled_from(ports), st.integers(0, 65535), st.just(LAST_PORT)),
        server=st.sampled_from(SERVERS),
        server_port=SERVER_PORTS,
        flags=TCP_FLAGS,
        payload=PAYLOADS,
        options=TCP_OPTIONS,
        tos=TOS,
        outer=TOS,
    )


def sequences(ports: Sequence[int]) -> st.SearchStrategy[list[Step]]:
    """Packets in both directions, and time that passes."""
    lan, wan = from_lan(ports), from_wan(ports)
    return st.lists(st.one_of(lan, wan, lan, wan, st.builds(Wait, WAITS)), max_size=25)


Address = str | IPv6Address


def _transport(
    step: FromLan | FromWan, source: Address, destination: Address, ports: tuple[int, int]
) -> tuple[bytes, int]:
    """The transport packet of a step and its protocol number, under these addresses."""
    if step.protocol == "tcp":
        data = packets.tcp(
            source,
            destination,
            *ports,
            flags=step.flags,
            options=step.options,
            payload=step.payload,
        )
        return data, packets.TCP
    if step.protocol == "udp":
        return packets.udp(source, destination, *ports, step.payload), packets.UDP
    identifier = ports[0] if isinstance(step, FromLan) else ports[1]
    reply = step.protocol == "echo reply"
    if isinstance(source, IPv6Address):
        data = packets.echo6(source, destination, identifier, reply=reply, payload=step.payload)
        return data, packets.ICMPV6
    return packets.echo(identifier, reply=reply, payload=step.payload), packets.ICMP


def upstream_packet(step: FromLan) -> bytes:
    """The IPv4 packet a host of the LAN sends."""
    ports = (step.port, step.server_port)
    data, protocol = _transport(step, step.host, step.server, ports)
    return packets.ipv4(data, protocol, step.host, step.server, tos=step.tos)


def downstream_packet(ce_domain: Domain, step: FromWan, port: int) -> bytes:
    """The IPv6 packet the BR sends for an IPv4 packet to the CE's address and ``port``."""
    ports = (step.server_port, port)
    if ce_domain.dmr is not None:
        source = rfc6052.embed(ce_domain.dmr, IPv4Address(step.server))
        data, protocol = _transport(step, source, ce_domain.map_address, ports)
        return packets.ipv6(data, protocol, source, ce_domain.map_address, traffic_class=step.tos)
    ce_ipv4 = str(ce_domain.ipv4_address)
    data, protocol = _transport(step, step.server, ce_ipv4, ports)
    inner = packets.ipv4(data, protocol, step.server, ce_ipv4, tos=step.tos)
    return packets.ipv6(inner, packets.IPV4, BR, ce_domain.map_address, traffic_class=step.outer)
