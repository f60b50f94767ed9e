# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames of several buffers: the accelerator's programs at XDP take them, too, or no interface with
an MTU of 9000 could have one."""

from __future__ import annotations

import socket

import pytest

from harness.lab import accelerated, prefix
from mapxdp import netns
from mapxdp.config import DatapathKind
from mapxdp.lab import run
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4, Lab
from mapxdp.model.domain import Mode

EXCHANGES, LEARNT_AFTER = 20, 4


class _Jumbo(Lab):
    @property
    def mtu(self) -> int:
        return 9000


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_long_datagrams_take_shortcuts(datapath: str, mode: str, bpf: None) -> None:
    lab = _Jumbo(prefix(), Mode(mode), DatapathKind(datapath))
    with run.built(lab, lambda _: None) as running:
        with netns.entered(lab.netns("client1")):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(5)
            sock.connect((SERVER_IPV4, UDP_PORT))
            for number in range(EXCHANGES):
                data = bytes([number]) * 8000
                sock.send(data)
                assert sock.recv(65535) == data
        assert all(count >= EXCHANGES - LEARNT_AFTER for count in accelerated(running))
