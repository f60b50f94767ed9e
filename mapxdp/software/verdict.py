# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What became of a packet."""

from __future__ import annotations

from dataclasses import dataclass

from mapxdp.reasons import Reason, ReasonClass


class Refused(Exception):
    """Raised while a packet is looked at: it ends here, for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one packet, its reason, and the packets that leave instead.

    ``answers`` are packets for the sender of one that was dropped.
    """

    reason: Reason
    packets: tuple[bytes, ...] = ()
    answers: tuple[bytes, ...] = ()

    @property
    def verdict(self) -> ReasonClass:
        """TRANSLATED, PASS (left alone) or DROP."""
        return self.reason.reason_class
