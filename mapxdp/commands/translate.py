# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp translate``: packets of a capture file through one direction of a CE."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mapxdp import config as configuration
from mapxdp.config import Config, Napt44Mode
from mapxdp.errors import refusals
from mapxdp.software import capture, hop
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.verdict import Outcome

_DEFAULT_WAN_MTU = 1500


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "translate",
        help="run the packets of a pcap file through a CE",
        description="Uses the software path; nothing is running or changed, and no root is "
        "needed. The hop that a router's kernel takes off is taken off here.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--direction", choices=["46", "64"], required=True, help="46: LAN to WAN; 64: WAN to LAN"
    )
    parser.add_argument("--path", choices=["software"], default="software")
    parser.add_argument("--report", type=Path, metavar="FILE", help="verdicts and reasons, JSON")
    parser.add_argument("source", type=Path, metavar="IN.pcap")
    parser.add_argument("target", type=Path, metavar="OUT.pcap")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    config = configuration.load(arguments.config).config
    edge = _customer_edge(config)

    def handle(packet: bytes) -> Outcome:
        if arguments.direction == "46":
            return edge.from_lan(hop.taken_off(packet, 4))
        outcome = edge.from_wan(packet)
        return Outcome(outcome.reason, tuple(hop.taken_off(out, 4) for out in outcome.packets))

    report = capture.run(arguments.source, arguments.target, handle)
    if arguments.report is not None:
        entries = [asdict(entry) for entry in report]
        with refusals(f"the report {arguments.report} cannot be written", "name another file"):
            arguments.report.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    translated = sum(entry.verdict == "translated" for entry in report)
    print(f"{len(report)} packets in, {translated} translated, into {arguments.target}")


def _customer_edge(config: Config) -> CustomerEdge:
    ipv4_mtu = config.domain.ipv4_mtu(config.wan_mtu or _DEFAULT_WAN_MTU)
    return CustomerEdge(
        config.domain,
        CeSettings(
            ipv4_mtu=ipv4_mtu,
            mss=config.mss_clamp.limit(ipv4_mtu),
            translates_ports=config.napt44 is not Napt44Mode.NONE,
            timeouts=config.timeouts,
        ),
    )
