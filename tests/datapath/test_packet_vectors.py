# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packets of an independent implementation (tests/vectors) through the BPF programs.

NAPT44 is off: the vectors show packets with the CE's own address and port. They count one hop
in the translator, which the kernel takes off here: so do these tests, before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import packets
from harness.ce import LoadedCes
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.reasons import Reason

_VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "map_vectors.json").read_text(encoding="utf-8")
)["vectors"]
_MODES = {"pkt46": "map-t", "pkt64": "map-t", "encap": "map-e", "decap": "map-e"}
VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector for vector in _VECTORS if vector["kind"] in _MODES
}

#: What is not handled yet is refused for its reason.
REFUSED = {
    "pkt-mapt-frag-first": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-last": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-udp0": Reason.FRAGMENT_INVALID,
    "pkt-mapt-frag-down": Reason.FRAGMENT_INVALID,
}


def one_hop_further(packet: bytes, mode: str) -> bytes:
    """As the kernel passes it on: TTL of IPv4; of MAP-T's IPv6 the Hop Limit."""
    if packet[0] >> 4 == 6:
        inner = 40 + (8 if packet[6] == 60 else 0)  # behind the Tunnel Encapsulation Limit
        at = 7 if mode == "map-t" else inner + 8
        changed = packet[:at] + bytes([packet[at] - 1]) + packet[at + 1 :]
        return changed if mode == "map-t" else changed[:inner] + with_checksum(changed[inner:])
    return with_checksum(packet[:8] + bytes([packet[8] - 1]) + packet[9:])


def with_checksum(packet: bytes) -> bytes:
    header = packet[:10] + b"\0\0" + packet[12:20]
    return header[:10] + packets.internet_checksum(header).to_bytes(2, "big") + packet[10 + 2 :]


def comparable(packet: bytes) -> bytes:
    if packet[0] >> 4 == 6:
        return packet
    assert packets.internet_checksum(packet[:20]) == 0
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str, loaded_ces: LoadedCes) -> None:
    vector = VECTORS[name]
    mode = _MODES[vector["kind"]]
    ce = loaded_ces.example(mode, napt44=Napt44Kind.NONE, mss=None)
    packet = one_hop_further(bytes.fromhex(vector["in"]["packet"]), mode)
    is_upstream = vector["kind"] in ("pkt46", "encap")
    outcome = (ce.from_lan if is_upstream else ce.from_wan)(packet)
    if name in REFUSED:
        assert outcome.reason is REFUSED[name]
        return
    expected = bytes.fromhex(vector["out"]["packet"])
    assert outcome.reason is Reason.TRANSLATED
    assert comparable(outcome.packets[0]) == comparable(expected)


def test_every_vector_is_one_or_the_other() -> None:
    assert set(REFUSED) < set(VECTORS)
    assert len(VECTORS) == sum(vector["kind"] in _MODES for vector in _VECTORS) == 15
