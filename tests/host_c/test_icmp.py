# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The C tables of ICMP and ICMPv6 against an independent implementation's (tests/vectors)."""

from __future__ import annotations

import ctypes

import pytest

from mapxdp.software import rfc7915_icmp
from mapxdp.software.rfc7915_icmp import Kind
from mapxdp.software.verdict import Refused
from vectors import Vector, VectorsOf

VECTORS = VectorsOf()
NO_KIND, NO_POINTER = 0xFFFF, 0xFF
ECHO = {(0, 0), (8, 0), (128, 0), (129, 0)}  # which are no errors


@VECTORS.each("icmp46", "icmp64")
def test_type_and_code(vector: Vector, host_c: ctypes.CDLL) -> None:
    translate = host_c.kind_46 if vector["kind"] == "icmp46" else host_c.kind_64
    given, expected = vector["in"], vector["out"]
    kind = translate(given["type"], given["code"])
    if expected.get("action") == "drop" or (given["type"], given["code"]) in ECHO:
        assert kind == NO_KIND
    else:
        assert kind == expected["type"] << 8 | expected["code"]


def test_every_type_and_code(host_c: ctypes.CDLL) -> None:
    """All 65536, against the software path."""
    for c_function, python in (
        (host_c.kind_46, rfc7915_icmp.icmpv6_kind),
        (host_c.kind_64, rfc7915_icmp.icmp_kind),
    ):
        for number in range(1 << 16):
            kind = Kind(*divmod(number, 256))
            try:
                expected = python(kind)
            except Refused:
                assert c_function(*kind) == NO_KIND
            else:
                assert c_function(*kind) == expected.type << 8 | expected.code


@VECTORS.each("icmp46_ptr", "icmp64_ptr")
def test_pointers(vector: Vector, host_c: ctypes.CDLL) -> None:
    translate = host_c.pointer_46 if vector["kind"] == "icmp46_ptr" else host_c.pointer_64
    for pointer in [*range(256), 1 << 16, (1 << 32) - 1]:
        expected = vector["out"].get(str(pointer))
        assert translate(ctypes.c_uint32(pointer)) == (NO_POINTER if expected is None else expected)


@VECTORS.each("ptb46")
def test_the_mtu_of_a_packet_too_big(vector: Vector, host_c: ctypes.CDLL) -> None:
    given = vector["in"]
    made = host_c.mtu_46(
        given["mtu4"],
        given["returned_total_length"] or 0,
        given["mtu_v6_nexthop"],
        given["mtu_v4_nexthop"],
    )
    assert made == vector["out"]["mtu6"]


@VECTORS.each("ptb64")
def test_the_mtu_of_fragmentation_needed(vector: Vector, host_c: ctypes.CDLL) -> None:
    given = vector["in"]
    less = 28 if given["orig_has_frag_hdr"] else 20
    made = host_c.mtu_64(given["mtu6"], less, given["mtu_v6_nexthop"], given["mtu_v4_nexthop"])
    assert made == vector["out"]["mtu4"]


@pytest.mark.parametrize("reported", [0, 1, 20, 68, 1259, 1260, 1279, 1280, 1500, 65535])
def test_mtus_are_those_of_the_software_path(reported: int, host_c: ctypes.CDLL) -> None:
    for length in (0, 1492, 1493, 2002, 2003, 32001, 65535):
        for mtu in (1280, 1492, 9000):
            assert host_c.mtu_46(reported, length, mtu, mtu) == rfc7915_icmp.too_big_mtu(
                reported, length, mtu, mtu
            )
            for less in (20, 28):
                expected = rfc7915_icmp.fragmentation_needed_mtu(
                    reported, mtu, mtu, fragmented=less == 28
                )
                assert host_c.mtu_64(reported, less, mtu, mtu) == expected


@pytest.mark.parametrize(("headers", "unit", "most"), [(40, 8, 1232), (48, 8, 1232), (20, 4, 548)])
def test_every_layout_fits(headers: int, unit: int, most: int, host_c: ctypes.CDLL) -> None:
    out = (ctypes.c_uint32 * 4)()
    for payload in [*range(8, 140), *range(most - headers - 40, most - headers + 9), 2000]:
        for objects in (0, 1, 12, 100, most - 128, most - 127, 3000):
            host_c.lay_out(headers, payload, objects, unit, most, out)
            kept, padding, moved, length = out
            quote = headers + kept + padding
            assert quote + moved <= most
            if moved:
                assert (kept, moved) == (payload, objects)
                assert quote == length * unit >= 128
                assert length < 256
                assert padding < 128
            else:
                assert (kept, padding, length) == (min(payload, most - headers), 0, 0)
