# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The Internet checksum (RFC 1071), computed and brought up to date (RFC 1624)."""

from __future__ import annotations


def ones_complement_sum(data: bytes) -> int:
    """The sum of the 16-bit words of ``data`` (padded with a zero octet), end-around carried.

    A big number is congruent to the sum of its 16-bit digits modulo 65535; only where both
    are 0 modulo 65535 does it matter that a sum of something is never 0.
    """
    if len(data) % 2:
        data += b"\0"
    number = int.from_bytes(data, "big")
    return (number - 1) % 0xFFFF + 1 if number else 0


def checksum(data: bytes) -> int:
    """The checksum field for ``data``, in which that field is zero."""
    return ~ones_complement_sum(data) & 0xFFFF


def updated(field: int, old: bytes, new: bytes) -> int:
    """The checksum field after the words ``old`` of its data became ``new``.

    A field that was wrong stays wrong by the same amount.
    """
    total = (~field & 0xFFFF) + (~ones_complement_sum(old) & 0xFFFF) + ones_complement_sum(new)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
