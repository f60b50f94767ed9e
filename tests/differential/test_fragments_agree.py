# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fragments through BPF and the software path, in any order: the same reasons, bytes and events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import fragments, packets
from harness.ce import LoadedCe
from harness.domains import LW4O6, domain
from harness.exchange import port_given
from harness.fragment_follower import FragmentFollower
from harness.fragments import Cut, Part, parts_of
from harness.loaded import LoadedCes
from harness.packets import SERVER
from harness.policies import policy
from mapxdp.datapath.trial import TrialLink
from mapxdp.model.napt44 import Filtering
from mapxdp.model.translation import TranslationPolicy

EXAMPLES = int(os.environ.get("MAPXDP_EXAMPLES", "25"))
pytestmark = pytest.mark.timeout(600 + EXAMPLES)
DOMAINS = {"map-t": domain("map-t"), "map-e": domain("map-e"), "lw4o6": LW4O6}
PORT = 40000
PROTOCOLS = ["udp", "tcp", "echo"]


@dataclass(frozen=True)
class Event:
    """A fragment of one of some datagrams, or time that passes."""

    which: int
    part: Part
    wait: int = 0


@dataclass(frozen=True)
class Datagram:
    upstream: bool
    protocol: str
    length: int
    forbids: bool
    outer: bool


@st.composite
def datagrams(draw: st.DrawFn) -> Datagram:
    return Datagram(
        draw(st.booleans()),
        draw(st.sampled_from(PROTOCOLS)),
        draw(st.sampled_from([40, 200, 1400, 1452, 1500, 4000, 17000])),
        draw(st.sampled_from([False, False, False, True])),
        draw(st.booleans()),
    )


@st.composite
def events(draw: st.DrawFn, all_of: Sequence[Datagram]) -> list[Event]:
    """Their fragments, mostly all of them, in some order, with some that are wrong."""
    made: list[Event] = []
    for which, datagram in enumerate(all_of):
        size = draw(st.sampled_from([8, 24, 1200, 1432, 1440, 1448, 1456, 2000]))
        parts = parts_of(datagram.length, max(size, -(-datagram.length // 66 // 8) * 8))
        parts = parts if draw(st.booleans()) else parts[::-1]
        if draw(st.booleans()):
            parts = draw(st.permutations(parts[:8])) + parts[8:]
        for part in parts:
            made.append(Event(which, part))
            match draw(st.integers(0, 30)):
                case 0:
                    made.append(Event(which, part))
                case 1:
                    made.append(Event(which, replace(part, offset=part.offset + 8)))
                case 2:
                    made.append(Event(which, replace(part, more=not part.more)))
                case 3:
                    made.append(Event(which, replace(part, length=max(0, part.length - 3))))
                case 4:
                    made.pop()
                case 5:
                    made.append(Event(which, part, draw(st.sampled_from([1, 15, 16]))))
                case _:
                    pass
    if draw(st.booleans()):
        made = draw(st.permutations(made[:24])) + made[24:]
    return made


def cut_of(ce: LoadedCe, datagram: Datagram, number: int, ports: dict[str, int]) -> Cut:
    body = fragments.noise(datagram.length)
    if datagram.upstream:
        cut, _ = fragments.from_lan(datagram.protocol, body, PORT, number)
        if not datagram.forbids:
            return cut
        return lambda part: with_df(cut(part))
    port = ports[datagram.protocol]
    cut, _ = fragments.from_wan(ce.domain, datagram.protocol, body, port, number)
    if ce.domain.mode.translates or not datagram.outer:
        return cut
    payload, protocol = fragments.wan_payload(ce.domain, datagram.protocol, body, port)
    own = str(ce.domain.ipv4_address)
    inner = packets.ipv4(payload, protocol, SERVER, own, fragment=0, identification=number)
    br = ce.domain.br
    assert br is not None
    return fragments.ipv6_cut(inner, packets.IPV4, br, ce.domain.map_address, number)


def with_df(packet: bytes) -> bytes:
    header = packet[:6] + bytes([packet[6] | 0x40]) + packet[7:10] + bytes(2) + packet[12:20]
    checksum = packets.internet_checksum(header).to_bytes(2, "big")
    return header[:10] + checksum + header[12:] + packet[20:]


@pytest.mark.parametrize("inner", [False, True], ids=["outer", "inner"])
@pytest.mark.parametrize("lowest", [1280, 1500])
@pytest.mark.parametrize("name", DOMAINS)
def test_fragments_in_any_order(
    name: str, lowest: int, inner: bool, loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        ce = loaded_ces.get(
            DOMAINS[name],
            policy=policy(filtering=Filtering.EIF),
            lowest_ipv6_mtu=lowest,
            translation=TranslationPolicy(fragment_inner=inner),
        )
        ce.link = trial_link
        follower = FragmentFollower(ce)
        ports = {protocol: opened(follower, protocol) for protocol in PROTOCOLS}
        all_of = data.draw(st.lists(datagrams(), min_size=1, max_size=3))
        cuts = [cut_of(ce, datagram, 100 + n, ports) for n, datagram in enumerate(all_of)]
        for event in data.draw(events(all_of)):
            if event.wait:
                follower.advance(event.wait)
            way = follower.from_lan if all_of[event.which].upstream else follower.from_wan
            way(cuts[event.which](event.part))
        follower.assert_that_events_agree()

    check()


def opened(follower: FragmentFollower, protocol: str) -> int:
    """The port of the host's endpoint, which has sent something."""
    cut, length = fragments.from_lan(protocol, b"x", PORT)
    return port_given(follower.from_lan(cut(Part(0, length, False))))
