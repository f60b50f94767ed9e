# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""RFC 4884: what follows a quote crosses with it, if the other protocol has a place for it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy_tools import HOST, PORT, from_host, from_server, new_ce, sole

from harness import errors
from harness.domains import domain
from mapxdp.model.domain import Mode
from mapxdp.software.ce import CustomerEdge

EXTENSION = errors.OBJECTS
MOST = 1280 - 40 - 8
UNREACHABLE4, TOO_BIG4, EXPIRED4, PROBLEM4 = (3, 1), (3, 4), (11, 0), (12, 0)
UNREACHABLE6, TOO_BIG6, EXPIRED6, PROBLEM6 = (1, 0), (2, 0), (3, 0), (4, 0)


def opened(mode: Mode, octets: int = 1400) -> tuple[CustomerEdge, bytes, bytes]:
    """A CE, a packet as it left, and one as it arrived."""
    ce = new_ce(mode)
    left = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=80) / bytes(octets)))))
    arrived = from_server(mode, UDP(sport=80, dport=PORT) / bytes(octets))
    return ce, left, sole(ce.from_wan(bytes(arrived)))


def up(ce: CustomerEdge, kind: tuple[int, int], body: bytes, word: int) -> bytes:
    made = sole(ce.from_lan(errors.from_lan(kind, body, word=word, source=HOST)))
    errors.assert_sound(made)
    return made


def down(ce: CustomerEdge, kind: tuple[int, int], body: bytes, word: int) -> bytes:
    made = sole(ce.from_wan(errors.from_wan(domain("map-t"), kind, body, word=word)))
    errors.assert_sound(made)
    return made


@pytest.mark.parametrize(("words", "units"), [(32, 19), (33, 19), (34, 20), (255, 130)])
@pytest.mark.parametrize("kind", [UNREACHABLE4, EXPIRED4])
def test_to_ipv6(kind: tuple[int, int], words: int, units: int) -> None:
    """In 64-bit words, and 20 octets longer; zeros fill the last word."""
    ce, _, arrived = opened(Mode.MAP_T)
    made = up(ce, kind, arrived[: words * 4] + EXTENSION, words << 16)
    assert made[44:48] == bytes([units, 0, 0, 0])
    longer = words * 4 + 20
    assert made[48 + longer :] == bytes(units * 8 - longer) + EXTENSION


@pytest.mark.parametrize(("units", "words"), [(16, 32), (19, 33), (20, 35)])
@pytest.mark.parametrize("kind", [UNREACHABLE6, EXPIRED6])
def test_to_ipv4(kind: tuple[int, int], units: int, words: int) -> None:
    """In 32-bit words; at least 128 octets come before an extension."""
    ce, left, _ = opened(Mode.MAP_T)
    made = down(ce, kind, left[: units * 8] + EXTENSION, units << 24)
    assert made[24:28] == bytes([0, words, 0, 0])
    shorter = units * 8 - 20
    assert made[28 + shorter :] == bytes(words * 4 - shorter) + EXTENSION


@pytest.mark.parametrize("fits", [True, False])
def test_an_extension_that_fits_just(fits: bool) -> None:
    """Else it is left out, and no length is told, as what is quoted is all there is."""
    ce, left, arrived = opened(Mode.MAP_T)
    quoted = 255 * 4
    extension = bytes(MOST - (quoted + 20) + 4 * (not fits))
    made = up(ce, UNREACHABLE4, arrived[:quoted] + extension, 255 << 16)
    assert len(made) == (1280 if fits else 48 + quoted + 20)
    assert made[44] == (130 if fits else 0)
    quoted = 40 * 8
    extension = bytes(548 - (quoted - 20) + 4 * (not fits))
    made = down(ce, UNREACHABLE6, left[:quoted] + extension, 40 << 24)
    assert len(made) == (576 if fits else 28 + quoted - 20)
    assert made[25] == (75 if fits else 0)


def test_where_the_other_protocol_has_no_place_for_it() -> None:
    """ICMPv6 Packet Too Big and Parameter Problem have all four octets in use."""
    ce, left, arrived = opened(Mode.MAP_T)
    for kind, word, expected in [
        (TOO_BIG4, 32 << 16 | 1400, (1420).to_bytes(4, "big")),
        (PROBLEM4, 9 << 24 | 32 << 16, bytes([0, 0, 0, 6])),
    ]:
        made = up(ce, kind, arrived[:128] + EXTENSION, word)
        assert made[44:48] == expected
        assert len(made) == 48 + 128 + 20
    for kind, word, expected in [
        (TOO_BIG6, 1400, bytes([0, 0]) + (1380).to_bytes(2, "big")),
        (PROBLEM6, 7, bytes([8, 0, 0, 0])),
    ]:
        made = down(ce, kind, left[:200] + EXTENSION, word)
        assert made[24:28] == expected
        assert len(made) == 28 + 200 - 20 + len(EXTENSION)  # nobody says that it is one


def test_a_length_that_says_nothing() -> None:
    """More than there is, or all of it: no extension."""
    ce, left, arrived = opened(Mode.MAP_T)
    for words in (32, 33, 255):
        assert up(ce, EXPIRED4, arrived[:128], words << 16)[44:48] == bytes(4)
    for units in (16, 17, 255):
        assert down(ce, EXPIRED6, left[:128], units << 24)[24:28] == bytes(4)


def test_through_a_tunnel_it_stays_as_it_is() -> None:
    ce, left, arrived = opened(Mode.MAP_E)
    made = up(ce, EXPIRED4, arrived[:128] + EXTENSION, 0xAA20_BBCC)
    assert made[64:68] == bytes.fromhex("aa20bbcc")
    assert made[68 + 128 :] == EXTENSION
    back = errors.in_tunnel(domain("map-e"), EXPIRED4, left[40:168] + EXTENSION, word=32 << 16)
    made = sole(ce.from_wan(back))
    errors.assert_sound(made)
    assert made[24:28] == bytes([0, 32, 0, 0])
    assert made[28 + 128 :] == EXTENSION
    assert IP(made[28:]).src == HOST
