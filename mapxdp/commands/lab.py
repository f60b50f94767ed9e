# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp lab``: a whole MAP domain in network namespaces, checked with real traffic."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mapxdp.commands.top import draw
from mapxdp.config import DatapathKind
from mapxdp.errors import InvalidValue
from mapxdp.lab import run as lab
from mapxdp.lab.checks import Check
from mapxdp.lab.topology import Lab
from mapxdp.model.domain import Mode

_MODES = (Mode.MAP_T, Mode.MAP_E)


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "lab",
        help="try everything in network namespaces of this machine",
        description="Builds client1, client2, ce, br, server and peer (a second CE) as network "
        "namespaces, brings the CEs up and checks them with real traffic. The host's own network "
        "is not touched. The exit code is 0 if every check passed.",
    )
    parser.add_argument("--mode", choices=[mode.value for mode in _MODES], help="default: both")
    parser.add_argument(
        "--datapath",
        choices=[kind.value for kind in DatapathKind],
        default=DatapathKind.AUTO.value,
        help="of the CE (default: auto)",
    )
    parser.add_argument("--keep", action="store_true", help="leave it running until Enter")
    parser.add_argument("--json", action="store_true", help="the checks as one JSON object")
    parser.add_argument("--prefix", default="mapxdp-", help="of the namespaces' names")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the last live view")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    if arguments.keep and arguments.mode is None:
        raise InvalidValue(
            "--keep", "given", "only one lab can be kept", "name it with --mode map-t or map-e"
        )
    modes = _MODES if arguments.mode is None else (Mode(arguments.mode),)
    console = Console(stderr=arguments.json, highlight=False)
    reports = [_run_mode(mode, arguments, console) for mode in modes]
    if arguments.json:
        print(json.dumps(_data(reports)))
    console.print(last_line(reports), style="bold", markup=False, soft_wrap=True)
    return 0 if all(report.passed for report in reports) else 1


def _run_mode(mode: Mode, arguments: argparse.Namespace, console: Console) -> lab.Report:
    console.rule(f"[bold]{mode.upper()}")

    def show(check: Check) -> None:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        console.print(f"  {mark} {check.name}: {escape(check.evidence)}", soft_wrap=True)

    report = lab.run(
        Lab(arguments.prefix, mode, DatapathKind(arguments.datapath)),
        say=lambda text: console.print(f"• {text}", markup=False, soft_wrap=True),
        show=show,
        console=None if arguments.json else console,
        keep=arguments.keep,
    )
    if report.frame is not None:
        console.print(report.frame)
        if arguments.svg is not None:
            draw(report.frame, arguments.svg)
    return report


def last_line(reports: list[lab.Report]) -> str:
    """What all of it came to: what crossed and what was measured, or what failed."""
    modes = " and ".join(report.mode.upper() for report in reports)
    checks = [check for report in reports for check in report.checks]
    failed = [
        f"{check.name} ({report.mode.upper()})"
        for report in reports
        for check in report.checks
        if not check.passed
    ]
    if failed:
        passed = len(checks) - len(failed)
        return f"{modes}: {passed} of {len(checks)} checks passed; FAILED: {', '.join(failed)}"
    return f"{modes}: all {len(checks)} checks passed: {_measured(checks)}"


def _measured(checks: list[Check]) -> str:
    """The checks' numbers together: sums of what crossed, ranges of how fast."""

    def all_of(key: str) -> list[float]:
        return [check.measured[key] for check in checks if key in check.measured]

    def rates(key: str) -> str:
        return " to ".join(
            dict.fromkeys(f"{rate:.0f}" for rate in (min(all_of(key)), max(all_of(key))))
        )

    parts = []
    if all_of("octets"):
        parts.append(f"{sum(all_of('octets')) / 1e6:.0f} MB crossed unchanged")
    if all_of("down") and all_of("up"):
        parts.append(f"{rates('down')} Mbit/s down, {rates('up')} up")
    if all_of("connections"):
        parts.append(f"{sum(all_of('connections')):.0f} connections answered")
    if all_of("ports"):
        ports, ranges, there_are = (max(all_of(key)) for key in ("ports", "ranges", "all_ranges"))
        parts.append(f"{ports:.0f} ports used in {ranges:.0f} of {there_are:.0f} ranges")
    return "; ".join(parts)


def _data(reports: list[lab.Report]) -> dict[str, Any]:
    labs = [
        {
            "mode": report.mode.value,
            "passed": report.passed,
            "checks": [asdict(check) for check in report.checks],
        }
        for report in reports
    ]
    passed = all(report.passed for report in reports)
    return {"passed": passed, "summary": last_line(reports), "labs": labs}
