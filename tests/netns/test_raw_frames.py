# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames that no kernel would send, on a real interface: counted, never translated.

BPF_PROG_TEST_RUN refuses frames shorter than an IP header; a packet socket sends them.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

import pytest

from harness import packets
from harness.router import Router
from mapxdp import netns, snapshot
from mapxdp.reasons import Reason, ReasonClass

IPV4, IPV6 = 0x0800, 0x86DD
MAC = bytes.fromhex("020000000002 020000000001")
UDP = packets.ipv4(packets.udp(packets.HOST, packets.SERVER, 40000, 53, b"x"), packets.UDP)


def send(namespace: str, interface: str, ether_type: int, data: bytes) -> None:
    with netns.entered(namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind((interface, 0))
        try:
            raw.send(MAC + ether_type.to_bytes(2, "big") + data)
        except OSError as error:
            assert error.errno == errno.ENOBUFS  # how a packet socket learns of a drop


def counted(cpe: Router, direction: str, sending: Callable[[], None]) -> dict[Reason, int]:
    """Packets by reason that ``sending`` caused, other traffic (ND) left out."""

    def counts() -> dict[Reason, int]:
        with snapshot.watching(cpe.name) as take:
            found = getattr(take().counters, direction)
        return {
            reason: count.packets
            for reason, count in found.items()
            if reason.reason_class is ReasonClass.DROP
            or reason in (Reason.TRANSLATED, Reason.IPV6_HEADER_CUT)
        }

    before = counts()
    sending()
    time.sleep(0.05)
    after = counts()
    return {
        reason: after[reason] - before.get(reason, 0)
        for reason in after
        if after[reason] != before.get(reason, 0)
    }


@pytest.mark.parametrize("length", [1, 8, 19])
def test_ipv4_header_cut(length: int, cpe: Router) -> None:
    cpe.up()

    def sending() -> None:
        send(cpe.name, "wan", IPV4, UDP[:length])

    assert counted(cpe, "upstream", sending) == {Reason.MALFORMED_IPV4: 1}


@pytest.mark.parametrize("length", [1, 20, 39])
def test_ipv6_header_cut(length: int, cpe: Router) -> None:
    cpe.up()
    packet = packets.ipv6(b"", packets.UDP, "2001:db8:ffff::1", "2001:db8:12:3400:0:c000:212:34")

    def sending() -> None:
        send(cpe.isp, "cpe", IPV6, packet[:length])

    assert counted(cpe, "downstream", sending) == {Reason.IPV6_HEADER_CUT: 1}


def test_a_whole_packet_beside_them(cpe: Router) -> None:
    """The same way of sending does translate what is sound."""
    cpe.up()

    def sending() -> None:
        send(cpe.name, "wan", IPV4, UDP)

    assert counted(cpe, "upstream", sending) == {Reason.TRANSLATED: 1}
