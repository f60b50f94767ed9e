# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The router around a CE, for packets of a capture: the hop that its kernel takes off, its clock.

What has no hop left is dropped; the kernel's "time exceeded" is not made here.
"""

from __future__ import annotations

from typing import Protocol

from mapxdp.software import hop
from mapxdp.software.ce import CustomerEdge
from mapxdp.software.verdict import Outcome, Refused

_FIRST_TICK = 1_000_000


class Path(Protocol):
    """A CE's datapath, BPF or software."""

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet on its way out."""

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet that came in."""


class CaptureClock:
    """A tick is a second of the capture's own time, which never goes back."""

    def __init__(self) -> None:
        self.tick = _FIRST_TICK
        self._offset: int | None = None

    def __call__(self) -> int:
        """The tick it is."""
        return self.tick

    def set(self, second: int) -> None:
        """It is that late for the packet at hand."""
        if self._offset is None:
            self._offset = _FIRST_TICK - second
        self.tick = max(self.tick, second + self._offset)


def upstream(path: Path, edge: CustomerEdge, packet: bytes) -> Outcome | None:
    """The kernel forwards before the CE sees the packet: without a hop left it never does.

    None then, unless ``edge`` says that it would not be forwarded anyway, multicast above all.
    """
    forwarded = hop.taken_off(packet)
    if forwarded is not None:
        return path.from_lan(forwarded)
    try:
        edge.upstream_destination(packet)
    except Refused as refused:
        return Outcome(refused.reason)
    return None


def downstream(path: Path, packet: bytes) -> Outcome | None:
    """The kernel forwards what the CE has made of the packet; None where it has no hop left."""
    outcome = path.from_wan(packet)
    forwarded = tuple(made for made in map(hop.taken_off, outcome.packets) if made is not None)
    if outcome.packets and not forwarded:
        return None
    return Outcome(outcome.reason, forwarded, outcome.answers)
