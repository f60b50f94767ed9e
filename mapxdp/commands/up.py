# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp up``: bring a CE up, or upgrade the running one in place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mapxdp import ce


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "up",
        help="bring a CE up, or upgrade the running one in place",
        description="Compiles, loads and attaches the datapath and returns; traffic then runs "
        "without any process. On a running CE it puts the new version and configuration in "
        "force without losing a packet or a mapping.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--netns", metavar="NAME", help="the network namespace of the router")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    made = ce.up(arguments.config, arguments.netns, print)
    print(f"{made.name} is up: mapxdp top {made.name}")
