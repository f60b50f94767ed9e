# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp sessions``: the ports and flows in use, and ending some of them."""

from __future__ import annotations

import argparse
import json
from ipaddress import IPv4Address
from typing import Any

from rich.console import Console

from mapxdp import sessions, snapshot
from mapxdp.errors import InvalidValue
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import MappingKind
from mapxdp.sessions import Selection, SortKey
from mapxdp.views import sessions as view

_PROTOCOLS = [protocol.name.lower() for protocol in Protocol]
_WIDTH_OF_FILES = 120


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "sessions",
        help="list the ports and flows in use, or end some",
        description="One line for each port that an endpoint owns and each flow on a shared "
        "port. 'left' is the silence after which it expires.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    parser.add_argument("--host", type=IPv4Address, metavar="A", help="of this LAN host")
    parser.add_argument("--protocol", choices=_PROTOCOLS, help="of this protocol")
    parser.add_argument("--port", type=int, metavar="P", help="on this port of the set")
    parser.add_argument("--kind", choices=[kind.value for kind in MappingKind])
    parser.add_argument("--all", action="store_true", help="expired ones too")
    parser.add_argument(
        "--sort", choices=[key.value for key in SortKey], default=SortKey.IDLE.value
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N only")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument(
        "--delete", action="store_true", help="end those that are listed (forwards excepted)"
    )
    parser.add_argument(
        "--all-hosts", action="store_true", help="with --delete and nothing that narrows it down"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    selection = selected(arguments)
    with snapshot.watching(arguments.name) as take:
        now = take()
    chosen = selection.of(now.mappings)
    ended = sessions.end(now, chosen) if arguments.delete else None
    if arguments.json:
        print(json.dumps(view.to_json(now.record.name, chosen, ended), indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_OF_FILES)
    console.print(view.render(chosen, ended))


def selected(arguments: argparse.Namespace) -> Selection:
    """What the options say; InvalidValue where --delete would do more than was meant."""
    kind = None if arguments.kind is None else MappingKind(arguments.kind)
    protocol = None if arguments.protocol is None else Protocol[arguments.protocol.upper()]
    if arguments.limit is not None and arguments.limit < 0:
        raise InvalidValue("--limit", arguments.limit, "it counts lines", "use 0 or more")
    selection = Selection(
        host=arguments.host,
        protocol=protocol,
        port=arguments.port,
        kind=kind,
        expired=arguments.all,
        forwards=not arguments.delete,
        sort=SortKey(arguments.sort),
        limit=arguments.limit,
    )
    if arguments.delete and kind is MappingKind.FORWARD:
        raise InvalidValue(
            "--kind", kind, "a forward is no session", "mapxdp forward del PROTOCOL PORT"
        )
    if arguments.delete and selection.is_everything and not arguments.all_hosts:
        raise InvalidValue(
            "--delete",
            "everything",
            "it would end every session of every host",
            "add --host, --protocol, --port or --kind, or --all-hosts if that is meant",
        )
    return selection
