# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The port-set algorithm (GMA) of RFC 7597 section 5.1.

::

      0                   1
      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
     +-----------+-----------+-------+
     |     A     |   PSID    |   j   |
     +-----------+-----------+-------+
     |  a bits   |  k bits   |m bits |

A is at least 1 when a > 0: the ports below 2^(16-a) are excluded and belong to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mapxdp.errors import InvalidValue

PORT_BITS = 16
PORT_COUNT = 1 << PORT_BITS


class PortRange(NamedTuple):
    """Consecutive ports, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PortParameters:
    """PSID offset (a) and PSID length (k): how one IPv4 address is cut into port sets."""

    psid_offset: int
    psid_length: int

    def __post_init__(self) -> None:
        _require_range("psid_offset", self.psid_offset, 15, "RFC 7598 section 4.5 allows 0 to 15")
        _require_range("psid_length", self.psid_length, 16, "a PSID has 0 to 16 bits")
        if self.psid_offset + self.psid_length > PORT_BITS:
            raise InvalidValue(
                "psid_offset",
                self.psid_offset,
                f"psid_offset + PSID length {self.psid_length} exceed the 16 bits of a port "
                "(RFC 7597 section 5.1)",
                f"use a psid_offset of at most {PORT_BITS - self.psid_length}, or fewer EA bits",
            )

    @property
    def contiguous_bits(self) -> int:
        """m: the ports of one range are 2^m."""
        return PORT_BITS - self.psid_offset - self.psid_length

    @property
    def sharing_ratio(self) -> int:
        """How many CEs share one IPv4 address."""
        return 1 << self.psid_length

    @property
    def first_block(self) -> int:
        """The smallest A: 1, or 0 where a = 0."""
        return 1 if self.psid_offset else 0

    def psid_of(self, port: int) -> int | None:
        """The PSID whose set holds ``port``; None for an excluded port, which has no owner."""
        if port >> (PORT_BITS - self.psid_offset) < self.first_block:
            return None
        return (port >> self.contiguous_bits) & (self.sharing_ratio - 1)


@dataclass(frozen=True, slots=True)
class PortSet:
    """The ports of one CE. Iterates over them in rising order; ``len`` counts them."""

    parameters: PortParameters
    psid: int

    def __post_init__(self) -> None:
        if not 0 <= self.psid < self.parameters.sharing_ratio:
            raise InvalidValue(
                "psid",
                self.psid,
                f"it does not fit a PSID length of {self.parameters.psid_length} bits",
                f"use 0 to {self.parameters.sharing_ratio - 1}, "
                "or correct psid_length (the PSID is written right-aligned here)",
            )

    @classmethod
    def every_port(cls) -> PortSet:
        """The whole port space: what an unshared address may use (RFC 7597 section 4)."""
        return cls(PortParameters(psid_offset=0, psid_length=0), psid=0)

    def __contains__(self, port: object) -> bool:
        return (
            isinstance(port, int)
            and 0 <= port < PORT_COUNT
            and self.parameters.psid_of(port) == self.psid
        )

    def __len__(self) -> int:
        p = self.parameters
        return ((1 << p.psid_offset) - p.first_block) << p.contiguous_bits

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges():
            yield from range(first, last + 1)

    def ranges(self) -> tuple[PortRange, ...]:
        """One range for each A, in rising order."""
        p = self.parameters
        size = 1 << p.contiguous_bits
        firsts = (
            a << (PORT_BITS - p.psid_offset) | self.psid << p.contiguous_bits
            for a in range(p.first_block, 1 << p.psid_offset)
        )
        return tuple(PortRange(first, first + size - 1) for first in firsts)

    def port_at(self, index: int) -> int:
        """The ``index``-th port of the set in rising order; IndexError outside it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        p = self.parameters
        block, low = divmod(index, 1 << p.contiguous_bits)
        return (
            (block + p.first_block) << (PORT_BITS - p.psid_offset)
            | self.psid << p.contiguous_bits
            | low
        )

    def index_of(self, port: int) -> int:
        """The inverse of ``port_at``; ValueError for a port outside the set."""
        if port not in self:
            raise ValueError(f"port {port} is not in the set")
        p = self.parameters
        block = (port >> (PORT_BITS - p.psid_offset)) - p.first_block
        return block << p.contiguous_bits | port & ((1 << p.contiguous_bits) - 1)


def _require_range(field: str, value: int, maximum: int, rule: str) -> None:
    if not 0 <= value <= maximum:
        raise InvalidValue(field, value, rule, f"use 0 to {maximum}")
