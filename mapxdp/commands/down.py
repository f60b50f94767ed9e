# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp down``: take a CE down and undo what ``up`` changed."""

from __future__ import annotations

import argparse
from typing import Any

from mapxdp import ce, snapshot


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "down",
        help="take a CE down and undo what 'up' changed",
        description="Detaches the datapath, removes its route, address and settings, and its "
        "port mappings. Without a name: the only CE that runs.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    name = snapshot.only_or_named(None) if arguments.name is None else arguments.name
    ce.down(name, print)
