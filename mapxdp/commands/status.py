# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp status``: the summary of a running CE on one page."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console

from mapxdp import health, snapshot
from mapxdp.views import status


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "status",
        help="show a running CE on one page",
        description="Addresses, ports in use, what crossed and what was dropped and why. The "
        "exit code is 1 if something that the CE needs is missing.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    with snapshot.watching(arguments.name) as take:
        now = take()
    found = health.check(now.record)
    if arguments.json:
        print(json.dumps(status.to_json(now, found), indent=2))
    else:
        Console().print(status.render(now, found))
    return int(any(entry.problem for entry in found))
