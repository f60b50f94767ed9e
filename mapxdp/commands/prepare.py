# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp prepare``: compile for an ``up`` that is to come."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mapxdp import ce


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "prepare",
        help="compile for an 'up' that is to come",
        description="Leaves the bytecode where 'up' looks for it: after an update of mapxdp or of "
        "the compiler, or before the first start. Nothing else is changed, no CE need run, and no "
        "interface be there.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--netns", metavar="NAME", help="the network namespace of the router")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    ce.prepare(arguments.config, arguments.netns, print)
