# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fragments through attached programs, with the kernel's own sockets, fragmentation and
reassembly on the side of the LAN, and scapy's on that of the WAN."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import fragments, packets
from harness.domains import domain
from harness.exchange import HIGH
from harness.follower import source_port
from harness.fragments import parts_of
from harness.packets import HOST, SERVER
from harness.router import CONFIG, Router, ip, router
from mapxdp import netns
from mapxdp.model.domain import Domain

ETH_P_IPV6 = 0x86DD
PORT = 40000
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
_OUTGOING = 4
_SO_RCVBUFFORCE = 33
ENCAPSULATES = CONFIG.replace("map-t", "map-e").replace(
    'dmr = "2001:db8:ffff::/64"', 'br = "2001:db8:ffff::1"'
)


@dataclass(frozen=True)
class Site:
    """A router that is up, a host behind it, and what the ISP sees."""

    router: Router
    domain: Domain
    host: str
    isp: socket.socket

    def udp(self, node: str) -> socket.socket:
        """A socket that lets others cut its datagrams."""
        with netns.entered(node):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((HOST if node == self.host else "", PORT))
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        sock.settimeout(10)
        return sock

    def seen_by_isp(self) -> bytes:
        """The datagram that arrived there, put together; no packet of it was too long."""
        arrived: list[bytes] = []
        while True:
            frame, address = self.isp.recvfrom(1 << 16)
            packet = frame[14:]
            if address[2] == _OUTGOING or packet[6] not in (fragments.FRAGMENT, packets.IPV4):
                continue
            arrived.append(packet[: 40 + int.from_bytes(packet[4:6], "big")])
            assert len(arrived[-1]) <= 1500
            if _is_last(packet):
                # Perhaps of a tunnel's packet only, which holds one fragment of several.
                with suppress(AssertionError):
                    return fragments.put_together(arrived)


def _is_last(packet: bytes) -> bool:
    if packet[6] == fragments.FRAGMENT:
        return not packet[43] & 1
    return not packet[46] & 0x20


@contextmanager
def site(directory: Path, mode: str) -> Iterator[Site]:
    with router(directory, "f") as made:
        made.write_config(ENCAPSULATES if mode == "map-e" else CONFIG)
        host = f"{made.name}-host"
        ip(f"netns add {host}")
        try:
            made.ip(f"link add lan type veth peer name eth0 netns {host}")
            made.ip("link set lan up")
            made.ip("addr add 192.168.1.1/24 dev lan")
            ip(f"-n {host} link set eth0 up")
            ip(f"-n {host} addr add {HOST}/24 dev eth0")
            ip(f"-n {host} route add default via 192.168.1.1")
            made.up()
            # A veth passes on checksums that were left to a network card: not this one.
            made_of = ["ip", "netns", "exec", made.name, "ethtool", "-K", "wan", "tx", "off"]
            subprocess.run(made_of, check=True, capture_output=True, timeout=30)
            with netns.entered(made.isp):
                isp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                isp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
                isp.bind(("cpe", ETH_P_IPV6))
            isp.settimeout(10)
            with isp:
                yield Site(made, domain(mode), host, isp)
        finally:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, timeout=30)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_what_the_kernel_cuts_arrives(mode: str, bpf: None, tmp_path: Path) -> None:
    body = fragments.noise(30000)
    with site(tmp_path, mode) as there:
        for node in (there.host, there.router.name):
            with there.udp(node) as sock:
                sock.sendto(body, (SERVER, HIGH))
                whole = there.seen_by_isp()
            assert fragments.body_of(whole) == body
            assert packets.checksums_are_right(whole)
            with (
                netns.entered(node),
                socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock,
            ):
                sock.sendto(packets.echo(7, payload=body[:4000]), (SERVER, 0))
                whole = there.seen_by_isp()
            assert fragments.body_of(whole) == body[:4000]
            assert packets.checksums_are_right(whole)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_a_pending_checksum_is_completed(mode: str, bpf: None, tmp_path: Path) -> None:
    """Of a packet that the route lets through although it has to be cut."""
    with site(tmp_path, mode) as there:
        there.router.ip("-4 route change default via inet6 fe80::1 dev wan mtu 1500")
        for node in (there.host, there.router.name):
            with there.udp(node) as sock:
                body = fragments.noise(1472)
                sock.sendto(body, (SERVER, HIGH))
                whole = there.seen_by_isp()
            assert fragments.body_of(whole) == body
            assert packets.checksums_are_right(whole)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_the_kernel_puts_together_what_arrives(mode: str, bpf: None, tmp_path: Path) -> None:
    with site(tmp_path, mode) as there, there.udp(there.host) as sock:
        sock.sendto(fragments.noise(3000), (SERVER, HIGH))
        frame, _ = there.isp.recvfrom(1 << 16)
        while frame[20] not in (fragments.FRAGMENT, packets.IPV4):
            frame, _ = there.isp.recvfrom(1 << 16)
        port = _port_of(frame[14:])
        back = frame[6:12] + frame[:6] + frame[12:14]
        orders, sizes = ["in order", "reversed", "first last"], [3000, 40000]
        for number, (order, size) in enumerate(itertools.product(orders, sizes)):
            body = fragments.noise(size)
            cut, length = fragments.from_wan(there.domain, "udp", body, port, number)
            for part in fragments.reordered(parts_of(length, 1400), order):
                there.isp.send(back + cut(part))
            assert sock.recv(1 << 16) == body


def _port_of(packet: bytes) -> int:
    """The source port that a first fragment left with."""
    if packet[6] == fragments.FRAGMENT:
        packet = packet[:6] + packet[40:41] + packet[7:40] + packet[48:]
    return source_port(packet)
