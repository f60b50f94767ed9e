#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Writes docs/counters.md from bpf/reasons.h and bpf/reasons.toml: tools/counters.py >
docs/counters.md.

A test says when that is due.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mapxdp.explanations import CLASSES, Explanation, explanations
from mapxdp.reasons import Reason

_HEAD = """\
# Counters

<!-- Made by tools/counters.py from bpf/reasons.h and bpf/reasons.toml; change them there. -->

Each packet ends in one of these reasons, and is counted under it, in each direction apart: packets
as they are on the wire (the pieces of a segmented one each), and bytes. `mapxdp status` shows those
that ever occurred in words, `mapxdp status --json` by name, with all the counts since the CE was
first brought up. `mapxdp explain REASON` says what is said [below](#causes-and-what-to-check).
Where on its way a packet meets which is in [packet flow](packet-flow.md).
"""


def page() -> str:
    """The whole file."""
    parts = [_HEAD]
    for reason_class, (title, words) in CLASSES.items():
        parts.append(f"\n## {title}\n\n{words}\n\n| name | meaning |\n|---|---|\n")
        parts.extend(
            f"| `{reason.name}` | {reason.text} |\n"
            for reason in Reason
            if reason.reason_class is reason_class
        )
    parts.append("\n## Causes, and what to check\n")
    for explanation in explanations().values():
        parts.extend(_section(explanation))
    return "".join(parts)


def _section(explanation: Explanation) -> Iterator[str]:
    yield f"\n### `{explanation.name}`\n\n{explanation.meaning}\n\n"
    yield from (f"* Cause: {line}\n" for line in explanation.causes)
    yield from (f"* Check: {line}\n" for line in explanation.check)


if __name__ == "__main__":
    sys.stdout.write(page())
