"""A lab with forwarded ports, links that become smaller, and datagrams cut by hand."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness import packets
from harness.lab import prefix
from mapxdp import host, netns
from mapxdp.config import DatapathKind
from mapxdp.lab import run, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.topology import CLIENT_IPV4, NODES, Lab
from mapxdp.lab.traceroute import report_errors
from mapxdp.model.domain import Mode
from mapxdp.software.br import BorderRelay
from mapxdp.software.br_fragments import FragmentRelay

PUBLIC = "192.0.2.18"
#: Forwarded to client1: nobody listens at the one, the other is for the test.
CLOSED_PORT, OPEN_PORT = 1232, 1233
INNER_PORT = 5000
IP_MTU, IP_MTU_DISCOVER, IP_PMTUDISC_DO = 14, 10, 2
SO_NO_CHECK = 11
PIECE = 1400


@dataclass(frozen=True, kw_only=True)
class LabWithForwards(Lab):
    def config_text(self) -> str:
        return super().config_text() + "".join(
            f"""
[[forward]]
protocol = "udp"
port = {port}
to = "{CLIENT_IPV4["client1"]}:{inner}"
"""
            for port, inner in ((CLOSED_PORT, 9), (OPEN_PORT, INNER_PORT))
        )


@contextmanager
def lab_with_forwards(mode: str, datapath: str = "auto") -> Iterator[Running]:
    """Its routers send as many ICMP errors as there is cause for."""
    lab = LabWithForwards(prefix(), Mode(mode), DatapathKind(datapath))
    with run.built(lab, lambda _: None) as running:
        for node in NODES:
            with netns.entered(lab.netns(node)):
                for sysctl in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
                    host.set_sysctl(f"net/{sysctl}", "0")
        yield running


@contextmanager
def link(running: Running, node: str, route: str, mtu: int) -> Iterator[None]:
    """``route`` of a node leads over a link of ``mtu`` meanwhile; who found out forgets it."""

    def ip(node: str, arguments: str) -> None:
        topology.run(["ip", "-n", running.lab.netns(node), *arguments.split()])

    version = "-6" if route.count(":") > 1 else "-4"
    ip(node, f"{version} route change {route} mtu {mtu}")
    try:
        yield
    finally:
        ip(node, f"{version} route change {route}")
        for each in NODES:
            ip(each, "-4 route flush cache")
            ip(each, "-6 route flush cache")


def udp_socket(running: Running, node: str, port: int = 0) -> socket.socket:
    with netns.entered(running.lab.netns(node)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(3)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("", port))
    return sock


def dont_fragment(sock: socket.socket) -> None:
    """DF on every packet, and errors about it kept."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    report_errors(sock)


def cut(source: str, destination: str, protocol: int, payload: bytes) -> list[bytes]:
    """The fragments of an IPv4 datagram, in order."""
    identification = random.getrandbits(16)
    return [
        packets.ipv4(
            payload[at : at + PIECE],
            protocol,
            source,
            destination,
            identification=identification,
            fragment=(0x2000 if at + PIECE < len(payload) else 0) | at // 8,
        )
        for at in range(0, len(payload), PIECE)
    ]


def send_from(running: Running, node: str, datagrams: list[bytes], destination: str) -> None:
    """IPv4 packets as they are."""
    with netns.entered(running.lab.netns(node)):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for packet in datagrams:
            raw.sendto(packet, (destination, 0))


def into_domain(running: Running, packet: bytes) -> list[bytes]:
    """The IPv6 packets that the BR makes of an IPv4 packet for the CE, in order."""
    relay = FragmentRelay(BorderRelay(running.lab.relay), topology.WAN_MTU)
    return list(relay.to_domain(packet))


def send_to_ce(running: Running, ipv6: list[bytes]) -> None:
    """IPv6 packets on the CE's line as they are."""
    lab = running.lab
    shown = topology.run(["ip", "-n", lab.netns("ce"), "-j", "link", "show", topology.WAN])
    mac = bytes.fromhex(json.loads(shown)[0]["address"].replace(":", ""))
    with netns.entered(lab.netns("br")):
        line = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    with line:
        for packet in ipv6:
            line.sendto(packet, ("ce0", 0x86DD, 0, 0, mac))
