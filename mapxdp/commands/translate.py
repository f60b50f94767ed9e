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
from mapxdp.software.verdict import Outcome, Refused

_DEFAULT_WAN_MTU = 1500


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "translate",
        help="run the packets of a pcap file through a CE",
        description="Uses the software path; nothing is running or changed, and no root is "
        "needed. The hop that a router's kernel takes off is taken off here; a packet that has "
        "none left is reported as 'not forwarded'. Only what is translated gets into OUT.pcap.",
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

    version, through = (4, _upstream) if arguments.direction == "46" else (6, _downstream)
    report = capture.run(
        arguments.source, arguments.target, version, lambda packet: through(edge, packet)
    )
    if arguments.report is not None:
        entries = [asdict(entry) for entry in report]
        with refusals(f"the report {arguments.report} cannot be written", "name another file"):
            arguments.report.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    translated = sum(entry.verdict == "translated" for entry in report)
    print(f"{len(report)} packets in, {translated} translated, into {arguments.target}")


def _upstream(edge: CustomerEdge, packet: bytes) -> Outcome | None:
    """The kernel forwards before the CE sees the packet: without a hop left it never does."""
    forwarded = hop.taken_off(packet)
    if forwarded is not None:
        return edge.from_lan(forwarded)
    try:
        edge.upstream_destination(packet)
    except Refused as refused:  # not forwarded for another reason, multicast above all
        return Outcome(refused.reason)
    return None


def _downstream(edge: CustomerEdge, packet: bytes) -> Outcome | None:
    """The kernel forwards what the CE has made of the packet."""
    outcome = edge.from_wan(packet)
    if not outcome.packets:
        return outcome
    (made,) = outcome.packets
    forwarded = hop.taken_off(made)
    return None if forwarded is None else Outcome(outcome.reason, (forwarded,))


def _customer_edge(config: Config) -> CustomerEdge:
    ipv4_mtu = config.domain.ipv4_mtu(config.wan_mtu or _DEFAULT_WAN_MTU)
    return CustomerEdge(
        config.domain,
        CeSettings(
            ipv4_mtu=ipv4_mtu,
            mss=config.mss_clamp.limit(ipv4_mtu),
            translates_ports=config.napt44 is not Napt44Mode.NONE,
            policy=config.policy,
            translation=config.translation,
            lowest_ipv6_mtu=config.lowest_ipv6_mtu,
        ),
    )
