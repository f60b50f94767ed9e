# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF and the software path on all that a household and the Internet can send, mixed: packets of
connections, ICMP errors about them, fragments in any order, options, extension headers, other
protocols, octets changed and cut off; and time that passes. Under any policy and any settings.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness import error_traffic, fragment_traffic, traffic
from harness.alterations import ALTERATIONS, Alteration, altered
from harness.domains import DRAFT_03, LW4O6, RULES, domain, mesh
from harness.error_traffic import Error
from harness.fragment_follower import FragmentFollower
from harness.fragment_traffic import Fragment
from harness.loaded import FORCED_ACCELERATOR, LoadedCes
from harness.mutations import MUTATIONS, Mutation, mutated
from harness.playing import deliver, last_port, mapping_of, own_address, packet_of, play
from harness.shortest import shortest
from harness.traffic import LAST_PORT, Again, FromLan, FromWan
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.datapath.trial import TrialLink
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.translation import TranslationPolicy

EXAMPLES = int(os.environ.get("MAPXDP_EXAMPLES", "10"))
pytestmark = pytest.mark.timeout(600 + 4 * EXAMPLES)
DOMAINS = {
    "map-t": (domain("map-t", RULES[63]), 128),
    "map-e": (domain("map-e", RULES[252]), 256),
    "lw4o6": (LW4O6, 64),
    "draft-03": (DRAFT_03, None),
    "mesh map-t": (mesh("map-t", RULES[63]), 128),
    "mesh map-e": (mesh("map-e", RULES[63]), 128),
}


#: The same, each packet offered to the accelerator first.
ACCELERATED = {
    "map-t tc": ("map-t", AcceleratorHook.TC),
    "map-e xdp": ("map-e", AcceleratorHook.XDP),
    "mesh map-t xdp": ("mesh map-t", AcceleratorHook.XDP),
    "mesh map-e tc": ("mesh map-e", AcceleratorHook.TC),
}


@dataclass(frozen=True)
class Odd:
    """A packet of a connection, or about a mapping, with something about it."""

    step: FromLan | FromWan | Again
    alterations: list[Alteration]
    mutations: list[Mutation]


Step = traffic.Step | Error | Fragment | Odd


@dataclass(frozen=True)
class Street:
    """What a CE is told, and what happens then."""

    policy: Napt44Policy
    translation: TranslationPolicy
    napt44: Napt44Kind
    lowest_ipv6_mtu: int
    mss: int | None
    steps: list[Step]


TRANSLATIONS = st.builds(
    TranslationPolicy,
    traffic_class=st.sampled_from([None, None, 0, 0xB8]),
    compute_udp_checksum=st.booleans(),
    fragment_inner=st.booleans(),
)


def odd(ce_domain: Domain) -> st.SearchStrategy[Odd]:
    lan, wan = traffic.from_lan(ce_domain), traffic.from_wan(ce_domain)
    again = st.builds(Again, st.sampled_from(traffic.WAYS), st.integers(0, 300), lan, wan)
    none: st.SearchStrategy[list[Mutation]] = st.just([])
    return st.builds(Odd, st.one_of(again, lan, wan), ALTERATIONS, st.one_of(none, MUTATIONS))


@st.composite
def streets(draw: st.DrawFn, ce_domain: Domain) -> Street:
    """A household's traffic with everything else in between."""
    household = draw(traffic.households(ce_domain))
    others = st.one_of(
        error_traffic.icmp_errors().map(lambda error: [error]),
        odd(ce_domain).map(lambda packet: [packet]),
        fragment_traffic.both_ways(ce_domain),
    )
    between = [draw(st.lists(others, max_size=2)) for _ in household.steps]
    steps = chain.from_iterable(
        [[step], *more] for step, more in zip(household.steps, between, strict=True)
    )
    return Street(
        policy=household.policy,
        translation=draw(TRANSLATIONS),
        napt44=draw(st.sampled_from([Napt44Kind.BPF] * 5 + [Napt44Kind.NONE])),
        lowest_ipv6_mtu=draw(st.sampled_from([1280, 1400, 1500])),
        mss=draw(st.sampled_from([None, 1400])),
        steps=[*chain.from_iterable(steps)],
    )


def take(follower: FragmentFollower, step: Step) -> None:
    """One step on both paths."""
    if isinstance(step, Error):
        about(follower, step)
    elif isinstance(step, Fragment):
        piece(follower, step)
    elif isinstance(step, Odd):
        odd_packet(follower, step)
    else:
        play(follower, step)


def about(follower: FragmentFollower, error: Error) -> None:
    mapping = mapping_of(follower, error.number)
    if mapping is None:
        return
    if error.is_upstream:
        follower.from_lan(error_traffic.upstream_packet(follower.ce.domain, error, mapping))
    else:
        follower.from_wan(error_traffic.downstream_packet(follower.ce.domain, error, mapping))


def piece(follower: FragmentFollower, fragment: Fragment) -> None:
    packet = fragment.datagram.packet
    if isinstance(packet, FromLan):
        follower.from_lan(fragment_traffic.upstream_packet(fragment))
        return
    port = last_port(follower) if packet.port == LAST_PORT else packet.port
    made = fragment_traffic.downstream_packet(follower.ce.domain, fragment, port)
    follower.from_wan(made)


def odd_packet(follower: FragmentFollower, packet: Odd) -> None:
    step = packet.step
    if isinstance(step, Again):
        mapping = mapping_of(follower, step.number)
        if mapping is None:
            return
        step = step.about(mapping, own_address(follower))
    made = altered(packet_of(follower, step), packet.alterations)
    shortest = 20 if isinstance(step, FromLan) else 40
    deliver(follower, step, mutated(made, packet.mutations, shortest))


def difference(start: Callable[[], FragmentFollower], steps: Sequence[Step]) -> str | None:
    """What the two paths disagree about; None if nothing."""
    follower = start()
    try:
        for step in steps:
            take(follower, step)
        follower.assert_that_events_agree()
    except AssertionError:
        return traceback.format_exc(limit=-2)
    return None


@pytest.mark.parametrize("name", [*DOMAINS, *ACCELERATED])
def test_everything_mixed(name: str, loaded_ces: LoadedCes, trial_link: TrialLink) -> None:
    where, hook = ACCELERATED.get(name, (name, FORCED_ACCELERATOR))
    ce_domain, flows = DOMAINS[where]
    ce = loaded_ces.get(ce_domain, flows, hook)
    taken = 0

    def started(street: Street) -> FragmentFollower:
        nonlocal ce
        ce = loaded_ces.get(
            ce_domain,
            flows,
            hook,
            policy=street.policy,
            translation=street.translation,
            napt44=street.napt44,
            lowest_ipv6_mtu=street.lowest_ipv6_mtu,
            mss=street.mss,
        )
        ce.link = trial_link
        return FragmentFollower(ce)

    # A failure is made short here: hypothesis knows nothing of steps, and needs minutes.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
        print_blob=False,
    )
    @given(street=streets(ce_domain))
    def check(street: Street) -> None:
        nonlocal taken
        start = partial(started, street)
        if difference(start, street.steps) is not None:
            few = shortest(street.steps, lambda steps: difference(start, steps) is not None)
            story = "\n".join(map(str, few))
            without = replace(street, steps=[])
            pytest.fail(f"{without}\n{story}\n{difference(start, few)}", pytrace=False)
        taken += ce.taken

    check()
    assert (taken > 0) == (hook is not AcceleratorHook.NONE)
