# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp top``: the live view of a running CE."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from mapxdp import snapshot
from mapxdp.errors import refusals
from mapxdp.views import live, top


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "top",
        help="watch a running CE",
        description="Rates, ports in use, drops by reason and the busiest hosts, once a second. "
        "q quits.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="print one frame (takes a second)")
    what.add_argument("--json", action="store_true", help="one frame as one JSON object")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the frame into FILE")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console = Console(record=arguments.svg is not None)
    with snapshot.watching(arguments.name) as take:
        if arguments.json:
            frame = live.one_frame(take)
            print(json.dumps(top.to_json(frame), indent=2))
        elif arguments.once or not console.is_terminal:
            frame = live.one_frame(take)
            console.print(frame)
        else:
            frame = live.run(take, console)
    if arguments.svg is not None:
        draw(frame, arguments.svg)


def draw(frame: top.Top, path: Path) -> None:
    """Draws a frame of 80 by 24 characters."""
    console = Console(width=80, height=24, record=True, file=io.StringIO())
    console.print(frame)
    with refusals(f"the drawing {path} cannot be written", "name another file"):
        console.save_svg(str(path), title="mapxdp top")
