# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The MSS of a SYN, wherever it says it and however often: both paths lower all of them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import packets
from harness.ce import LoadedCe
from harness.domains import domain
from harness.exchange import port_given
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.traffic import FromLan, FromWan, downstream_packet, upstream_packet
from mapxdp.datapath import libbpf
from mapxdp.reasons import Reason

HIGH = bytes([2, 4, 0x05, 0xB4])
LOW = bytes([2, 4, 0x02, 0x18])
NOP, END, SCALE = b"\x01", b"\x00", bytes([3, 3, 7])
LINUX = bytes.fromhex("020405b4 0402 080a 01020304 00000000 01 030307")
OPTIONS = {
    "alone": HIGH,
    "as linux has it": LINUX,
    "two": HIGH * 2,
    "ten": HIGH * 10,
    "the second": LOW + HIGH,
    "the first": HIGH + LOW,
    "at odd places": NOP + HIGH + SCALE,
    "one at an odd place, one at an even one": NOP + HIGH + NOP + HIGH + NOP * 2,
    "last": NOP * 36 + HIGH,
    "behind the end": END + HIGH + NOP * 3,
    "cut": HIGH + NOP * 2 + b"\x02\x04",
    "low": LOW,
    "none": NOP * 4,
    "none at all": b"",
    "of length 3": bytes([2, 3, 5]) + HIGH + NOP,
    "of length 0": bytes([9, 0]) + HIGH + NOP * 2,
}
CLAMPED = {name for name, options in OPTIONS.items() if HIGH in options} - {
    "behind the end",
    "of length 0",
}


def syn(ce: LoadedCe, options: bytes, flags: int = packets.SYN) -> tuple[bytes, bytes]:
    """A SYN of a host, and what leaves for it on both paths."""
    step = FromLan("tcp", packets.HOST, 40000, packets.SERVER, 5000, flags, b"data", options, 0)
    sent = upstream_packet(step)
    (left,) = Follower(ce).from_lan(sent).packets
    return sent, left


@pytest.mark.parametrize("name", OPTIONS)
def test_upwards(name: str, ce: LoadedCe) -> None:
    _, left = syn(ce, OPTIONS[name])
    assert packets.checksums_are_right(left)
    assert ce.events().get(Reason.MSS_CLAMPED, 0) == (name in CLAMPED)


@pytest.mark.parametrize("name", OPTIONS)
def test_downwards(name: str, ce: LoadedCe) -> None:
    follower = Follower(ce)
    first = FromLan("tcp", packets.HOST, 40000, packets.SERVER, 5000, packets.SYN, b"", b"", 0)
    port = port_given(follower.from_lan(upstream_packet(first)))
    flags = packets.SYN | packets.ACK
    step = FromWan("tcp", port, packets.SERVER, 5000, flags, b"", OPTIONS[name], 0, 0)
    (arrived,) = follower.from_wan(downstream_packet(ce.domain, step, port)).packets
    assert packets.checksums_are_right(arrived)
    assert ce.events().get(Reason.MSS_CLAMPED, 0) == (name in CLAMPED)
    follower.assert_that_events_agree()


def test_all_of_them_are_lowered(ce: LoadedCe) -> None:
    _, left = syn(ce, HIGH * 10)
    limit = ce.settings.mss
    assert limit is not None
    assert left.endswith((bytes([2, 4]) + limit.to_bytes(2, "big")) * 10 + b"data")


def test_none_without_a_limit(loaded_ces: LoadedCes) -> None:
    for mode in ("map-t", "map-e"):
        _, left = syn(loaded_ces.example(mode, mss=None), HIGH * 10)
        assert left.endswith(HIGH * 10 + b"data")


def test_only_of_a_syn(ce: LoadedCe) -> None:
    _, left = syn(ce, HIGH * 10, packets.ACK)
    assert left.endswith(HIGH * 10 + b"data")


PIECES = st.one_of(
    st.sampled_from(
        [HIGH, LOW, NOP, END, SCALE, b"\x02", b"\x02\x04", b"\x02\x04\xff", b"\x09\x06"]
    ),
    st.binary(max_size=5),
)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_any_options(mode: str, loaded_ces: LoadedCes) -> None:
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(PIECES, max_size=20).map(lambda parts: b"".join(parts)[:40]))
    def check(options: bytes) -> None:
        _, left = syn(loaded_ces.get(domain(mode)), options[: len(options) // 4 * 4])
        assert packets.checksums_are_right(left)

    check()


def test_without_its_program_a_syn_crosses_as_it_is(bpf: None) -> None:
    """Two MSS options are no reason to drop a packet."""
    with LoadedCe(domain("map-t")) as ce:
        key = ce.maps.contract.number("PROGRAM_MSS").to_bytes(4, sys.byteorder)
        libbpf.delete(ce.maps.fds["programs"], key)
        sent = FromLan("tcp", packets.HOST, 1, packets.SERVER, 5000, packets.SYN, b"", HIGH * 2, 0)
        outcome = ce.from_lan(upstream_packet(sent))
        assert outcome.reason is Reason.TRANSLATED
        assert outcome.packets[0].endswith(HIGH * 2)
