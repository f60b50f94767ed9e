# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF and the software path, packet by packet: the same reason, the same bytes, the same events.

Sound packets in sequences with time between them, and packets with octets changed, cut off
or added. Whatever is translated has right checksums, if it had them before.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness import packets, traffic
from harness.domains import DRAFT_03, LW4O6, RULES, domain, mesh
from harness.follower import Follower, is_translated
from harness.loaded import FORCED_ACCELERATOR, LoadedCes
from harness.traffic import (
    LAST_PORT,
    Again,
    Burst,
    Each,
    FromLan,
    FromWan,
    Household,
    Step,
    Talk,
    Wait,
)
from mapxdp.model.accelerator import AcceleratorHook

#: A nightly run sets this to some hundred thousand.
EXAMPLES = int(os.environ.get("MAPXDP_EXAMPLES", "25"))
MUTATED_EXAMPLES = 4 * EXAMPLES
#: A second for each, on a slow machine, and what it takes to tell a failure in short.
pytestmark = pytest.mark.timeout(600 + EXAMPLES)
MODES = ["map-t", "map-e"]
#: Sets of different sizes, and room for that many flows.
SEQUENCES = {
    "map-t 15": (domain("map-t", RULES[15]), 64),
    "map-e 15": (domain("map-e", RULES[15]), 64),
    "map-t 63": (domain("map-t", RULES[63]), 128),
    "map-e 252": (domain("map-e", RULES[252]), 256),
    "lw4o6": (LW4O6, 64),
    "draft-03": (DRAFT_03, None),
    "mesh map-t": (mesh("map-t", RULES[63]), 128),
    "mesh map-e": (mesh("map-e", RULES[63]), 128),
}
#: The same, each packet offered to the accelerator first.
ACCELERATED = {
    f"{name} {hook}": (SEQUENCES[name], hook)
    for name, hook in [
        ("map-t 63", AcceleratorHook.TC),
        ("map-t 63", AcceleratorHook.XDP),
        ("map-e 252", AcceleratorHook.TC),
        ("map-e 252", AcceleratorHook.XDP),
        ("lw4o6", AcceleratorHook.XDP),
        ("mesh map-t", AcceleratorHook.TC),
        ("mesh map-e", AcceleratorHook.XDP),
    ]
}
MUTATED = {
    **{mode: domain(mode, RULES[252]) for mode in MODES},
    "lw4o6": LW4O6,
    "draft-03": DRAFT_03,
    **{f"mesh {mode}": mesh(mode, RULES[252]) for mode in MODES},
}


def generated(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate, Phase.shrink],
    )


def last_port(follower: Follower) -> int:
    """That of the last packet that left; before it, any of the set."""
    return follower.last_port or follower.ce.domain.port_set.port_at(0)


def run(follower: Follower, step: Step) -> None:
    """One step on both paths."""
    if isinstance(step, Wait):
        follower.advance(step.ticks)
    elif isinstance(step, Burst | Talk):
        for packet in step.packets():
            send(follower, packet)
    elif isinstance(step, Again):
        mappings = list(follower.software.napt44.mappings())
        if mappings:
            send(follower, step.about(mappings[step.number % len(mappings)], own_address(follower)))
    elif isinstance(step, Each):
        for mapping in [*follower.software.napt44.mappings()][: step.most]:
            send(follower, step.again.about(mapping, own_address(follower)))
    else:
        send(follower, step)


def own_address(follower: Follower) -> str:
    return str(follower.ce.domain.ipv4.network_address)


def send(follower: Follower, step: FromLan | FromWan) -> None:
    if isinstance(step, FromLan):
        outcome = follower.from_lan(traffic.upstream_packet(step))
    else:
        port = last_port(follower) if step.port == LAST_PORT else step.port
        outcome = follower.from_wan(traffic.downstream_packet(follower.ce.domain, step, port))
    if is_translated(outcome):
        assert packets.checksums_are_right(outcome.packets[0])


@pytest.mark.parametrize("name", [*SEQUENCES, *ACCELERATED])
def test_sequences_of_packets(name: str, loaded_ces: LoadedCes) -> None:
    (ce_domain, flows), hook = ACCELERATED.get(name) or (SEQUENCES[name], FORCED_ACCELERATOR)
    taken = 0

    @generated(EXAMPLES)
    @given(household=traffic.households(ce_domain))
    def check(household: Household) -> None:
        nonlocal taken
        ce = loaded_ces.get(ce_domain, flows, hook, policy=household.policy)
        follower = Follower(ce)
        for step in household.steps:
            run(follower, step)
        follower.assert_that_events_agree()
        taken += ce.taken

    check()
    assert (taken > 0) == (hook is not AcceleratorHook.NONE)


MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 79), st.integers(0, 255)),
        st.tuples(st.just("flip"), st.integers(0, 79), st.integers(0, 7)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("grow"), st.integers(1, 30), st.integers(0, 255)),
    ),
    min_size=1,
    max_size=3,
)


def mutated(packet: bytes, mutations: list[tuple[str, int, int]], shortest: int) -> bytes:
    """The packet with octets changed; never shorter than an IP header (see test_raw_frames)."""
    data = bytearray(packet)
    for kind, at, value in mutations:
        if kind == "set" and at < len(data):
            data[at] = value
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << value
        elif kind == "cut":
            del data[max(shortest, len(data) - at) :]
        elif kind == "grow":
            data += bytes([value]) * at
    return bytes(data)


@pytest.mark.parametrize("name", MUTATED)
def test_mutated_packets(name: str, loaded_ces: LoadedCes) -> None:
    ce_domain = MUTATED[name]

    @generated(MUTATED_EXAMPLES)
    @given(
        up=traffic.from_lan(ce_domain),
        down=traffic.from_wan(ce_domain),
        up_mutations=MUTATIONS,
        down_mutations=MUTATIONS,
    )
    def check(
        up: FromLan,
        down: FromWan,
        up_mutations: list[tuple[str, int, int]],
        down_mutations: list[tuple[str, int, int]],
    ) -> None:
        follower = Follower(loaded_ces.get(ce_domain))
        sound = traffic.upstream_packet(up)
        follower.from_lan(sound)
        port = last_port(follower) if down.port == LAST_PORT else down.port
        follower.from_lan(mutated(sound, up_mutations, 20))
        follower.from_wan(
            mutated(traffic.downstream_packet(ce_domain, down, port), down_mutations, 40)
        )

    check()
