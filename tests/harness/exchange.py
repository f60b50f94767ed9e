# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Short words for the packets of NAPT44 tests: who sends from where to where, and nothing else."""

from __future__ import annotations

from harness import packets, traffic
from harness.ce import LoadedCe
from harness.follower import source_port
from harness.packets import HOST, SERVER
from mapxdp.software.verdict import Outcome

#: What is no server's port: under ``auto``, endpoints that send to it get ports of their own.
HIGH = 5000


def lan_packet(
    protocol: str = "udp",
    host: str = HOST,
    port: int = 40000,
    remote: str = SERVER,
    remote_port: int = HIGH,
    flags: int = packets.SYN,
    payload: bytes = b"x",
) -> bytes:
    """An IPv4 packet of a LAN host."""
    return traffic.upstream_packet(
        traffic.FromLan(protocol, host, port, remote, remote_port, flags, payload, b"", 0)
    )


def send(
    ce: LoadedCe,
    protocol: str = "udp",
    host: str = HOST,
    port: int = 40000,
    remote: str = SERVER,
    remote_port: int = HIGH,
    flags: int = packets.SYN,
) -> Outcome:
    """A packet from the LAN; of TCP a SYN, unless ``flags`` say otherwise."""
    return ce.from_lan(lan_packet(protocol, host, port, remote, remote_port, flags))


def receive(
    ce: LoadedCe,
    port: int,
    protocol: str = "udp",
    remote: str = SERVER,
    remote_port: int = HIGH,
    flags: int = packets.SYN | packets.ACK,
) -> Outcome:
    """A packet from a remote to a port of the CE; of TCP the answer to a SYN."""
    kind = "echo reply" if protocol == "echo" else protocol
    step = traffic.FromWan(kind, port, remote, remote_port, flags, b"y", b"", 0, 0)
    return ce.from_wan(traffic.downstream_packet(ce.domain, step, port))


def port_given(outcome: Outcome) -> int:
    """The port or identifier with which a packet left."""
    assert outcome.packets, f"nothing left: {outcome.reason.name}"
    (packet,) = outcome.packets
    return source_port(packet)


def endpoint_reached(outcome: Outcome) -> tuple[str, int]:
    """The LAN endpoint that a packet from the WAN, or one that was turned around, came to."""
    assert outcome.packets, f"nothing arrived: {outcome.reason.name}"
    (packet,) = outcome.packets
    at = 24 if packet[9] == packets.ICMP else 22
    address = ".".join(map(str, packet[16:20]))
    return address, int.from_bytes(packet[at : at + 2], "big")


def endpoint(number: int) -> tuple[str, int]:
    """LAN endpoints that are all different, each of another host."""
    return f"10.0.{number >> 8}.{number & 0xFF}", 40000 + number % 10_000


def servers(count: int) -> list[str]:
    return [f"198.51.100.{number}" for number in range(1, count + 1)]
