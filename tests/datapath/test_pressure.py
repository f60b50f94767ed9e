# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""When nothing is left: closing mappings go early, where that is allowed, and a flood of refused
packets searches once in a tick."""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Iterator

import pytest

from harness.ce import LoadedCe
from harness.exchange import endpoint, port_given, send
from harness.packets import ACK, RST
from harness.policies import shared, strict
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.reasons import Reason

POLICIES = {"own ports": strict, "flows": shared}
PORTS = 252
EARLY, CLOSING = 60, 240
GONE = 2  # ticks after a timeout


@pytest.fixture
def ce(ce: LoadedCe) -> Iterator[LoadedCe]:
    """Recounted at the end."""
    yield ce
    assert not ce.recounted()


def fill(ce: LoadedCe, policy: Napt44Policy, closing: int = 1) -> list[int]:
    """Connections of one remote on all ports, the first few closing: the ports."""
    ce.reset(policy=policy)
    ports = [port_given(send(ce, "tcp", *endpoint(number))) for number in range(PORTS)]
    for number in range(closing):
        send(ce, "tcp", *endpoint(number), flags=RST)
    return ports


def one_more(ce: LoadedCe, number: int = PORTS) -> Reason:
    return send(ce, "tcp", *endpoint(number)).reason


@pytest.mark.parametrize("kind", POLICIES)
def test_closing_connections_make_room(kind: str, ce: LoadedCe) -> None:
    ports = fill(ce, POLICIES[kind](early_reclaim=True))
    ce.advance(EARLY + GONE - 1)
    assert one_more(ce) is Reason.PORTS_EXHAUSTED
    ce.advance(1)
    sent = send(ce, "tcp", *endpoint(PORTS))
    assert port_given(sent) == ports[0]
    assert ce.events()[Reason.EARLY_RECLAIMED] == 1
    assert one_more(ce, PORTS + 1) is Reason.PORTS_EXHAUSTED


@pytest.mark.parametrize("kind", POLICIES)
def test_only_where_that_is_allowed(kind: str, ce: LoadedCe) -> None:
    fill(ce, POLICIES[kind]())
    for ticks in (EARLY + GONE, CLOSING - EARLY - GONE, 1):
        ce.advance(ticks)
        assert one_more(ce) is Reason.PORTS_EXHAUSTED
    ce.advance(1)
    assert one_more(ce) is Reason.TRANSLATED
    assert Reason.EARLY_RECLAIMED not in ce.events()


@pytest.mark.parametrize("kind", POLICIES)
def test_not_while_there_is_anything_else(kind: str, ce: LoadedCe) -> None:
    """With a port free, the closing connection keeps its own."""
    ce.reset(policy=POLICIES[kind](early_reclaim=True))
    for number in range(PORTS - 1):
        send(ce, "tcp", *endpoint(number))
    send(ce, "tcp", *endpoint(0), flags=RST)
    ce.advance(EARLY + GONE)
    assert one_more(ce) is Reason.TRANSLATED
    assert Reason.EARLY_RECLAIMED not in ce.events()
    assert one_more(ce, PORTS + 1) is Reason.TRANSLATED
    assert ce.events()[Reason.EARLY_RECLAIMED] == 1


@pytest.mark.parametrize("kind", POLICIES)
def test_live_connections_are_never_taken(kind: str, ce: LoadedCe) -> None:
    """However full, and however early: those that open, or that the LAN has used since."""
    fill(ce, POLICIES[kind](early_reclaim=True), closing=0)
    send(ce, "tcp", *endpoint(0), flags=RST)
    send(ce, "tcp", *endpoint(0), flags=ACK)
    ce.advance(CLOSING - 1)
    assert one_more(ce) is Reason.PORTS_EXHAUSTED
    assert Reason.EARLY_RECLAIMED not in ce.events()


def test_a_closing_port_of_somebodys_own_becomes_shared(ce: LoadedCe) -> None:
    """A flow finds no port: it takes one that an endpoint owned, under pressure only."""
    ports = fill(ce, strict(early_reclaim=True))
    ce.settings = dataclasses.replace(ce.settings, policy=shared(early_reclaim=True))
    ce.advance(EARLY + GONE)
    assert port_given(send(ce, "tcp", *endpoint(PORTS))) == ports[0]
    assert ce.events()[Reason.EARLY_RECLAIMED] == ce.events()[Reason.PORT_SHARED] == 1


def age(ce: LoadedCe, name: str, ticks: int) -> None:
    """Makes the first mapping of ``slots`` or ``flows`` look silent for so long, behind the
    datapath's back: it can notice only by searching."""
    layout = ce.maps.contract["mapping"]
    offsets = {field.name: field.offset for field in layout.fields}
    first = min(ce.flows()) if name == "flows" else 0
    size = ce.maps.spec(name).entries * layout.size
    with mmap.mmap(ce.maps.fds[name], size) as memory:
        for field in ("tick_46", "tick_64"):
            struct.pack_into("=I", memory, first * layout.size + offsets[field], ce.now - ticks)


@pytest.mark.parametrize(
    ("kind", "table", "found"),
    [("own ports", "slots", Reason.MAPPING_RECLAIMED), ("flows", "flows", Reason.FLOW_RELEASED)],
)
def test_a_flood_of_refused_packets_searches_once_in_a_tick(
    kind: str, table: str, found: Reason, ce: LoadedCe
) -> None:
    fill(ce, POLICIES[kind](), closing=0)
    assert one_more(ce) is Reason.PORTS_EXHAUSTED
    age(ce, table, 10_000)
    for number in range(20):
        assert one_more(ce, PORTS + number) is Reason.PORTS_EXHAUSTED
    assert found not in ce.events()
    ce.set_clock(ce.now + 1)
    assert one_more(ce) is Reason.TRANSLATED
    assert ce.events()[found] == 1


def test_another_remote_is_searched_for(ce: LoadedCe) -> None:
    """That no port is left towards one says nothing of the others."""
    fill(ce, shared(), closing=0)
    assert one_more(ce) is Reason.PORTS_EXHAUSTED
    assert send(ce, "tcp", *endpoint(PORTS), "203.0.113.9").reason is Reason.TRANSLATED
    assert one_more(ce) is Reason.PORTS_EXHAUSTED


def test_the_gate_opens_when_a_port_becomes_free(ce: LoadedCe) -> None:
    """In the same tick: whoever sends again need not wait."""
    ce.reset(policy=shared(reserved_ports=frozenset(list(ce.domain.port_set)[1:])))
    send(ce, "tcp", *endpoint(0))
    assert one_more(ce, 1) is Reason.PORTS_EXHAUSTED
    ((position, flow),) = ce.flows().items()
    ce.command("COMMAND_RELEASE_FLOW", position, flow["owner"])
    assert one_more(ce, 1) is Reason.TRANSLATED
