# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What became of a packet."""

from __future__ import annotations

from dataclasses import dataclass

from mapxdp.reasons import Reason, ReasonClass


class Refused(Exception):
    """Raised while a packet is looked at: it ends here, for this reason.

    ``about`` is what it had become by then, if not what it was.
    """

    def __init__(self, reason: Reason, about: bytes | None = None) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.about = about


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one packet, its reason, and the packets that leave instead.

    ``answers`` go to whoever sent a packet that was dropped.
    """

    reason: Reason
    packets: tuple[bytes, ...] = ()
    answers: tuple[bytes, ...] = ()

    @property
    def verdict(self) -> ReasonClass:
        """TRANSLATED, PASS (left alone) or DROP."""
        return self.reason.reason_class
