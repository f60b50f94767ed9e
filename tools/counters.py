#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Writes docs/counters.md from bpf/reasons.h: tools/counters.py > docs/counters.md.

A test says when that is due.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mapxdp.reasons import Reason, ReasonClass

_HEAD = """\
# Counters

<!-- Made by tools/counters.py from bpf/reasons.h; change it there. -->

Each packet ends in one of these reasons, and is counted under it, in each direction apart: packets
as they are on the wire (the pieces of a segmented one each), and bytes. `mapxdp status` shows those
that ever occurred in words, `mapxdp status --json` by name, with all the counts since the CE was
first brought up. Where on its way a packet meets which is in [packet flow](packet-flow.md).
"""

_CLASSES = {
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


def page() -> str:
    """The whole file."""
    parts = [_HEAD]
    for reason_class, (title, words) in _CLASSES.items():
        parts.append(f"\n## {title}\n\n{words}\n\n| name | meaning |\n|---|---|\n")
        parts.extend(
            f"| `{reason.name}` | {reason.text} |\n"
            for reason in Reason
            if reason.reason_class is reason_class
        )
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
