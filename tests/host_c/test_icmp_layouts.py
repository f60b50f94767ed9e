# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What fits into ICMP errors, and what becomes of those about a tunnel: the C text against the
vectors and the software path."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.packets import internet_checksum
from mapxdp.software.icmp_errors import require_tunnel_error
from mapxdp.software.icmp_message import (
    HEADER,
    ICMP_LENGTH,
    ICMPV6_LENGTH,
    LONGEST_ICMP,
    LONGEST_ICMPV6,
    IcmpMessage,
    LengthField,
    composed,
)
from mapxdp.software.rfc7915_icmp import Kind
from mapxdp.software.verdict import Refused
from vectors import Vector, VectorsOf

VECTORS = VectorsOf()

repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=300)


class Layout(ctypes.Structure):
    """struct error_layout."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("payload", "padding", "objects", "length")]


@VECTORS.each("tunnel_icmp")
def test_errors_about_the_tunnel(vector: Vector, errors_c: ctypes.CDLL) -> None:
    given_, expected = vector["in"], vector["out"]
    made = told(
        Kind(given_["icmp6_type"], given_["icmp6_code"]),
        given_["mtu"] or 0,
        errors_c,
        dont_fragment=bool(given_["inner_df"]),
        is_limit=given_["icmp6_type"] == 4,
    )
    if "action" in expected:
        assert made is None
    else:
        assert made is not None
        assert made[20:22] == bytes([expected["type"], expected["code"]])
        assert int.from_bytes(made[24:28], "big") == expected.get("mtu", 0)
        assert internet_checksum(made[:20]) == 0


def told(
    kind: Kind, word: int, errors_c: ctypes.CDLL, *, dont_fragment: bool, is_limit: bool
) -> bytes | None:
    """The error for the sender of the packet in the tunnel, as far as it quotes nothing."""
    made = ctypes.create_string_buffer(28)
    icmp = bytes(kind) + bytes(2) + word.to_bytes(4, "big")
    inner = bytes([0x45, 0, 0, 40, 0, 0, 0x40 if dont_fragment else 0]) + bytes(13)
    return made.raw if errors_c.told(icmp, inner, is_limit, 1500, made) else None


def test_which_errors_about_the_tunnel_say_something(errors_c: ctypes.CDLL) -> None:
    for type_and_code in range(1 << 16):
        kind = Kind(type_and_code >> 8, type_and_code & 0xFF)
        try:
            require_tunnel_error(kind)
            expected = True
        except Refused:
            expected = False
        made = told(kind, 1400, errors_c, dont_fragment=True, is_limit=True)
        assert (made is not None) == expected, kind


@pytest.mark.parametrize("mtu", [1279, 1280, 1499, 1500, 65535, 1 << 20])
def test_the_mtu_inside_the_tunnel(mtu: int, errors_c: ctypes.CDLL) -> None:
    made = told(Kind(2, 0), mtu, errors_c, dont_fragment=True, is_limit=False)
    if mtu < 1280:
        assert made is None
    else:
        assert made is not None
        assert int.from_bytes(made[24:28], "big") == min(mtu, 1500) - 40


#: Kind, length field and longest message of each family's time exceeded.
FAMILIES: dict[bool, tuple[Kind, LengthField, int]] = {
    True: (Kind(3, 0), ICMPV6_LENGTH, LONGEST_ICMPV6),
    False: (Kind(11, 0), ICMP_LENGTH, LONGEST_ICMP),
}


@repeatable
@given(
    to_icmpv6=st.booleans(),
    payload=st.integers(8, 2000),
    objects=st.integers(0, 1400),
)
def test_what_fits(to_icmpv6: bool, payload: int, objects: int, errors_c: ctypes.CDLL) -> None:
    kind, field, longest = FAMILIES[to_icmpv6]
    headers = 40 if to_icmpv6 else 20
    layout = Layout()
    errors_c.lay_out(headers, payload, objects, to_icmpv6, ctypes.byref(layout))
    quote, extensions = b"q" * (headers + payload), b"x" * objects
    made = (
        bytes(kind) + bytes(6) + quote[: headers + layout.payload] + bytes(layout.padding)
    ) + extensions[: layout.objects]
    made = made[: field.at] + bytes([layout.length]) + made[field.at + 1 :]
    assert made == composed(kind, bytes(4), quote, extensions, field, longest)
    assert len(made) <= longest


@pytest.mark.parametrize("to_icmpv6", FAMILIES)
def test_where_a_quote_ends(to_icmpv6: bool, errors_c: ctypes.CDLL) -> None:
    kind, field, _ = FAMILIES[to_icmpv6]
    for length in range(256):
        for body in (0, 8, 127, 128, 129, length * field.unit, length * field.unit + 1, 1500):
            message = bytearray(bytes(kind) + bytes(6) + bytes(body))
            message[field.at] = length
            quote, _ = IcmpMessage(bytes(message)).parts(field)
            assert errors_c.quoted(length * field.unit, body) == len(quote)
            assert len(message) - HEADER == body
