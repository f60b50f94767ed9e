# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TTL and Hop Limit of a packet that is forwarded once more or less than it should be."""

from __future__ import annotations

from collections.abc import Callable

from mapxdp.software import checksum

_TTL_OFFSET = 8
_HOP_LIMIT_OFFSET = 7
_MOST = 255
_SHORTEST = 20


def given_back(packet: bytes) -> bytes:
    """The packet with one hop more, as if one router had not been there."""
    return _with_hops(packet, lambda hops: min(_MOST, hops + 1))


def taken_off(packet: bytes) -> bytes | None:
    """The IPv4 packet as a router passes it on; None where its last hop was the one before.

    What has no whole IPv4 header is returned as it is: others have a reason for it.
    """
    if len(packet) < _SHORTEST or packet[0] >> 4 != 4:
        return packet
    if packet[_TTL_OFFSET] <= 1:
        return None
    return _with_hops(packet, lambda hops: hops - 1)


def _with_hops(packet: bytes, change: Callable[[int], int]) -> bytes:
    if packet[0] >> 4 == 6:
        return _replaced(packet, _HOP_LIMIT_OFFSET, change(packet[_HOP_LIMIT_OFFSET]))
    changed = _replaced(packet, _TTL_OFFSET, change(packet[_TTL_OFFSET]))
    field = int.from_bytes(packet[10:12], "big")
    field = checksum.updated(field, packet[8:10], changed[8:10])
    return changed[:10] + field.to_bytes(2, "big") + changed[12:]


def _replaced(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]
