# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What holds of NAPT44 whatever happens: invariants, after each of many packets.

The tables are looked at from outside, through ``mappings()``, and counted anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from nat_tools import (
    ACK,
    ADF,
    APDF,
    AUTO,
    EIF,
    EIM,
    FIN,
    ICMP,
    NO_FLAGS,
    PORTS,
    RST,
    SHARED,
    SMALL_SET,
    SYN,
    TCP,
    UDP,
    Nat,
    endpoint,
    policy,
)

from mapxdp.model.napt44 import (
    Filtering,
    Forward,
    MappingPolicy,
    Napt44Policy,
    is_shared_first,
    shared_reserve,
)
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.lifecycle import GRACE, Endpoint
from mapxdp.software.transport import TcpFlags
from mapxdp.software.verdict import Refused

OWN, FLOW, FORWARD = MappingKind.OWN, MappingKind.FLOW, MappingKind.FORWARD
CONSOLE = Forward(UDP, PORTS[3], IPv4Address("192.168.1.7"), 3074)
RESERVED = PORTS[:2]
ROOM = 20


@dataclass(frozen=True)
class Out:
    protocol: Protocol
    host: Endpoint
    remote: Endpoint
    flags: TcpFlags


@dataclass(frozen=True)
class Back:
    protocol: Protocol
    port: int
    remote: Endpoint
    flags: TcpFlags


@dataclass(frozen=True)
class Wait:
    ticks: int


PROTOCOLS = st.sampled_from([TCP, TCP, UDP, UDP, ICMP])
HOSTS = st.builds(
    lambda host, port: endpoint(f"192.168.1.{host}", port),
    st.integers(1, 7),
    st.sampled_from([3074, 40000, 40001, 40002, PORTS[4], PORTS[11]]),
)
REMOTES = st.builds(
    lambda host, port: endpoint(f"198.51.100.{host}", port),
    st.integers(1, 3),
    st.sampled_from([53, 443, 4430]),
)
FLAGS = st.sampled_from([NO_FLAGS, SYN, ACK, FIN | ACK, RST, SYN | ACK])
STEPS = st.one_of(
    st.builds(Out, PROTOCOLS, HOSTS, REMOTES, FLAGS),
    st.builds(Out, PROTOCOLS, HOSTS, REMOTES, FLAGS),
    st.builds(Back, PROTOCOLS, st.sampled_from(PORTS), REMOTES, FLAGS),
    st.builds(Wait, st.sampled_from([1, 2, 10, 11, 12, 30, 31, 32, 60, 62, 121, 242, 301, 7442])),
)
POLICIES = st.builds(
    policy,
    mapping=st.sampled_from([AUTO, EIM, SHARED]),
    filtering=st.sampled_from([EIF, ADF, APDF]),
    host_ports_min=st.sampled_from([0, 2, 8]),
    host_ports_max=st.sampled_from([None, 1, 3]),
    host_flows_max=st.sampled_from([None, 2, 15]),
    early_reclaim=st.booleans(),
    forwards=st.sampled_from([(), (CONSOLE,)]),
)
GENERATED = settings(deadline=None, derandomize=True, database=None, max_examples=400)


class Household:
    """A table, what was sent through it, and what has to hold."""

    def __init__(self, rules: Napt44Policy) -> None:
        self.rules = rules
        self.nat = Nat(rules, reserved=RESERVED, flows=ROOM)
        self._sent: dict[tuple[Protocol, Endpoint, Endpoint], int] = {}

    def of(self, protocol: Protocol) -> list[Mapping]:
        return [use for use in self.nat.uses() if use.protocol is protocol]

    def take(self, step: Out | Back | Wait) -> None:
        if isinstance(step, Wait):
            self.nat.wait(step.ticks)
        elif isinstance(step, Out):
            self._send(step)
        else:
            self._receive(step)
        self._check()

    def _send(self, step: Out) -> None:
        remote = _remote(step.protocol, step.remote)
        flags = step.flags if step.protocol is TCP else NO_FLAGS
        uses = self.of(step.protocol)
        known = [use for use in uses if _serves(use, step.host, remote)]
        try:
            port = self.nat.out(step.host, remote, flags, step.protocol)
        except Refused as refusal:
            assert not known
            if refusal.reason is Reason.NO_MAPPING:
                assert flags & RST
                return
            reasons = self.reasons_for_nothing(step.protocol, step.host, remote, uses)
            assert refusal.reason is reasons
            return
        self._sent[step.protocol, step.host, remote] = self.nat.clock.now
        self._check_that_no_live_place_was_taken(step, port, remote, uses)
        own = [use for use in known if use.kind is not FLOW]
        shared_first = is_shared_first(
            self.rules.mapping[step.protocol], step.protocol, remote.port
        )
        if own and not (shared_first and any(use.kind is FLOW for use in known)):
            assert port == own[0].port, "endpoint-independent"

    def _check_that_no_live_place_was_taken(
        self, step: Out, port: int, remote: Endpoint, uses: list[Mapping]
    ) -> None:
        for use in uses:
            if use.port != port or _endpoint(use) == step.host or use.kind is FORWARD:
                continue
            if use.kind is FLOW and _peer(use) != remote:
                continue
            early = self.rules.early_reclaim and step.protocol is TCP
            assert use.idle > (61 if early else use.timeout + GRACE), "a live place was taken"

    def _receive(self, step: Back) -> None:
        remote = _remote(step.protocol, step.remote)
        flags = step.flags if step.protocol is TCP else NO_FLAGS
        uses = [use for use in self.of(step.protocol) if use.port == step.port]
        mine = [use for use in uses if use.kind is not FLOW or _peer(use) == remote]
        try:
            host = self.nat.back(step.port, remote, flags, step.protocol)
        except Refused as refusal:
            if refusal.reason is Reason.NO_MAPPING:
                assert not uses
            elif refusal.reason is Reason.MAPPING_EXPIRED:
                assert not mine[0].is_live
            else:
                assert refusal.reason is Reason.FILTERED
                assert not mine or mine[0].kind is OWN
                assert not mine or self.rules.filtering[step.protocol] is not EIF
            return
        (use,) = mine
        assert use.is_live
        assert host == _endpoint(use)
        if use.kind is OWN and self.rules.filtering[step.protocol] is not EIF:
            assert self._was_sent_to(use, remote), "a permission outlived its mapping"

    def _was_sent_to(self, use: Mapping, remote: Endpoint) -> bool:
        """Whether the owner sent there since the mapping began: the first remote's has no end."""
        by_address = self.rules.filtering[use.protocol] is Filtering.ADF
        began = self.nat.clock.now - use.age
        return any(
            protocol is use.protocol
            and host == _endpoint(use)
            and (sent == remote or (by_address and sent.address == remote.address))
            and tick >= began
            and (self.nat.clock.now - tick <= use.timeout or _same(by_address, sent, _peer(use)))
            for (protocol, host, sent), tick in self._sent.items()
        )

    def reasons_for_nothing(
        self, protocol: Protocol, host: Endpoint, remote: Endpoint, uses: list[Mapping]
    ) -> Reason:
        """The reason for a drop, found anew; asserts that there was no legal place."""
        rules, mapping = self.rules, self.rules.mapping[protocol]
        owns = not is_shared_first(mapping, protocol, remote.port)
        shares = not owns or mapping is not MappingPolicy.EIM
        free = set(PORTS) - set(RESERVED) - {use.port for use in uses}
        over = {use.port for use in uses if use.kind is OWN and self._is_over(use)}
        mine = [use for use in self.nat.uses() if use.host.packed == host.address]
        owned = sum(use.kind is OWN and use.protocol is protocol for use in mine)
        flows = sum(use.kind is FLOW for use in mine)
        small = owned + flows < rules.host_ports_min
        limited, full = False, False
        if owns:
            if owned >= (rules.host_ports_max or len(PORTS)):
                limited = True
            else:
                assert not over
                assert not free or not (small or owned < len(free))
                limited |= bool(free)
        if shares:
            all_flows = sum(use.kind is FLOW for use in self.nat.uses())
            full = all_flows >= ROOM
            if flows >= (rules.host_flows_max or ROOM // 2):
                limited = True
            elif not full:
                shared = {use.port for use in uses if use.kind is FLOW}
                claimed = {use.port for use in uses if use.kind is FLOW and _peer(use) == remote}
                assert not over
                assert shared == claimed
                assert not free or not (small or len(free) > shared_reserve(len(PORTS)))
                limited |= bool(free)
        if limited:
            return Reason.HOST_LIMIT
        return Reason.FLOWS_FULL if full else Reason.PORTS_EXHAUSTED

    def _is_over(self, use: Mapping) -> bool:
        return use.idle > use.timeout + GRACE

    def _check(self) -> None:
        for protocol in Protocol:
            uses = self.of(protocol)
            flows = [use for use in uses if use.kind is FLOW]
            held = [use.port for use in uses if use.kind is not FLOW]
            own = {use.port for use in uses if use.kind is OWN}
            assert all(use.port in SMALL_SET for use in uses)
            assert not {use.port for use in flows} & set(held), "own and shared at once"
            assert not (own | {use.port for use in flows}) & set(RESERVED)
            assert len(held) == len(set(held))
            assert all(n == 1 for n in Counter((use.port, _peer(use)) for use in flows).values())
            assert all(
                n == 1 for n in Counter((_endpoint(use), _peer(use)) for use in flows).values()
            )
            assert len({_endpoint(use) for use in uses if use.port in own}) == len(own)
            assert all(not self._is_over(use) for use in flows), "the sweep left something"
            self._check_counts(protocol, uses)
        assert len(self.nat.uses(FLOW)) <= ROOM

    def _check_counts(self, protocol: Protocol, uses: list[Mapping]) -> None:
        """What the table counts is what there is: by host, by port, free ones."""
        tables = self.nat.table._tables
        ports = tables.ports[protocol]
        taken = {use.port for use in uses}
        assert ports.free == set(PORTS) - set(RESERVED) - taken
        assert dict(ports._shared) == Counter(use.port for use in uses if use.kind is FLOW)
        every = self.nat.uses()
        for number in range(1, 8):
            host = endpoint(f"192.168.1.{number}", 0)
            mine = [use for use in every if use.host.packed == host.address]
            assert tables.hosts.use(protocol, host) == (
                sum(use.kind is OWN and use.protocol is protocol for use in mine),
                sum(use.kind is FLOW for use in mine),
            )


def _remote(protocol: Protocol, remote: Endpoint) -> Endpoint:
    return remote._replace(port=0) if protocol is ICMP else remote


def _endpoint(use: Mapping) -> Endpoint:
    return Endpoint(use.host.packed, use.host_port)


def _peer(use: Mapping) -> Endpoint:
    return Endpoint(use.peer.packed, use.peer_port)


def _same(by_address: bool, one: Endpoint, other: Endpoint) -> bool:
    return one.address == other.address if by_address else one == other


def _serves(use: Mapping, host: Endpoint, remote: Endpoint) -> bool:
    return _endpoint(use) == host and (use.kind is not FLOW or _peer(use) == remote)


@given(rules=POLICIES, steps=st.lists(STEPS, min_size=5, max_size=80))
@GENERATED
def test_whatever_happens(rules: Napt44Policy, steps: list[Out | Back | Wait]) -> None:
    household = Household(rules)
    for step in steps:
        household.take(step)


@given(rules=POLICIES, steps=st.lists(STEPS, min_size=5, max_size=60))
@GENERATED
def test_events_add_up(rules: Napt44Policy, steps: list[Out | Back | Wait]) -> None:
    household = Household(rules)
    for step in steps:
        household.take(step)
    kept = household.nat.uses()
    events = household.nat.table.events
    assert events[Reason.MAPPING_CREATED] - events[Reason.MAPPING_RECLAIMED] == sum(
        use.kind is OWN for use in kept
    )
    assert events[Reason.FLOW_CREATED] - events[Reason.FLOW_RELEASED] == sum(
        use.kind is FLOW for use in kept
    )
    assert events[Reason.PORT_SHARED] - events[Reason.PORT_UNSHARED] == len(
        {(use.protocol, use.port) for use in kept if use.kind is FLOW}
    )
