# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp flush``: have the kernel, and its firewall, see every connection again."""

from __future__ import annotations

import argparse
from typing import Any

from mapxdp import host, record, snapshot
from mapxdp.config import parse
from mapxdp.datapath import shortcuts
from mapxdp.errors import StateError


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "flush",
        help="have the firewall see every accelerated connection again",
        description="The next packet of each accelerated connection goes through the kernel. What "
        "its firewall drops by then is not accelerated any more. Port mappings stay.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    host.require_root()
    name = snapshot.only_or_named(arguments.name)
    running = record.load(name)
    if running is None:
        raise StateError(f"{name} is not running", "mapxdp status shows what is")
    config = parse(running.config_text, running.config_path)
    with shortcuts.opened(name, config, running.accelerator != "none") as maps:
        ended = shortcuts.end_all(maps)
    print(f"{name}: the kernel sees the next packet of {ended} accelerated directions")
