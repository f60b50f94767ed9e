# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``tools/bench``: finds a benchmark, runs it, prints what it measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import cost, load, napt, pps, rules, scale, setup, tcp
from benchmarks.measure import Effort
from benchmarks.pps import drops, two_cpus
from benchmarks.report import Report
from mapxdp import host
from mapxdp.errors import MapxdpError, refusals

_BENCHMARKS: dict[str, tuple[Callable[[Effort, Report], None], str]] = {
    "napt": (napt.run, "NAPT44: new mappings, look-ups, memory, and a flood of refused packets"),
    "pps": (pps.run, "small packets a second: the kernel, nft, bare XDP, mapxdp on TC and XDP"),
    "cpus": (two_cpus.run, "small packets through one router on two CPUs at once"),
    "drops": (drops.run, "invalid packets from the WAN, by the reason they are dropped for"),
    "rules": (rules.run, "forwarding rules: packets to other CEs, by how many rules there are"),
    "cost": (cost.run, "each BPF program of the established path: instructions, and time"),
    "load": (load.run, "bringing a CE up, and what is lost when a running one is changed"),
    "tcp": (tcp.run, "bulk TCP with all offloads: the kernel, nft, mapxdp on TC"),
    "scale": (scale.run, "a packet's cost by how many rules, ports and flows there are"),
    "setup": (setup.run, "new connections a second, beside nft: a part of napt"),
}
#: Parts of others: not of "all".
_PARTS = ("rules", "setup")


def _everything(effort: Effort, report: Report) -> None:
    for name, (function, _) in _BENCHMARKS.items():
        if name not in _PARTS:
            function(effort, report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    subparsers = parser.add_subparsers(metavar="BENCHMARK", required=True)
    everything = (_everything, f"all of them; {' and '.join(_PARTS)} are in others")
    for name, (function, help_text) in {**_BENCHMARKS, "all": everything}.items():
        subparser = subparsers.add_parser(name, help=help_text, description=help_text)
        subparser.add_argument("--quick", action="store_true", help="in minutes, less exact")
        subparser.add_argument("--json", action="store_true", help="one JSON object")
        subparser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios, too")
        subparser.set_defaults(run=function, name=name)
    parsed = parser.parse_args(arguments)
    report = Report(f"{parsed.name}{' --quick' if parsed.quick else ''}", echo=not parsed.json)
    try:
        host.require_root()
        _draw(report, parsed.svg)  # nobody waits for what cannot be written
        parsed.run(Effort.quick() if parsed.quick else Effort.full(), report)
        _draw(report, parsed.svg)
    except MapxdpError as error:
        print(f"tools/bench: {error}", file=sys.stderr)
        return error.exit_code
    if parsed.json:
        print(json.dumps(report.data(), indent=1))
    return 0


def _draw(report: Report, path: Path | None) -> None:
    if path is not None:
        with refusals(f"{path} cannot be written", "name another file with --svg"):
            path.write_text(report.drawing(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
