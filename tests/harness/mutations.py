# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Packets with octets changed, cut off or added."""

from __future__ import annotations

from hypothesis import strategies as st

Mutation = tuple[str, int, int]

MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 79), st.integers(0, 255)),
        st.tuples(st.just("flip"), st.integers(0, 79), st.integers(0, 7)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("grow"), st.integers(1, 30), st.integers(0, 255)),
    ),
    min_size=1,
    max_size=3,
)


def mutated(packet: bytes, mutations: list[Mutation], shortest: int) -> bytes:
    """The packet with octets changed; never shorter than an IP header (see test_raw_frames)."""
    data = bytearray(packet)
    for kind, at, value in mutations:
        if kind == "set" and at < len(data):
            data[at] = value
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << value
        elif kind == "cut":
            del data[max(shortest, len(data) - at) :]
        elif kind == "grow":
            data += bytes([value]) * at
    return bytes(data)
