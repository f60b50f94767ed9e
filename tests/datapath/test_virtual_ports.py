# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Netfilter mode, packet by packet: every virtual port is a port of the set, and the reverse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import RULES, domain
from harness.loaded import LoadedCes
from harness.traffic import FromLan, FromWan, downstream_packet, upstream_packet
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model.virtual_range import virtual_base
from mapxdp.reasons import Reason

SERVER = "198.51.100.7"
PROTOCOLS = ["tcp", "udp", "echo"]


@pytest.fixture(params=["map-t", "map-e"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def netfilter(loaded_ces: LoadedCes, mode: str, count: int = 252) -> LoadedCe:
    ce = loaded_ces.get(domain(mode, RULES[count]))
    ce.reset(napt44=Napt44Kind.NETFILTER)
    return ce


def from_public(ce: LoadedCe, protocol: str, port: int) -> FromLan:
    """What the kernel's NAPT44 has made of a packet."""
    public = str(ce.domain.ipv4_address)
    return FromLan(protocol, public, port, SERVER, 443, packets.SYN, b"data", b"", 0)


def port_that_left(ce: LoadedCe, protocol: str, packet: bytes) -> int:
    transport = packet[40 if ce.domain.mode.translates else 60 :]
    at = 4 if protocol == "echo" else 0
    return int.from_bytes(transport[at : at + 2], "big")


def port_that_arrived(protocol: str, packet: bytes) -> int:
    at = 24 if protocol == "echo" else 22
    return int.from_bytes(packet[at : at + 2], "big")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", RULES)
def test_there_and_back(count: int, protocol: str, mode: str, loaded_ces: LoadedCes) -> None:
    ce = netfilter(loaded_ces, mode, count)
    base = virtual_base(ce.domain.port_set)
    ports = list(ce.domain.port_set)
    for position in {*range(0, count, 7), count // 2, count - 1}:
        sent = ce.from_lan(upstream_packet(from_public(ce, protocol, base + position)))
        assert sent.reason is Reason.TRANSLATED
        assert port_that_left(ce, protocol, sent.packets[0]) == ports[position]
        assert packets.checksums_are_right(sent.packets[0])
        answer = FromWan(protocol, 0, SERVER, 443, packets.ACK, b"data", b"", 0, 0)
        got = ce.from_wan(downstream_packet(ce.domain, answer, ports[position]))
        assert got.reason is Reason.TRANSLATED
        assert got.packets[0][16:20] == ce.domain.ipv4_address.packed
        assert port_that_arrived(protocol, got.packets[0]) == base + position
        assert packets.checksums_are_right(got.packets[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_refused(protocol: str, mode: str, loaded_ces: LoadedCes) -> None:
    ce = netfilter(loaded_ces, mode)
    base = virtual_base(ce.domain.port_set)

    def send(port: int, **changes: str) -> Reason:
        step = replace(from_public(ce, protocol, port), **changes)
        return ce.from_lan(upstream_packet(step)).reason

    assert send(base, host="192.168.1.2") is Reason.SOURCE_NOT_OURS
    assert send(base, host="192.0.2.19") is Reason.SOURCE_NOT_OURS
    for port in (0, 1232, base - 1, base + 252, 65535):
        assert send(port) is Reason.VIRTUAL_PORT
    for port in (base, 1231, 1236):
        answer = FromWan(protocol, 0, SERVER, 443, packets.ACK, b"", b"", 0, 0)
        outcome = ce.from_wan(downstream_packet(ce.domain, answer, port))
        assert outcome.reason is Reason.PORT_OUTSIDE_SET
