# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The kernel's connections, as far as NAT has to forget some of them.

What a connection's first packet met is what all of them get: rules that come later do not
count for it, and as long as its packets come it does not end.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

_PROTOCOLS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP)
_DIRECTIONS = ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet of a connection before any NAT, from one end or the other. ``port`` is the one
    it is sent to; ICMP: the identifier."""

    source: IPv4Address
    destination: IPv4Address
    port: int


Judgement = Callable[[Arrival], bool]


def forget(is_wrong: Judgement) -> int:
    """Ends the connections of which packets arrive that are wrong; how many.

    OSError if it cannot.
    """
    from pyroute2 import NFCTSocket
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

    forgotten = 0
    try:
        with NFCTSocket() as netlink:
            for entry in list(netlink.dump()):
                if entry["nfgen_family"] != socket.AF_INET:
                    continue
                original, reply = (
                    NFCTAttrTuple.from_netlink(socket.AF_INET, entry.get_attr(direction))
                    for direction in _DIRECTIONS
                )
                if original.proto not in _PROTOCOLS:
                    continue
                if is_wrong(_arrival(original)) or is_wrong(_arrival(reply)):
                    forgotten += _delete(netlink, original)
    except NetlinkError as error:
        raise OSError(error.code, f"conntrack: {error}") from error
    return forgotten


def _arrival(one_way: Any) -> Arrival:
    is_icmp = one_way.proto == socket.IPPROTO_ICMP
    return Arrival(
        source=IPv4Address(one_way.saddr),
        destination=IPv4Address(one_way.daddr),
        port=one_way.icmp_id if is_icmp else one_way.dport,
    )


def _delete(netlink: Any, original: Any) -> bool:
    """False if it has ended meanwhile."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        netlink.entry("del", tuple_orig=original)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise
        return False
    return True
