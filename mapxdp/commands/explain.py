# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp explain``: what a reason means, where it comes from, and what to check."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from mapxdp.explanations import explanation, explanations
from mapxdp.views import reasons


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "explain",
        help="say what a reason means, and what to check",
        description="Reasons are what 'status', 'top' and 'translate' say of packets. Without one, "
        "lists them all.",
    )
    parser.add_argument("reason", nargs="?", metavar="REASON", help="for example NO_MAPPING")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.reason is None:
        Console().print(reasons.render_list(list(explanations().values())))
    else:
        Console().print(reasons.render(explanation(arguments.reason)))
