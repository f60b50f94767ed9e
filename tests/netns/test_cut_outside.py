# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Tunnels whose packets are cut outside (RFC 7597 section 8.3.3): the kernel's route has the MTU of
the WAN there, so it is for the datapath to tell who sends what is too big and must not be cut.

Nobody's MSS is clamped here: TCP finds the path MTU, or stands still.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.domains import LW4O6
from harness.lab import LabOfDomain, prefix
from harness.waiting import comes_true
from harness.whole_path import IP_MTU, dont_fragment
from mapxdp import netns, snapshot
from mapxdp.lab import clients, run, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4, WAN_MTU, Lab
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason

_NO_CLAMP = '\n[mtu]\nmss_clamp = "off"\n'
_CONTENT = bytes(range(256)) * 4096


class _MapE(Lab):
    def config_text(self) -> str:
        return super().config_text() + _NO_CLAMP

    def peer_config_text(self) -> str:
        return super().peer_config_text() + _NO_CLAMP


@dataclass(frozen=True, kw_only=True)
class _Lw4o6(LabOfDomain):
    def config_text(self) -> str:
        return super().config_text() + _NO_CLAMP


@pytest.fixture(scope="module", params=["map-e", "lw4o6"])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    mode = Mode(request.param)
    made = _MapE(prefix(), mode) if mode is Mode.MAP_E else _Lw4o6(prefix(), mode, place=LW4O6)
    with run.built(made, lambda _: None) as running:
        yield running


def refused(instance: str) -> tuple[int, int]:
    """Packets that were too big, and answers to them."""
    with snapshot.watching(instance) as take:
        found = take().counters.upstream
    too_big, told = found.get(Reason.TOO_BIG), found.get(Reason.REFUSAL_SENT)
    return (too_big.packets if too_big else 0, told.packets if told else 0)


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
@pytest.mark.parametrize("node", ["client1", "ce"])
def test_tcp_finds_the_path_mtu(node: str, offloads: bool, lab: Running) -> None:
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=offloads)
    before = refused(lab.lab.instance)
    with netns.entered(lab.lab.netns(node)):
        # What was found out before is forgotten.
        topology.run(["ip", "route", "flush", "cache"])
        sent = clients.upload(SERVER_IPV4, _CONTENT)
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=True)
    assert sent.sha256 == hashlib.sha256(_CONTENT).hexdigest()
    too_big, told = (
        now - then for now, then in zip(refused(lab.lab.instance), before, strict=True)
    )
    assert too_big >= told >= 1


@pytest.mark.parametrize("lab", ["map-e"], indirect=True)
def test_a_ce_without_napt44_is_told_too(lab: Running) -> None:
    """Its public address is its own: an error that came from there would be dropped."""
    peer = lab.lab.peer
    assert peer is not None
    with netns.entered(lab.lab.netns("peer")):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        dont_fragment(sock)
        sock.bind((str(peer.ipv4_address), peer.port_set.ranges()[0].first))
        sock.connect((SERVER_IPV4, UDP_PORT))
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == WAN_MTU
        sock.send(bytes(WAN_MTU - 28))
        fits = peer.ipv4_mtu(WAN_MTU)
        assert comes_true(lambda: sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == fits, 5)
