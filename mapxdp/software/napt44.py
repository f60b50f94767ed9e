# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44 into a port set: endpoint-independent, one port for each LAN endpoint.

Which free port a new mapping gets is a choice; everything else follows from the packets and
the clock. The choice is a parameter, so that a test can make it as the datapath did.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from mapxdp.model.port_set import PortSet
from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.observed import Mapping
from mapxdp.reasons import Reason
from mapxdp.software.transport import TcpFlags
from mapxdp.software.verdict import Refused

#: Another endpoint gets an expired port only this much later: see bpf/napt44.h.
GRACE = 1


class Endpoint(NamedTuple):
    """An IPv4 address (4 octets) and a port or ICMP identifier."""

    address: bytes
    port: int


@dataclass(slots=True)
class _Mapping:
    endpoint: Endpoint
    port: int
    peer: Endpoint
    touched: int
    fin_from_lan: bool = False
    fin_from_wan: bool = False
    reset: bool = False
    answered: bool = False
    several_peers: bool = False

    @property
    def closing(self) -> bool:
        return self.reset or (self.fin_from_lan and self.fin_from_wan)

    @property
    def facts(self) -> MappingFacts:
        return MappingFacts(self.answered, self.closing, self.several_peers)


Chooser = Callable[[Protocol, Sequence[int]], int]


def choose_at_random(_: Protocol, ports: Sequence[int]) -> int:
    """Any of them: guessing one should not help guessing the next (RFC 6056)."""
    return random.SystemRandom().choice(ports)


class Napt44:
    """The mappings of a CE.

    ``clock`` gives the time in the unit in which ``timeout`` gives the life of a silent
    mapping; ``reserved`` ports are never handed out.
    """

    def __init__(
        self,
        port_set: PortSet,
        reserved: Collection[int],
        clock: Callable[[], int],
        timeout: Callable[[Protocol, MappingFacts], int],
        choose: Chooser = choose_at_random,
    ) -> None:
        self.choose = choose
        self._usable = tuple(port for port in port_set if port not in reserved)
        self._may_use = frozenset(self._usable)
        self._clock = clock
        self._timeout = timeout
        self._by_port: dict[Protocol, dict[int, _Mapping]] = {p: {} for p in Protocol}
        self._by_endpoint: dict[Protocol, dict[Endpoint, _Mapping]] = {p: {} for p in Protocol}
        #: Mappings created, revived by their owner, and taken over after they expired.
        self.events: Counter[Reason] = Counter()

    def from_lan(
        self, protocol: Protocol, endpoint: Endpoint, peer: Endpoint, flags: TcpFlags
    ) -> int:
        """The port for a packet from the LAN, mapped now if it was not; raises Refused."""
        mapping = self._by_endpoint[protocol].get(endpoint)
        if mapping is None:
            if flags & TcpFlags.RST:
                raise Refused(Reason.NO_MAPPING)
            mapping = self._create(protocol, endpoint, peer, flags)
        elif self._idle(mapping) > self._lifetime(protocol, mapping):
            self._begin(protocol, mapping.port, endpoint, peer, flags)
            self.events[Reason.MAPPING_REVIVED] += 1
        else:
            self._note_from_lan(mapping, peer, flags)
        return mapping.port

    def from_wan(self, protocol: Protocol, port: int, peer: Endpoint, flags: TcpFlags) -> Endpoint:
        """The LAN endpoint a packet to ``port`` (of the set) is for; raises Refused."""
        mapping = self._by_port[protocol].get(port)
        if mapping is None:
            raise Refused(Reason.NO_MAPPING)
        if self._idle(mapping) > self._lifetime(protocol, mapping):
            raise Refused(Reason.MAPPING_EXPIRED)
        self._note_from_wan(mapping, peer, flags)
        return mapping.endpoint

    def mappings(self) -> Iterator[Mapping]:
        """The ports in use, expired ones that nobody took over yet included."""
        for protocol, by_port in self._by_port.items():
            for mapping in by_port.values():
                yield Mapping(
                    protocol=protocol,
                    host=IPv4Address(mapping.endpoint.address),
                    host_port=mapping.endpoint.port,
                    port=mapping.port,
                    peer=IPv4Address(mapping.peer.address),
                    peer_port=mapping.peer.port,
                    idle=self._idle(mapping),
                    timeout=self._lifetime(protocol, mapping),
                )

    def candidates(self, protocol: Protocol, endpoint: Endpoint) -> Sequence[int]:
        """The ports a new mapping of ``endpoint`` may get now."""
        used = self._by_port[protocol]
        if endpoint.port in self._may_use and endpoint.port not in used:
            return (endpoint.port,)
        free = [port for port in self._usable if port not in used]
        if free:
            return free
        return [port for port, mapping in used.items() if self._can_be_taken(protocol, mapping)]

    def _can_be_taken(self, protocol: Protocol, mapping: _Mapping) -> bool:
        return self._idle(mapping) > self._lifetime(protocol, mapping) + GRACE

    def _create(
        self, protocol: Protocol, endpoint: Endpoint, peer: Endpoint, flags: TcpFlags
    ) -> _Mapping:
        ports = self.candidates(protocol, endpoint)
        if not ports:
            raise Refused(Reason.PORTS_EXHAUSTED)
        port = self.choose(protocol, ports)
        previous = self._by_port[protocol].get(port)
        if previous is not None:
            del self._by_endpoint[protocol][previous.endpoint]
            self.events[Reason.MAPPING_RECLAIMED] += 1
        self.events[Reason.MAPPING_CREATED] += 1
        return self._begin(protocol, port, endpoint, peer, flags)

    def _begin(
        self,
        protocol: Protocol,
        port: int,
        endpoint: Endpoint,
        peer: Endpoint,
        flags: TcpFlags,
    ) -> _Mapping:
        mapping = _Mapping(
            endpoint,
            port,
            peer,
            touched=self._clock(),
            fin_from_lan=bool(flags & TcpFlags.FIN),
            reset=bool(flags & TcpFlags.RST),
        )
        self._by_port[protocol][port] = mapping
        self._by_endpoint[protocol][endpoint] = mapping
        return mapping

    def _idle(self, mapping: _Mapping) -> int:
        return self._clock() - mapping.touched

    def _lifetime(self, protocol: Protocol, mapping: _Mapping) -> int:
        return self._timeout(protocol, mapping.facts)

    def _note_from_lan(self, mapping: _Mapping, peer: Endpoint, flags: TcpFlags) -> None:
        mapping.touched = self._clock()
        opens = flags & (TcpFlags.SYN | TcpFlags.ACK) == TcpFlags.SYN
        if opens and mapping.closing and not mapping.several_peers:
            mapping.peer = peer
            mapping.fin_from_lan = mapping.fin_from_wan = False
            mapping.reset = mapping.answered = False
            return
        if peer != mapping.peer:
            mapping.several_peers = True
        mapping.reset = bool(flags & TcpFlags.RST)
        mapping.fin_from_lan |= bool(flags & TcpFlags.FIN)

    def _note_from_wan(self, mapping: _Mapping, peer: Endpoint, flags: TcpFlags) -> None:
        if peer != mapping.peer:
            return
        before = (mapping.facts, mapping.fin_from_wan, mapping.reset)
        if flags & TcpFlags.RST:
            mapping.reset = True
        else:
            mapping.reset = False
            mapping.answered = True
            mapping.fin_from_wan |= bool(flags & TcpFlags.FIN)
        if (mapping.facts, mapping.fin_from_wan, mapping.reset) != before:
            mapping.touched = self._clock()
