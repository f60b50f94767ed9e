# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp calc``: what follows from a CE's parameters; nothing is running or changed."""

from __future__ import annotations

import argparse
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rich.console import Console

from mapxdp import config as configuration
from mapxdp.config import MssClamp
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.port_set import PORT_COUNT
from mapxdp.views import calc
from mapxdp.views.calc import Calculation, Destination

_DEFAULT_WAN_MTU = 1500
#: The options that a configuration file makes superfluous.
_PARAMETERS = ("mode", "end_user_prefix", "rule", "dmr", "br", "interface_id", "wan_mtu")
_COMMAND_LINE = "command line"


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "calc",
        help="compute address, PSID, ports and MTU from the provider's rules",
        description="From a configuration file, or wholly from options.",
        epilog="example: mapxdp calc --mode map-t --end-user-prefix 2001:db8:12:3400::/56 "
        "--rule 2001:db8::/40,192.0.2.0/24,16 --dmr 2001:db8:ffff::/64",
    )
    parser.add_argument("-c", "--config", type=Path, metavar="FILE")
    parser.add_argument("--mode", choices=[mode.value for mode in Mode])
    parser.add_argument("--end-user-prefix", metavar="P")
    parser.add_argument(
        "--rule",
        action="append",
        metavar="IPV6,IPV4,EA[,OFFSET[,PSIDLEN,PSID]][,fmr]",
        help="a mapping rule; may be given several times",
    )
    parser.add_argument("--dmr", metavar="P", help="MAP-T: the default mapping rule's prefix")
    parser.add_argument("--br", metavar="A", help="MAP-E, lw4o6: the BR's or lwAFTR's address")
    parser.add_argument(
        "--interface-id",
        choices=[layout.value for layout in InterfaceIdFormat],
        help="default: rfc7597",
    )
    parser.add_argument("--wan-mtu", type=int, metavar="N", help="default: 1500")
    parser.add_argument(
        "--destination", metavar="A[:PORT]", help="also show where packets to it are sent"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    calculation = _calculation(arguments)
    if arguments.json:
        print(json.dumps(calc.to_json(calculation), indent=2))
    else:
        Console().print(calc.render(calculation))


def _calculation(arguments: argparse.Namespace) -> Calculation:
    destination = None if arguments.destination is None else _destination(arguments.destination)
    if arguments.config is not None:
        _refuse_beside_a_file(arguments)
        config = configuration.load(arguments.config).config
        wan_mtu = config.wan_mtu or _DEFAULT_WAN_MTU
        return Calculation(config.domain, wan_mtu, config.mss_clamp, destination)
    domain = configuration.parse_domain(_document(arguments), _COMMAND_LINE)
    wan_mtu = _DEFAULT_WAN_MTU if arguments.wan_mtu is None else arguments.wan_mtu
    return Calculation(domain, wan_mtu, MssClamp(), destination)


def _refuse_beside_a_file(arguments: argparse.Namespace) -> None:
    """InvalidValue for an option that says what the configuration file says already."""
    for name in _PARAMETERS:
        value = getattr(arguments, name)
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise InvalidValue(
                option,
                " ".join(value) if isinstance(value, list) else value,
                "the configuration file says what it is",
                f"leave {option} out, or give everything by options, without --config",
            )


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options as a configuration file would have them."""
    given = {
        "mode": arguments.mode,
        "end_user_prefix": arguments.end_user_prefix,
        "dmr": arguments.dmr,
        "br": arguments.br,
        "interface_id": arguments.interface_id,
    }
    if arguments.mode is None or arguments.end_user_prefix is None:
        raise InvalidValue(
            "options",
            "incomplete",
            "--mode and --end-user-prefix are needed without a configuration file",
            "give them, or --config FILE; see mapxdp calc --help",
        )
    return {
        "ce": {key: value for key, value in given.items() if value is not None},
        "rule": [_rule(text) for text in arguments.rule or []],
    }


def _rule(text: str) -> dict[str, Any]:
    parts = text.split(",")
    forwarding = parts[-1] == "fmr"
    if forwarding:
        parts.pop()
    if len(parts) not in (3, 4, 6):
        raise InvalidValue(
            "--rule",
            text,
            "it has to be IPV6,IPV4,EA[,OFFSET[,PSIDLEN,PSID]][,fmr]",
            "for example --rule 2001:db8::/40,192.0.2.0/24,16,6",
        )
    names = ("ea_length", "psid_offset", "psid_length", "psid")
    numbers = {name: _number(text, part) for name, part in zip(names, parts[2:], strict=False)}
    return {"ipv6": parts[0], "ipv4": parts[1], "forwarding": forwarding, **numbers}


def _number(rule: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InvalidValue(
            "--rule", rule, f"{text!r} is no number", "use decimal or 0x… numbers"
        ) from None


def _destination(text: str) -> Destination:
    address, _, port = text.partition(":")
    try:
        number = int(port) if port else None
        if number is not None and not 0 <= number < PORT_COUNT:
            raise ValueError("a port is 0 to 65535")
        return Destination(IPv4Address(address), number)
    except ValueError as error:
        raise InvalidValue(
            "--destination", text, str(error), "write it as 192.0.2.77:5000"
        ) from None
