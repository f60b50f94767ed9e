# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""In every state a mapping can be in: do C and the software path make the same of each packet?

All states are found by trying every packet in every state that was found before. A state is
reached again in the software path by the shortest sequence of packets that leads to it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest

from mapxdp.datapath import tables
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.software.lifecycle import Endpoint, LanPacket, Life
from mapxdp.software.transport import TcpFlags

CONTRACT = tables.contract_for(PortSet(PortParameters(6, 8), 0))
LAN = Endpoint(b"\x0a\0\0\1", 1)
PEERS = {1: Endpoint(b"\1\1\1\1", 80), 2: Endpoint(b"\2\2\2\2", 80)}
TCP_FLAGS = [
    TcpFlags(fin | syn | rst | ack)
    for fin, syn, rst, ack in product(
        (0, TcpFlags.FIN), (0, TcpFlags.SYN), (0, TcpFlags.RST), (0, TcpFlags.ACK)
    )
]


class Packet(NamedTuple):
    """A packet of the mapping's port."""

    from_lan: bool
    peer: int
    flags: TcpFlags


class State(NamedTuple):
    """A mapping in C."""

    flags: int
    peer: int


PACKETS = [Packet(*fields) for fields in product((True, False), PEERS, TCP_FLAGS)]
Way = tuple[Packet, ...]


def after(host_c: ctypes.CDLL, state: State, packet: Packet) -> State:
    """What C makes of a packet."""
    peer = ctypes.c_uint64(state.peer)
    flags = host_c.after(
        packet.from_lan, state.flags, ctypes.byref(peer), int(packet.flags), packet.peer
    )
    return State(flags, peer.value)


@pytest.fixture(scope="module")
def states(host_c: ctypes.CDLL) -> dict[State, Way]:
    """Every state, and the packets that lead to it; the first is from the LAN."""
    ways: dict[State, Way] = {}
    for flags in TCP_FLAGS:
        if not flags & TcpFlags.RST:  # which opens no mapping
            ways.setdefault(State(host_c.first(int(flags)), 1), (Packet(True, 1, flags),))
    news = list(ways)
    while news:
        state = news.pop(0)
        for packet in PACKETS:
            following = after(host_c, state, packet)
            if following not in ways:
                ways[following] = (*ways[state], packet)
                news.append(following)
    return ways


class Software:
    """The software path's life of a mapping; its clock moves with each packet."""

    def __init__(self, way: Way) -> None:
        self._now = 0
        first, *others = way
        self._life = Life.begun_by(_from_lan(first), self._now)
        for packet in others:
            self.send(packet)

    def send(self, packet: Packet) -> None:
        self._now += 1
        if packet.from_lan:
            self._life.note_from_lan(_from_lan(packet), self._now)
        else:
            self._life.note_from_wan(PEERS[packet.peer], packet.flags, self._now)

    def look(self) -> tuple[int, MappingFacts, bool]:
        """The first peer, what is known, and whether the last packet restarted the clock."""
        peer = next(number for number, peer in PEERS.items() if self._life.peer == peer)
        return peer, self._life.facts, self._life.touched == self._now


def _from_lan(packet: Packet) -> LanPacket:
    return LanPacket(Protocol.TCP, LAN, PEERS[packet.peer], packet.flags)


def all_steps(states: dict[State, Way]) -> Iterator[tuple[State, Way, Packet]]:
    for (state, way), packet in product(states.items(), PACKETS):
        yield state, way, packet


def test_there_are_many_states(states: dict[State, Way]) -> None:
    assert len(states) > 90
    assert len({tables.facts_of(CONTRACT, state.flags) for state in states}) == 8


def test_both_know_the_same_after_each_packet(
    host_c: ctypes.CDLL, states: dict[State, Way]
) -> None:
    for state, way, packet in all_steps(states):
        software = Software(way)
        software.send(packet)
        following = after(host_c, state, packet)
        peer, facts, _ = software.look()
        assert peer == following.peer, (way, packet)
        assert facts == tables.facts_of(CONTRACT, following.flags), (way, packet)


def test_both_restart_the_clock_after_the_same_packets(
    host_c: ctypes.CDLL, states: dict[State, Way]
) -> None:
    """What note_packet_46 and note_packet_64 in napt44.h do with the state."""
    for state, way, packet in all_steps(states):
        software = Software(way)
        software.send(packet)
        news = after(host_c, state, packet).flags ^ state.flags
        restarted = packet.from_lan or news != 0
        assert software.look()[2] is restarted, (way, packet)
