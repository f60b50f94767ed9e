# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp forward``: list, add and delete port forwards of a running CE."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console

from mapxdp import forwards, snapshot
from mapxdp.errors import InvalidValue
from mapxdp.model.napt44 import Forward
from mapxdp.model.timeouts import Protocol
from mapxdp.views import forwards as view

_PROTOCOLS = ["tcp", "udp"]


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "forward",
        help="list, add or delete port forwards",
        description="Forwards added here live until 'down'; for good ones write [[forward]] into "
        "the configuration.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show the forwards there are")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(run=show)
    adding = actions.add_parser("add", help="add one: forward add tcp any 192.168.1.10:443")
    _add_protocol_and_port(adding, "a port of the set, or any")
    adding.add_argument("to", metavar="HOST:PORT", help="the LAN endpoint")
    adding.set_defaults(run=add)
    deleting = actions.add_parser("del", help="delete one that was added here")
    _add_protocol_and_port(deleting, "its port of the set")
    deleting.set_defaults(run=delete)
    for action in (listing, adding, deleting):
        action.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")


def _add_protocol_and_port(parser: argparse.ArgumentParser, port: str) -> None:
    parser.add_argument("protocol", choices=_PROTOCOLS)
    parser.add_argument("port", metavar="PORT", help=port)


def show(arguments: argparse.Namespace) -> None:
    """Runs ``list``."""
    with snapshot.watching(arguments.name) as take:
        now = take()
    if arguments.json:
        print(json.dumps(view.to_json(now), indent=2))
    else:
        Console().print(view.render(now))


def add(arguments: argparse.Namespace) -> None:
    """Runs ``add``."""
    port = None if arguments.port == "any" else _port(arguments.port, "any, or ")
    protocol = Protocol[arguments.protocol.upper()]
    wanted = Forward(protocol, port, *forwards.endpoint(arguments.to))
    with snapshot.watching(arguments.name) as take:
        now = take()
    made = forwards.add(now, wanted)
    print(f"forwards {now.config.domain.ipv4_address} {made}")


def delete(arguments: argparse.Namespace) -> None:
    """Runs ``del``."""
    port = _port(arguments.port, "")
    with snapshot.watching(arguments.name) as take:
        now = take()
    print(f"deleted {forwards.delete(now, Protocol[arguments.protocol.upper()], port)}")


def _port(text: str, alternative: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidValue("port", text, "it is no port", f"use {alternative}1 to 65535")
    return int(text)
