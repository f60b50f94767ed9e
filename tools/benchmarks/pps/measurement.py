# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""All variants are there at once and take turns; what counts are ratios of the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.measure import Effort, cpu_ns, cpus, pinned_to, ratio, spread
from benchmarks.pps import routers
from benchmarks.pps.replay import Ends, Player
from benchmarks.pps.routers import Router
from benchmarks.pps.way import Connection, in_no_order
from benchmarks.report import Report
from mapxdp import netns
from mapxdp.errors import HostError
from mapxdp.model.domain import Mode

_METHOD = """\
UDP, frames of 64 octets upstream (BPF live frames, written beforehand, 64 at a time), of {flows}
connections in turn, in no order, all established: {direction}. They end where they leave the
router, at TC egress or, redirected by XDP, at the other end of a veth pair, which XDP has to cross
besides. CPU time of the one thread that does all of it and of ksoftirqd, less what asking for
frames costs. NAPT44 is in mapxdp and in nft (one rule: masquerade; it verifies no checksums).
Medians of 5 blocks of {rounds} interleaved rounds of {frames} frames."""
_COLUMNS = ("variant", "ns", "Mpps of a CPU", "x nft masquerade", "x plain", "x bare XDP")
_SHORT = 64


@dataclass
class Variant:
    """What forwards, and what it took, by direction ("up", "down") and number of connections."""

    name: str
    router: Router
    up: Player
    down: Player
    ns: dict[tuple[str, int], list[float]] = field(default_factory=dict)


def run(effort: Effort, report: Report) -> None:
    """Every variant, in both directions, with every number of connections."""
    ends = Ends()
    try:
        with pinned_to(cpus()[0]), ExitStack() as stack:
            variants = _variants(stack, ends, max(effort.connections))
            for flows in effort.connections:
                for direction in ("up", "down"):
                    _measure(variants, ends, direction, flows, effort)
                    _tell(variants, direction, flows, effort, report)
    finally:
        ends.close()


def _variants(stack: ExitStack, ends: Ends, most: int) -> list[Variant]:
    connections = in_no_order(most)
    made: list[Variant] = []

    def add(name: str, router: Router, answer: Callable[[Connection], bytes]) -> None:
        made.append(variant(stack, name, router, connections, answer))

    enter = stack.enter_context
    add("plain forwarding", enter(routers.plain("plain", ends)), Connection.down)
    add("nft masquerade", enter(routers.masquerading("nft", ends)), Connection.down_masqueraded)
    add("bare XDP", enter(routers.bare_xdp("bare", ends)), Connection.down)
    for mode in (Mode.MAP_T, Mode.MAP_E):
        for accelerator in ("off", "tc", "xdp"):
            router = enter(routers.edge(f"{mode}-{accelerator}", ends, mode, accelerator))
            add(f"mapxdp {mode}, accelerator {accelerator}", router, Connection.down)
    establish(made, most)
    return made


def variant(
    stack: ExitStack,
    name: str,
    router: Router,
    connections: Sequence[Connection],
    answer: Callable[[Connection], bytes] = Connection.down,
) -> Variant:
    """A router and the frames of its connections; ``answer`` where it is no CE."""
    up_program, down_program = router.programs or (None, None)
    up = stack.enter_context(Player([c.up() for c in connections], up_program))
    if router.domain is not None:
        answer = through_domain(router, up, len(connections))
    down = stack.enter_context(Player([answer(c) for c in connections], down_program))
    return Variant(name, router, up, down)


def establish(variants: Sequence[Variant], most: int) -> None:
    """Has the kernel see packets of all connections, in both directions."""
    for each in variants:
        for _ in range(3):
            _play(each.router, each.up, each.router.lan, most, most)
            _play(each.router, each.down, each.router.wan, most, most)


def through_domain(router: Router, up: Player, most: int) -> Callable[[Connection], bytes]:
    """The answers to what a CE has sent: it has to send first, to have mappings."""
    _play(router, up, router.lan, most, most)
    ports, domain = router.external_ports(), router.domain
    assert domain is not None  # by the caller
    if len(ports) < most:
        raise HostError(f"{router.name}: {most} connections, {len(ports)} mappings", "report this")
    return lambda c: c.down_from(domain, ports[str(c.host), c.port])


def _play(router: Router, player: Player, ifindex: int, flows: int, frames: int) -> None:
    player.aim(flows)
    with netns.entered(router.name):
        player.play(ifindex, frames)


def _measure(
    variants: list[Variant], ends: Ends, direction: str, flows: int, effort: Effort
) -> None:
    rounds, frames = effort.frames_of(flows)
    for _ in range(rounds):
        for variant in variants:
            ns = time_slice(variant, ends, direction, flows, frames)
            variant.ns.setdefault((direction, flows), []).append(ns)


def time_slice(variant: Variant, ends: Ends, direction: str, flows: int, frames: int) -> float:
    """ns of CPU time per frame. HostError unless each left the router.

    Each request of frames costs some 100 us by itself: a short one before the long one says how
    much, at the same moment.
    """
    router, cpu = variant.router, cpus()[0]
    player, ifindex = (variant.up, router.lan) if direction == "up" else (variant.down, router.wan)
    player.aim(flows)
    ends.clear()
    with netns.entered(router.name):
        begun = cpu_ns(cpu)
        player.play(ifindex, _SHORT)
        between = cpu_ns(cpu)
        player.play(ifindex, frames - _SHORT)
        ended = cpu_ns(cpu)
    ends.require(frames, f"{variant.name}, {direction}")
    return ((ended - between) - (between - begun)) / (frames - 2 * _SHORT)


def _tell(
    variants: list[Variant], direction: str, flows: int, effort: Effort, report: Report
) -> None:
    rounds, frames = effort.frames_of(flows)
    by_name = {variant.name: variant.ns[direction, flows] for variant in variants}
    plain, nft, bare = by_name["plain forwarding"], by_name["nft masquerade"], by_name["bare XDP"]
    report.table(
        f"{flows} connections, {direction}stream",
        _METHOD.format(
            flows=flows,
            direction="LAN to WAN" if direction == "up" else "WAN to LAN",
            rounds=rounds,
            frames=frames,
        ),
        _COLUMNS,
        [
            [
                name,
                spread(ns),
                spread([1000 / x for x in ns]),
                ratio(nft, ns),
                ratio(plain, ns),
                ratio(bare, ns),
            ]
            for name, ns in by_name.items()
        ],
    )
