# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TTL and Hop Limit of a packet that is forwarded once more or less than it should be."""

from __future__ import annotations

from mapxdp.software import checksum

_TTL_OFFSET = 8
_HOP_LIMIT_OFFSET = 7
_MOST = 255


def given_back(packet: bytes) -> bytes:
    """The packet with one hop more, as if one router had not been there."""
    if packet[0] >> 4 == 6:
        return _replaced(packet, _HOP_LIMIT_OFFSET, min(_MOST, packet[_HOP_LIMIT_OFFSET] + 1))
    changed = _replaced(packet, _TTL_OFFSET, min(_MOST, packet[_TTL_OFFSET] + 1))
    field = int.from_bytes(packet[10:12], "big")
    field = checksum.updated(field, packet[8:10], changed[8:10])
    return changed[:10] + field.to_bytes(2, "big") + changed[12:]


def _replaced(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]
