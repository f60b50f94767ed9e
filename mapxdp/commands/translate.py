# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp translate``: packets of a capture file through one direction of a CE."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mapxdp import config as configuration
from mapxdp import host
from mapxdp.config import Config, Napt44Mode
from mapxdp.datapath.clock import StoppedClock
from mapxdp.datapath.replay import BpfPath
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.errors import refusals
from mapxdp.observed import MappingKind
from mapxdp.software import capture, router
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.napt44 import Napt44
from mapxdp.software.router import CaptureClock
from mapxdp.software.verdict import Outcome

_DEFAULT_WAN_MTU = 1500
_SOFTWARE, _BPF = "software", "bpf"


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "translate",
        help="run the packets of a pcap file through a CE",
        description="Nothing is running or changed: the software path needs no root; the BPF "
        "programs, which do, are loaded for it and attached nowhere. Time is that of the capture. "
        "The hop that a router's kernel takes off is taken off here; a packet that has none left "
        "is reported as dropped, TTL_EXCEEDED. OUT.pcap gets what crosses, and the ICMP errors "
        "that answer what does not.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--direction", choices=["46", "64"], required=True, help="46: LAN to WAN; 64: WAN to LAN"
    )
    parser.add_argument(
        "--path", choices=[_SOFTWARE, _BPF], default=_SOFTWARE, help="default: software"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="verdicts and reasons, JSON")
    parser.add_argument("source", type=Path, metavar="IN.pcap")
    parser.add_argument("target", type=Path, metavar="OUT.pcap")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    config = configuration.load(arguments.config).config
    clock = CaptureClock()
    edge = _customer_edge(config, clock)
    with _path(arguments.path, config, edge, clock) as path:

        def upstream(packet: bytes, second: int) -> Outcome | None:
            clock.set(second)
            return router.upstream(path, edge, packet)

        def downstream(packet: bytes, second: int) -> Outcome | None:
            clock.set(second)
            return router.downstream(path, packet)

        version, handle = (4, upstream) if arguments.direction == "46" else (6, downstream)
        report = capture.run(arguments.source, arguments.target, version, handle)
    if arguments.report is not None:
        entries = [asdict(entry) for entry in report]
        with refusals(f"the report {arguments.report} cannot be written", "name another file"):
            arguments.report.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    translated = sum(entry.verdict == "translated" for entry in report)
    print(f"{len(report)} packets in, {translated} translated, into {arguments.target}")


@contextmanager
def _path(
    name: str, config: Config, edge: CustomerEdge, clock: CaptureClock
) -> Iterator[router.Path]:
    if name == _SOFTWARE:
        yield edge
        return
    host.require_root()
    host.require_kernel()
    forwards = [
        mapping for mapping in edge.napt44.mappings() if mapping.kind is MappingKind.FORWARD
    ]
    with BpfPath(_datapath_settings(config), clock, forwards) as loaded:
        yield loaded


def _customer_edge(config: Config, clock: CaptureClock) -> CustomerEdge:
    napt44 = Napt44(
        config.domain.port_set, config.policy, clock, reserved=config.domain.reserved_ports
    )
    return CustomerEdge(config.domain, _settings(config), napt44)


def _settings(config: Config) -> CeSettings:
    ipv4_mtu = config.domain.ipv4_mtu(config.wan_mtu or _DEFAULT_WAN_MTU)
    return CeSettings(
        ipv4_mtu=ipv4_mtu,
        mss=config.mss_clamp.limit(ipv4_mtu),
        translates_ports=config.napt44 is not Napt44Mode.NONE,
        policy=config.policy,
        translation=config.translation,
        lowest_ipv6_mtu=config.lowest_ipv6_mtu,
    )


def _datapath_settings(config: Config) -> DatapathSettings:
    """The same for the BPF programs. What netfilter would do before them, they do themselves."""
    same = _settings(config)
    return DatapathSettings(
        domain=config.domain,
        napt44=Napt44Kind.BPF if same.translates_ports else Napt44Kind.NONE,
        ipv4_mtu=same.ipv4_mtu,
        mss=same.mss,
        clock=StoppedClock(0),
        policy=same.policy,
        translation=same.translation,
        lowest_ipv6_mtu=same.lowest_ipv6_mtu,
    )
