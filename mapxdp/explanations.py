# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What each reason means to whoever meets it: ``bpf/reasons.toml``, beside the list of them."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache

from mapxdp import bpf_source
from mapxdp.errors import InvalidValue
from mapxdp.reasons import Reason, ReasonClass

CLASSES = {
    ReasonClass.TRANSLATED: ("Crossed", "The packet left on the other side."),
    ReasonClass.PASS: (
        "Passed",
        "Not ours: left to the kernel, untouched. Nothing is wrong; a router's own IPv6 ends here.",
    ),
    ReasonClass.DROP: ("Dropped", "Ours, and unacceptable."),
    ReasonClass.EVENT: (
        "Events",
        "No verdicts: what happened on the way, counted beside the packet's reason.",
    ),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """``reason`` is None for what is no reason of the datapath."""

    name: str
    reason: Reason | None
    meaning: str
    causes: tuple[str, ...]
    check: tuple[str, ...]

    @property
    def heading(self) -> str:
        """What class it is of, in words."""
        if self.reason is None:
            return "Dropped by the router's kernel."
        title, words = CLASSES[self.reason.reason_class]
        return f"{title}: {words[0].lower()}{words[1:]}"


@cache
def explanations() -> dict[str, Explanation]:
    """By name, in the order of the list."""
    reasons = {reason.name: reason for reason in Reason}
    return {
        name: Explanation(
            name,
            reasons.get(name),
            entry["meaning"],
            tuple(entry["causes"]),
            tuple(entry["check"]),
        )
        for name, entry in tomllib.loads(bpf_source.read("reasons.toml")).items()
    }


def explanation(name: str) -> Explanation:
    """Of a reason; InvalidValue with those of a similar name where there is none."""
    known = explanations()
    wanted = name.strip().upper().replace("-", "_").replace(" ", "_")
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=4, cutoff=0.5)
    parts = set(wanted.split("_"))
    near += [other for other in known if parts & set(other.split("_")) and other not in near]
    raise InvalidValue(
        "reason",
        name,
        "there is none of that name",
        f"perhaps {', '.join(near[:4])}" if near else "'mapxdp explain' lists them all",
    )
