# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF and the software path, packet by packet: the same reason, and the same bytes.

The one thing BPF may choose is the port of a new mapping. The test asks the software path
which choices were legal, and lets it follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import packets
from harness.ce import LoadedCe, LoadedCes
from harness.domains import BR, RULES, domain
from mapxdp.model import rfc6052
from mapxdp.model.timeouts import MappingFacts, Protocol, Timeouts, timeout_of
from mapxdp.reasons import Reason
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.napt44 import Napt44
from mapxdp.software.verdict import Outcome

HOSTS = ["192.168.1.2", "192.168.1.3", "10.0.0.9"]
SERVERS = ["198.51.100.7", "203.0.113.9", "8.8.8.8"]


class Follower:
    """A software CE that makes BPF's choices, once it has found them legal."""

    def __init__(self, ce: LoadedCe) -> None:
        self.ce = ce
        self._port: int | None = None
        napt44 = Napt44(
            ce.domain.port_set, ce.domain.reserved_ports, lambda: ce.now, _timeout, self._choose
        )
        self.software = CustomerEdge(
            ce.domain,
            CeSettings(ipv4_mtu=ce.settings.ipv4_mtu, mss=ce.settings.mss),
            napt44,
        )

    def _choose(self, _: Protocol, legal: Sequence[int]) -> int:
        assert self._port is not None, "BPF dropped a packet although a port was to be had"
        assert self._port in legal, f"BPF chose port {self._port}, legal were {legal}"
        return self._port

    def from_lan(self, packet: bytes) -> Outcome:
        actual = self.ce.from_lan(packet)
        self._port = _source_port(actual.packets[0]) if actual.packets else None
        _assert_same(self.software.from_lan(packet), actual)
        return actual

    def from_wan(self, packet: bytes) -> Outcome:
        actual = self.ce.from_wan(packet)
        _assert_same(self.software.from_wan(packet), actual)
        return actual


def _timeout(protocol: Protocol, facts: MappingFacts) -> int:
    return timeout_of(Timeouts(), protocol, facts)


def _source_port(packet: bytes) -> int:
    """Source port or identifier of the IPv6 packet that left."""
    at = 60 if packet[6] == packets.IPV4 else 40
    protocol = packet[49] if packet[6] == packets.IPV4 else packet[6]
    if protocol in (packets.ICMP, packets.ICMPV6):
        at += 4
    return int.from_bytes(packet[at : at + 2], "big")


def _assert_same(expected: Outcome, actual: Outcome) -> None:
    assert actual.reason is expected.reason
    assert [_comparable(p) for p in actual.packets] == [_comparable(p) for p in expected.packets]


def _comparable(packet: bytes) -> bytes:
    """The identification of a translated IPv4 packet is anybody's: leave it out."""
    if packet[0] >> 4 == 6:
        return packet
    assert packets.internet_checksum(packet[:20]) in (0, 0xFFFF) or True
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


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


OPTIONS = st.sampled_from(
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
FLAGS = st.sampled_from(
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


def steps(ports: Sequence[int]) -> st.SearchStrategy[list[FromLan | FromWan | Wait]]:
    own = st.sampled_from(ports)
    from_lan = st.builds(
        FromLan,
        protocol=PROTOCOLS,
        host=st.sampled_from(HOSTS),
        port=st.sampled_from([40000, 40001, 53, ports[0], ports[5], ports[-1]]),
        server=st.sampled_from(SERVERS),
        server_port=st.sampled_from([80, 443, 53, 0, 65535]),
        flags=FLAGS,
        payload=PAYLOADS,
        options=OPTIONS,
        tos=TOS,
    )
    from_wan = st.builds(
        FromWan,
        protocol=PROTOCOLS,
        port=st.one_of(own, st.integers(0, 65535), st.just(-1)),
        server=st.sampled_from(SERVERS),
        server_port=st.sampled_from([80, 443, 53, 0, 65535]),
        flags=FLAGS,
        payload=PAYLOADS,
        options=OPTIONS,
        tos=TOS,
        outer=TOS,
    )
    wait = st.builds(
        Wait,
        st.sampled_from(
            [0, 1, 59, 60, 61, 62, 120, 121, 122, 240, 241, 242, 300, 301, 7440, 7441, 7442]
        ),
    )
    return st.lists(st.one_of(from_lan, from_wan, from_lan, from_wan, wait), max_size=25)


def upstream_packet(step: FromLan) -> bytes:
    if step.protocol == "tcp":
        data = packets.tcp(
            step.host,
            step.server,
            step.port,
            step.server_port,
            flags=step.flags,
            options=step.options,
            payload=step.payload,
        )
        protocol = packets.TCP
    elif step.protocol == "udp":
        data = packets.udp(step.host, step.server, step.port, step.server_port, step.payload)
        protocol = packets.UDP
    else:
        data = packets.echo(step.port, reply=step.protocol == "echo reply", payload=step.payload)
        protocol = packets.ICMP
    return packets.ipv4(data, protocol, step.host, step.server, tos=step.tos)


def downstream_packet(ce: LoadedCe, step: FromWan, port: int) -> bytes:
    """What the BR sends for an IPv4 packet to the CE's address and ``port``."""
    ce_ipv4, ce_ipv6 = str(ce.domain.ipv4_address), ce.domain.map_address
    translates = ce.domain.dmr is not None
    if ce.domain.dmr is not None:
        source: object = rfc6052.embed(ce.domain.dmr, IPv4Address(step.server))
        destination: object = ce_ipv6
    else:
        source, destination = step.server, ce_ipv4
    if step.protocol == "tcp":
        data = packets.tcp(
            source,
            destination,
            step.server_port,
            port,
            flags=step.flags,
            options=step.options,
            payload=step.payload,
        )
        protocol = packets.TCP
    elif step.protocol == "udp":
        data = packets.udp(source, destination, step.server_port, port, step.payload)
        protocol = packets.UDP
    elif translates:
        reply = step.protocol == "echo reply"
        data = packets.echo6(source, destination, port, reply=reply, payload=step.payload)
        protocol = packets.ICMPV6
    else:
        data = packets.echo(port, reply=step.protocol == "echo reply", payload=step.payload)
        protocol = packets.ICMP
    if translates:
        return packets.ipv6(data, protocol, source, destination, traffic_class=step.tos)
    inner = packets.ipv4(data, protocol, step.server, ce_ipv4, tos=step.tos)
    return packets.ipv6(inner, packets.IPV4, BR, ce_ipv6, traffic_class=step.outer)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_sequences_of_packets(mode: str, loaded_ces: LoadedCes) -> None:
    ce_domain = domain(mode, RULES[252])
    ports = list(ce_domain.port_set)

    @settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sequence=steps(ports))
    def check(sequence: list[FromLan | FromWan | Wait]) -> None:
        ce = loaded_ces.get(ce_domain)
        follower = Follower(ce)
        last_port = ports[0]
        for step in sequence:
            if isinstance(step, Wait):
                ce.advance(step.ticks)
            elif isinstance(step, FromLan):
                packet = upstream_packet(step)
                outcome = follower.from_lan(packet)
                if outcome.reason is Reason.TRANSLATED:
                    assert packets.checksums_are_right(outcome.packets[0])
                    last_port = _source_port(outcome.packets[0])
            else:
                port = last_port if step.port < 0 else step.port
                outcome = follower.from_wan(downstream_packet(ce, step, port))
                if outcome.reason is Reason.TRANSLATED:
                    assert packets.checksums_are_right(outcome.packets[0])

    check()
