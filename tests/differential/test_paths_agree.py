# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF and the software path, packet by packet: the same reason, the same bytes, the same events.

Sound packets in sequences with time between them, and packets with octets changed, cut off
or added. Whatever is translated has right checksums, if it had them before.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harness import traffic
from harness.domains import DRAFT_03, LW4O6, RULES, domain, mesh
from harness.follower import Follower
from harness.loaded import FORCED_ACCELERATOR, LoadedCes
from harness.mutations import MUTATIONS, Mutation, mutated
from harness.playing import deliver, packet_of, play
from harness.traffic import FromLan, FromWan, Household
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
            play(follower, step)
        follower.assert_that_events_agree()
        taken += ce.taken

    check()
    assert (taken > 0) == (hook is not AcceleratorHook.NONE)


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
        up_mutations: list[Mutation],
        down_mutations: list[Mutation],
    ) -> None:
        follower = Follower(loaded_ces.get(ce_domain))
        sound = packet_of(follower, up)
        deliver(follower, up, sound)
        answer = packet_of(follower, down)
        deliver(follower, up, mutated(sound, up_mutations, 20))
        deliver(follower, down, mutated(answer, down_mutations, 40))

    check()
