# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp reload``: put a changed configuration in force."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mapxdp import ce


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "reload",
        help="put a changed configuration in force",
        description="A configuration with an error changes nothing: what runs keeps running.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--netns", metavar="NAME", help="the network namespace of the router")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    made = ce.reload(arguments.config, arguments.netns, print)
    print(f"{made.name} runs with {arguments.config}")
