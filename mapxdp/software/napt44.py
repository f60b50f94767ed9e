# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44 into a port set, as docs/napt44.md says.

Which of several ports a new mapping gets is a choice; everything else follows from the packets
and the clock. The choices are parameters, so that a test can make them as the datapath did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address

from mapxdp.model.napt44 import Napt44Policy, is_shared_first, shared_target
from mapxdp.model.port_set import PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.reasons import Reason
from mapxdp.software import forwards
from mapxdp.software.choices import (
    Chooser,
    HomeHash,
    choose_at_random,
    choose_first,
    keyed_hash,
)
from mapxdp.software.fairness import Hosts, Limits
from mapxdp.software.flows import FLOWS, Flow, Flows
from mapxdp.software.lifecycle import NOBODY, Endpoint, LanPacket, Life, Lifetimes
from mapxdp.software.permissions import Permissions
from mapxdp.software.ports import Ports, Slot
from mapxdp.software.search import Place, Search, Tables
from mapxdp.software.transport import TcpFlags
from mapxdp.software.verdict import Refused


class Napt44:
    """The mappings of a CE.

    ``clock`` gives the time in ticks, the unit of the policy's timeouts. ``reserved`` ports are
    never handed out, nor are the policy's; ``flows`` is the room in the table of flows.
    ``choose`` picks a port for an endpoint, ``choose_shared`` one for a flow.
    """

    def __init__(
        self,
        port_set: PortSet,
        policy: Napt44Policy,
        clock: Callable[[], int],
        *,
        reserved: Collection[int] = (),
        flows: int = FLOWS,
        choose: Chooser = choose_at_random,
        choose_shared: Chooser = choose_first,
        home: HomeHash | None = None,
    ) -> None:
        self.choose = choose
        self.choose_shared = choose_shared
        self._clock = clock
        self._port_count = len(port_set)
        self._home = home or keyed_hash()
        unusable = policy.reserved_ports | frozenset(reserved)
        self._tables = Tables(
            policy,
            Limits.of(policy, len(port_set), flows),
            Lifetimes(policy.timeouts),
            shared_target(len(port_set)),
            {protocol: Ports(port_set, unusable) for protocol in Protocol},
            Flows(flows),
            Hosts(),
        )
        #: What happened beside the verdicts.
        self.events: Counter[Reason] = Counter()
        self._swept = clock()
        for forward in sorted(policy.forwards, key=lambda forward: forward.port is None):
            forwards.set_up(forward, self._tables.ports[forward.protocol], self._swept)

    def now(self) -> int:
        """The tick. In a new one, what was due has been released."""
        now = self._clock()
        if now != self._swept:
            self._swept = now
            self.sweep()
        return now

    def sweep(self) -> None:
        """Releases every flow that is gone."""
        now = self._clock()
        for flow in self._tables.flows:
            if self._tables.lifetimes.is_over(flow.life, now):
                self._release(flow)
                if self._tables.ports[flow.protocol].remove_flow(flow.port):
                    self.events[Reason.PORT_UNSHARED] += 1

    def from_lan(
        self,
        protocol: Protocol,
        endpoint: Endpoint,
        remote: Endpoint,
        flags: TcpFlags,
        *,
        is_echo_reply: bool = False,
    ) -> int:
        """The port for a packet from the LAN, mapped now if it was not; raises Refused."""
        packet = LanPacket(protocol, endpoint, remote, flags, is_echo_reply)
        now = self.now()
        policy = self._tables.policy.mapping[protocol]
        known = (self._slot_port, self._flow_port)
        shared_first = is_shared_first(policy, protocol, remote.port)
        for look in reversed(known) if shared_first else known:
            port = look(packet, now)
            if port is not None:
                return port
        self._refuse_what_begins_nothing(packet)
        home = self._home(endpoint) % self._port_count
        place = Search(self._tables, packet, home, now).place()
        return self._begin(packet, place, now)

    def from_wan(
        self, protocol: Protocol, port: int, remote: Endpoint, flags: TcpFlags
    ) -> Endpoint:
        """The LAN endpoint a packet to ``port`` (of the set) is for; raises Refused."""
        now, ports = self.now(), self._tables.ports[protocol]
        found: Slot | Flow | None = ports.slot(port)
        if found is None:
            if not ports.is_shared(port):
                raise Refused(Reason.NO_MAPPING)
            found = self._tables.flows.claim(protocol, port, remote)
            if found is None:
                raise Refused(Reason.FILTERED)
        self._refuse_what_may_not_enter(found, remote, now)
        found.life.note_from_wan(remote, flags, now)
        return found.endpoint

    def port_of(self, protocol: Protocol, endpoint: Endpoint, remote: Endpoint) -> int:
        """The port that an endpoint has towards a remote. Nothing changes by being asked for
        (RFC 5508 REQ-6); raises Refused where there is none."""
        now, tables = self.now(), self._tables
        known: list[Slot | Flow | None] = [
            tables.ports[protocol].of(endpoint),
            tables.flows.of(protocol, endpoint, remote),
        ]
        if is_shared_first(tables.policy.mapping[protocol], protocol, remote.port):
            known.reverse()
        for found in known:
            if found is not None and self._is_in_use(found, now):
                return found.port
        raise Refused(Reason.NO_MAPPING)

    def endpoint_of(self, protocol: Protocol, port: int, remote: Endpoint) -> Endpoint:
        """The endpoint that has a port towards a remote, asked for in the same way."""
        now, tables = self.now(), self._tables
        found: Slot | Flow | None = tables.ports[protocol].slot(port)
        if found is None:
            found = tables.flows.claim(protocol, port, remote)
        if found is None or not self._is_in_use(found, now):
            raise Refused(Reason.NO_MAPPING)
        return found.endpoint

    def _is_in_use(self, found: Slot | Flow, now: int) -> bool:
        if isinstance(found, Slot) and not found.is_own:
            return True
        return self._tables.lifetimes.is_alive(found.life, now)

    def mappings(self) -> Iterator[Mapping]:
        """The uses of ports, expired ones that nobody took over yet included."""
        now = self.now()
        for protocol, ports in self._tables.ports.items():
            for slot in ports.slots():
                yield self._seen(protocol, slot.kind, slot, now)
        for flow in self._tables.flows:
            yield self._seen(flow.protocol, MappingKind.FLOW, flow, now)

    def _seen(self, protocol: Protocol, kind: MappingKind, use: Slot | Flow, now: int) -> Mapping:
        life = use.life
        return Mapping(
            protocol=protocol,
            host=IPv4Address(use.endpoint.address),
            host_port=use.endpoint.port,
            port=use.port,
            peer=IPv4Address(life.peer.address),
            peer_port=life.peer.port,
            idle=0 if life.peer == NOBODY else now - life.touched,
            timeout=self._tables.lifetimes.timeout(life),
            kind=kind,
            age=now - life.created,
        )

    def _slot_port(self, packet: LanPacket, now: int) -> int | None:
        """The port the endpoint of a packet has for itself, in use again if it had expired."""
        slot = self._tables.ports[packet.protocol].of(packet.endpoint)
        if slot is None:
            return None
        if slot.is_own and not self._tables.lifetimes.is_alive(slot.life, now):
            if not packet.may_begin:
                return None
            slot.life = Life.begun_by(packet, now)
            slot.permissions = self._no_permissions(packet.protocol)
            self.events[Reason.MAPPING_REVIVED] += 1
            return slot.port
        if slot.life.peer == NOBODY:
            slot.life.peer = packet.remote
        slot.life.note_from_lan(packet, now)
        if packet.remote != slot.life.peer:
            slot.permissions.record(packet.remote, now)
        return slot.port

    def _flow_port(self, packet: LanPacket, now: int) -> int | None:
        """The port the endpoint of a packet shares towards this remote."""
        flow = self._tables.flows.of(packet.protocol, packet.endpoint, packet.remote)
        if flow is None:
            return None
        if self._tables.lifetimes.is_alive(flow.life, now):
            flow.life.note_from_lan(packet, now)
        elif not packet.may_begin:
            return None
        else:
            flow.life = Life.begun_by(packet, now)
            self.events[Reason.MAPPING_REVIVED] += 1
        return flow.port

    def _refuse_what_begins_nothing(self, packet: LanPacket) -> None:
        """Step 3."""
        if not packet.may_begin:
            raise Refused(Reason.NO_MAPPING)
        if packet.protocol is Protocol.TCP and not (
            self._tables.policy.pick_up or packet.opens_tcp
        ):
            raise Refused(Reason.TCP_NOT_OPENING)

    def _refuse_what_may_not_enter(self, found: Slot | Flow, remote: Endpoint, now: int) -> None:
        life, lifetimes = found.life, self._tables.lifetimes
        if isinstance(found, Slot) and not found.is_own:
            return
        if not lifetimes.is_alive(life, now):
            raise Refused(Reason.MAPPING_EXPIRED)
        if isinstance(found, Slot) and not found.permissions.lets_in(
            remote, life.peer, now, lifetimes.timeout(life)
        ):
            raise Refused(Reason.FILTERED)

    def _begin(self, packet: LanPacket, place: Place, now: int) -> int:
        """Makes the mapping or flow; its port."""
        choose = self.choose if place.kind is MappingKind.OWN else self.choose_shared
        port = choose(packet.protocol, place.ports)
        if place.early:
            self.events[Reason.EARLY_RECLAIMED] += 1
        previous = self._tables.ports[packet.protocol].slot(port)
        if previous is not None:
            self._reclaim(packet.protocol, previous)
        life = Life.begun_by(packet, now)
        if place.kind is MappingKind.OWN:
            self._own(packet, port, life)
        else:
            self._share(packet, port, life)
        return port

    def _own(self, packet: LanPacket, port: int, life: Life) -> None:
        permissions = self._no_permissions(packet.protocol)
        slot = Slot(MappingKind.OWN, packet.endpoint, port, life, permissions)
        self._tables.ports[packet.protocol].give(slot)
        self._tables.hosts.add_port(packet.protocol, packet.endpoint)
        self.events[Reason.MAPPING_CREATED] += 1

    def _reclaim(self, protocol: Protocol, slot: Slot) -> None:
        self._tables.ports[protocol].take(slot)
        self._tables.hosts.add_port(protocol, slot.endpoint, -1)
        self.events[Reason.MAPPING_RECLAIMED] += 1

    def _share(self, packet: LanPacket, port: int, life: Life) -> None:
        """Also takes the place of a closing flow: the port then is shared all the while."""
        ports = self._tables.ports[packet.protocol]
        if ports.add_flow(port):
            self.events[Reason.PORT_SHARED] += 1
        previous = self._tables.flows.claim(packet.protocol, port, packet.remote)
        if previous is not None:
            self._release(previous)
            ports.remove_flow(port)
        self._tables.flows.add(Flow(packet.protocol, packet.endpoint, port, life))
        self._tables.hosts.add_flow(packet.endpoint)
        self.events[Reason.FLOW_CREATED] += 1

    def _release(self, flow: Flow) -> None:
        self._tables.flows.remove(flow)
        self._tables.hosts.add_flow(flow.endpoint, -1)
        self.events[Reason.FLOW_RELEASED] += 1

    def _no_permissions(self, protocol: Protocol) -> Permissions:
        return Permissions(self._tables.policy.filtering[protocol])
