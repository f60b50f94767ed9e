# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections that may pass the kernel by, once it has let them through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mapxdp.errors import InvalidValue

#: Seconds.
SHORTEST_REVALIDATE, LONGEST_REVALIDATE = 1, 600
FEWEST_CONNECTIONS, MOST_CONNECTIONS = 256, 1 << 20


class AcceleratorHook(StrEnum):
    """Where packets take their shortcut: in the driver, or at TC ingress; or nowhere."""

    XDP = "xdp"
    TC = "tc"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AcceleratorPolicy:
    """``revalidate``: seconds after which the kernel, and so its firewall, sees a packet of each
    accelerated connection again. ``connections`` that can be accelerated at a time; a power of two.
    """

    revalidate: int = 10
    connections: int = 16384

    def __post_init__(self) -> None:
        if not SHORTEST_REVALIDATE <= self.revalidate <= LONGEST_REVALIDATE:
            raise InvalidValue(
                "accelerator.revalidate",
                self.revalidate,
                f"it is from {SHORTEST_REVALIDATE} to {LONGEST_REVALIDATE} seconds",
                "leave it out: it is then 10",
            )
        is_power = self.connections & (self.connections - 1) == 0
        if not is_power or not FEWEST_CONNECTIONS <= self.connections <= MOST_CONNECTIONS:
            raise InvalidValue(
                "accelerator.connections",
                self.connections,
                f"it is a power of two from {FEWEST_CONNECTIONS} to {MOST_CONNECTIONS}",
                "leave it out: it is then 16384",
            )
