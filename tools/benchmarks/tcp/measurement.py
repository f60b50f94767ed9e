# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""All ways are there at once and take turns; what counts are ratios of the same rounds."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.measure import Effort, ratio, spread
from benchmarks.report import Report
from benchmarks.tcp import bulk, paths
from benchmarks.tcp.paths import Way
from mapxdp.model.domain import Mode

_STREAMS = {"1 connection": 1, "8 connections": 8}
_DIRECTIONS = {"client to server": True, "server to client": False}
_METHOD = """\
TCP, {streams} between a client and a server behind a router, each in a network
namespace, with veth pairs between them: {direction}. Segmentation and checksums are left to the
interfaces, as by default: no packet is cut. One thread sends, on the last CPU, another receives, on
the first, and the kernel forwards on both. The server is an IPv4 host; in MAP-T an IPv6 host; in
MAP-E it takes packets from the tunnel itself, by BPF. Where IPv6 is forwarded, both ends are IPv6
hosts. mapxdp has its accelerator at TC, and NAPT44. Medians of 5 blocks of {rounds} interleaved
rounds of {seconds} s."""
_COLUMNS = ("variant", "Gbit/s", "x plain", "x nft masquerade")


@dataclass
class _Variant:
    name: str
    way: Way
    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)


def run(effort: Effort, report: Report) -> None:
    """Both directions, with one connection and with several."""
    with ExitStack() as stack:
        enter = stack.enter_context
        variants = [
            _Variant("plain forwarding", enter(paths.plain("plain"))),
            _Variant("nft masquerade", enter(paths.masquerading("nft"))),
            _Variant("plain forwarding of IPv6", enter(paths.plain_ipv6("ipv6"))),
            _Variant("mapxdp map-t", enter(paths.edge("map-t", Mode.MAP_T))),
            _Variant("mapxdp map-e", enter(paths.edge("map-e", Mode.MAP_E))),
        ]
        for connections in _STREAMS:
            for direction in _DIRECTIONS:
                _measure(variants, direction, connections, effort)
                _tell(variants, direction, connections, effort, report)


def _measure(variants: list[_Variant], direction: str, connections: str, effort: Effort) -> None:
    upstream, streams = _DIRECTIONS[direction], _STREAMS[connections]
    for _ in range(effort.tcp_rounds):
        for variant in variants:
            rate = bulk.gigabits(variant.way, upstream, streams, effort.tcp_seconds)
            variant.rates.setdefault((direction, connections), []).append(rate)


def _tell(
    variants: list[_Variant], direction: str, connections: str, effort: Effort, report: Report
) -> None:
    rates = {variant.name: variant.rates[direction, connections] for variant in variants}
    plain, nft = rates["plain forwarding"], rates["nft masquerade"]
    method = _METHOD.format(
        streams=connections,
        direction=direction,
        rounds=effort.tcp_rounds,
        seconds=effort.tcp_seconds,
    )
    report.table(
        f"TCP, {connections}, {direction}",
        method,
        _COLUMNS,
        [
            [name, spread(rate), ratio(rate, plain), ratio(rate, nft)]
            for name, rate in rates.items()
        ],
    )
