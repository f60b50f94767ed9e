# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A WAN without link-layer headers, as PPPoE makes one: real packets through a TUN device."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from harness import packets
from harness.domains import BR, DMR
from harness.router import CONFIG, Router
from harness.waiting import is_readable
from mapxdp import netns
from mapxdp.lab.topology import RULE
from mapxdp.model.domain import Mode
from mapxdp.software.br import BorderRelay, BrSettings
from mapxdp.software.tun import open_tun

HOST, SERVER = "192.168.1.1", "198.51.100.7"


@pytest.fixture(params=["map-t", "map-e"])
def line(request: pytest.FixtureRequest, cpe: Router) -> Iterator[tuple[Router, int, BorderRelay]]:
    """A CE up on ppp0; what it sends and receives is a file descriptor; its BR."""
    mode = Mode(request.param)
    with netns.entered(cpe.name):
        tun = open_tun("ppp0")
    cpe.ip("link set ppp0 up")
    cpe.ip(f"addr add {HOST}/32 dev lo")
    cpe.ip("link set lo up")
    text = CONFIG.replace('wan = "wan"', 'wan = "ppp0"').replace('"map-t"', f'"{mode}"')
    if not mode.translates:
        text = text.replace(f'dmr = "{DMR}"', f'br = "{BR}"')
    cpe.write_config(text)
    cpe.up()
    relay = BorderRelay(
        BrSettings(
            mode,
            (RULE,),
            dmr=DMR if mode.translates else None,
            address=None if mode.translates else BR,
        )
    )
    yield cpe, tun.fd, relay
    os.close(tun.fd)


def next_packet(fd: int) -> bytes:
    """The next packet of the CE's that is not neighbour discovery or the like."""
    while True:
        assert is_readable(fd, 5), "nothing came out of the WAN"
        packet = os.read(fd, 65535)
        if packet[6] not in (0, packets.ICMPV6):
            return packet


def test_udp_both_ways(line: tuple[Router, int, BorderRelay]) -> None:
    cpe, fd, relay = line
    with netns.entered(cpe.name):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((HOST, 40000))
        sock.settimeout(5)
        sock.sendto(b"question", (SERVER, 53))
        ipv4 = relay.from_domain(next_packet(fd))
        assert ipv4 is not None, relay.counts
        assert packets.checksums_are_right(ipv4)
        public, port = ".".join(map(str, ipv4[12:16])), int.from_bytes(ipv4[20:22], "big")
        assert (public, ipv4[28:]) == ("192.0.2.18", b"question")

        answer = packets.udp(SERVER, public, 53, port, b"answer")
        back = relay.to_domain(packets.ipv4(answer, packets.UDP, SERVER, public))
        assert back is not None, relay.counts
        os.write(fd, back)
        assert sock.recv(100) == b"answer"
