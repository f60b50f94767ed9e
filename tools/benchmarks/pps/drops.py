# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a flood of invalid packets costs: each kind that anybody can send, beside the cheapest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from benchmarks.measure import Effort, cpu_ns, cpus, pinned_to, ratio, spread
from benchmarks.pps import routers, way
from benchmarks.pps.replay import Ends, Player
from benchmarks.pps.routers import Router
from benchmarks.pps.way import Connection
from benchmarks.report import Report
from mapxdp import netns, snapshot
from mapxdp.errors import HostError
from mapxdp.model.domain import Domain, Mode
from mapxdp.reasons import Reason

_METHOD = """\
One frame of each kind, again and again, arrives from the WAN at a CE without an accelerator (BPF
live frames, 64 at a time) and is dropped at TC ingress for the reason given. CPU time as for small
packets; it includes the kernel's receiving a frame. Medians of 5 blocks of {rounds} interleaved
rounds of {frames} frames."""
_COLUMNS = ("mode", "reason", "ns", "x cheapest drop")
_SHORT = 64


@dataclass
class _Kind:
    mode: Mode
    reason: Reason
    router: Router
    player: Player
    ns: list[float] = field(default_factory=list)


def run(effort: Effort, report: Report) -> None:
    """Every kind, in both modes."""
    ends = Ends()
    rounds, frames = effort.frames_of(1)
    try:
        with pinned_to(cpus()[0]), ExitStack() as stack:
            kinds: list[_Kind] = []
            for mode in (Mode.MAP_T, Mode.MAP_E):
                router = stack.enter_context(
                    routers.edge(f"{mode}-drops", ends, mode, "off", routers.HALF_ADDRESS)
                )
                assert router.domain is not None  # of an edge
                for reason, frame in _invalid(router.domain).items():
                    player = stack.enter_context(Player([frame], None))
                    kinds.append(_Kind(mode, reason, router, player))
            for kind in kinds:
                _require_reason(kind)
            for _ in range(rounds):
                for kind in kinds:
                    kind.ns.append(_slice(kind, frames))
    finally:
        ends.close()
    _tell(kinds, rounds, frames, report)


def _invalid(domain: Domain) -> dict[Reason, bytes]:
    """A frame for each reason."""
    sound = Connection(0)
    inside = domain.port_set.port_at(0)
    outside = next(port for port in range(2000, 4000) if port not in domain.port_set)
    good = sound.down_from(domain, inside)
    at_udp = 54 if domain.mode.translates else 74
    too_long = good[: at_udp + 4] + (9999).to_bytes(2, "big") + good[at_udp + 6 :]
    long_ipv6 = good[:18] + (9999).to_bytes(2, "big") + good[20:]
    frames = {
        Reason.PORT_OUTSIDE_SET: sound.down_from(domain, outside),
        Reason.NO_MAPPING: good,
        Reason.MALFORMED_TRANSPORT: too_long,
        Reason.MALFORMED_IPV6: long_ipv6,
        Reason.SOURCE_MARTIAN: way.down_between(domain, IPv4Address("127.0.0.1"), inside),
        Reason.FRAGMENT_INVALID: _odd_fragment(good),
    }
    if domain.br is not None:
        stranger = IPv6Address("2001:db8:eeee::1").packed
        frames[Reason.TUNNEL_SOURCE] = good[:22] + stranger + good[38:]
        frames[Reason.INNER_DESTINATION] = way.inner_to(domain, IPv4Address("192.0.2.99"), inside)
    return frames


def _odd_fragment(frame: bytes) -> bytes:
    """A first fragment of 13 octets: all but the last are multiples of 8."""
    header = frame[20:21] + bytes([0]) + (0x0001).to_bytes(2, "big") + bytes(4)
    fixed = frame[14:18] + (8 + 13).to_bytes(2, "big") + bytes([44]) + frame[21:54]
    return (frame[:14] + fixed + header + frame[54:67]).ljust(len(frame), b"\0")


def _count(kind: _Kind) -> int:
    with snapshot.watching(kind.router.name) as take:
        counted = take().counters.downstream.get(kind.reason)
    return counted.packets if counted else 0


def _require_reason(kind: _Kind) -> None:
    """HostError unless the frame is dropped for the reason that the table will name."""
    before = _count(kind)
    _play(kind, _SHORT)
    if _count(kind) - before < _SHORT:
        raise HostError(f"{kind.mode}: no frame was dropped as {kind.reason.name}", "report this")


def _play(kind: _Kind, frames: int) -> None:
    with netns.entered(kind.router.name):
        kind.player.play(kind.router.wan, frames)


def _slice(kind: _Kind, frames: int) -> float:
    """ns of CPU time per frame; a short request before the long one says what asking costs."""
    cpu = cpus()[0]
    begun = cpu_ns(cpu)
    _play(kind, _SHORT)
    between = cpu_ns(cpu)
    _play(kind, frames - _SHORT)
    ended = cpu_ns(cpu)
    return ((ended - between) - (between - begun)) / (frames - 2 * _SHORT)


def _tell(kinds: list[_Kind], rounds: int, frames: int, report: Report) -> None:
    def cheapest(mode: Mode) -> list[float]:
        own = [kind.ns for kind in kinds if kind.mode is mode]
        return min(own, key=lambda ns: spread(ns).middle)

    report.table(
        "Invalid packets",
        _METHOD.format(rounds=rounds, frames=frames),
        _COLUMNS,
        [[str(k.mode), k.reason.name, spread(k.ns), ratio(k.ns, cheapest(k.mode))] for k in kinds],
    )
