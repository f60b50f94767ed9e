# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Segmented packets: counted by their pieces, and measured by them against the MTU."""

from __future__ import annotations

import pytest

from harness import packets
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from mapxdp.datapath import observe
from mapxdp.reasons import Reason


def tcp(payload: int) -> bytes:
    data = packets.tcp(HOST, SERVER, 40000, 80, payload=bytes(payload))
    return packets.ipv4(data, packets.TCP)


def test_pieces_are_counted(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    before = observe.read_counters(ce.maps).upstream.get(Reason.TRANSLATED)
    assert ce.from_lan(tcp(3000), gso_size=1000, gso_segs=3).reason is Reason.TRANSLATED
    after = observe.read_counters(ce.maps).upstream[Reason.TRANSLATED]
    assert after.packets - (before.packets if before else 0) == 3
    assert after.bytes - (before.bytes if before else 0) == 3040


def test_pieces_are_computed_where_the_kernel_does_not_say(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.example("map-t")
    before = observe.read_counters(ce.maps).upstream.get(Reason.TRANSLATED)
    assert ce.from_lan(tcp(3001), gso_size=1000).reason is Reason.TRANSLATED
    after = observe.read_counters(ce.maps).upstream[Reason.TRANSLATED]
    assert after.packets - (before.packets if before else 0) == 4


@pytest.mark.parametrize(
    ("payload", "segment", "reason"),
    [
        (1440, 0, Reason.TRANSLATED),
        (1441, 0, Reason.TOO_BIG),
        (3000, 1440, Reason.TRANSLATED),
        (3000, 1441, Reason.TOO_BIG),
    ],
    ids=["fits", "one too many", "pieces fit", "pieces one too many"],
)
def test_the_mtu_is_that_of_each_piece(
    payload: int, segment: int, reason: Reason, loaded_ces: LoadedCes
) -> None:
    """IPv4 MTU 1480 on a WAN of 1500: 1440 octets behind two headers of 20."""
    ce = loaded_ces.example("map-t")
    assert ce.from_lan(tcp(payload), gso_size=segment).reason is reason
