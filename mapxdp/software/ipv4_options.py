# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4 options (RFC 791 section 3.1) before translation, which leaves them out.

A source route that has not come to its end forbids it (RFC 7915 section 4.1).
"""

from __future__ import annotations

from mapxdp.reasons import Reason
from mapxdp.software import checksum
from mapxdp.software.verdict import Refused

_HEADER = 20
_END, _NOP = 0, 1
_ROUTES = (131, 137)  # loose and strict
_SHORTEST, _SHORTEST_ROUTE = 2, 3


def left_out(packet: bytes) -> bytes:
    """The packet, whose header is sound, without options; its checksum as right as it was.

    Raises Refused for a list that is broken, and for a route that has a router to go to.
    """
    options = packet[_HEADER : (packet[0] & 0xF) * 4]
    if not options:
        return packet
    _check(options)
    length = int.from_bytes(packet[2:4], "big") - len(options)
    start = bytes([0x45, packet[1]]) + length.to_bytes(2, "big")
    field = int.from_bytes(packet[10:12], "big")
    field = checksum.updated(field, packet[:4] + options, start)
    rest = packet[_HEADER + len(options) :]
    return start + packet[4:10] + field.to_bytes(2, "big") + packet[12:_HEADER] + rest


def _check(options: bytes) -> None:
    while options and options[0] != _END:
        if options[0] == _NOP:
            options = options[1:]
            continue
        is_route = options[0] in _ROUTES
        length = options[1] if len(options) > 1 else 0
        if not (_SHORTEST_ROUTE if is_route else _SHORTEST) <= length <= len(options):
            raise Refused(Reason.MALFORMED_IPV4)
        if is_route and options[2] <= length:
            raise Refused(Reason.SOURCE_ROUTE)
        options = options[length:]
