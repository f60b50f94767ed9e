# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A small NAPT44 with a clock, for tests: its choices are known, and what it was offered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

import pytest
from scapy_tools import Clock

from mapxdp.model.napt44 import Filtering, MappingPolicy, Napt44Policy
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.napt44 import Napt44
from mapxdp.software.transport import TcpFlags
from mapxdp.software.verdict import Refused

TCP, UDP, ICMP = Protocol.TCP, Protocol.UDP, Protocol.ICMP
FIN, SYN, RST, ACK = TcpFlags.FIN, TcpFlags.SYN, TcpFlags.RST, TcpFlags.ACK
NO_FLAGS = TcpFlags(0)
AUTO, EIM, SHARED = MappingPolicy.AUTO, MappingPolicy.EIM, MappingPolicy.SHARED
EIF, ADF, APDF = Filtering.EIF, Filtering.ADF, Filtering.APDF

#: 12 ports: 16384-16387, 32768-32771 and 49152-49155 are those of PSID 0.
SMALL_SET = PortSet(PortParameters(psid_offset=2, psid_length=12), psid=0)
PORTS = list(SMALL_SET)
#: 256 ports, from 256 on.
LARGE_SET = PortSet(PortParameters(psid_offset=0, psid_length=8), psid=1)


def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint(IPv4Address(address).packed, port)


def web(number: int = 0) -> Endpoint:
    """A remote with a well-known port, one of many."""
    return endpoint(f"198.51.100.{number}", 443)


def peer(number: int = 0) -> Endpoint:
    """A remote with a port of no special meaning, one of many."""
    return endpoint(f"203.0.113.{number}", 4430)


PEER = peer()
HOST, OTHER_HOST = endpoint("192.168.1.2", 40000), endpoint("192.168.1.3", 40000)


def policy(
    mapping: MappingPolicy = AUTO, filtering: Filtering = ADF, **changes: object
) -> Napt44Policy:
    """The same for each protocol; every host is small unless told otherwise."""
    return dataclasses.replace(
        Napt44Policy(
            mapping=dict.fromkeys(Protocol, mapping),
            filtering=dict.fromkeys(Protocol, filtering),
            host_ports_min=10_000,
        ),
        **changes,  # type: ignore[arg-type]
    )


class Nat:
    """A table with its clock; an endpoint's home is its port number modulo the set's size."""

    def __init__(
        self,
        rules: Napt44Policy | None = None,
        ports: PortSet = SMALL_SET,
        reserved: Sequence[int] = (),
        flows: int = 1000,
    ) -> None:
        self.clock = Clock()
        self.offered: list[list[int]] = []
        self.offered_shared: list[list[int]] = []
        self.table = Napt44(
            ports,
            policy(EIM, EIF) if rules is None else rules,
            self.clock,
            reserved=reserved,
            flows=flows,
            choose=lambda _, legal: self._first(self.offered, legal),
            choose_shared=lambda _, legal: self._first(self.offered_shared, legal),
            home=lambda host: host.port,
        )

    def _first(self, offered: list[list[int]], ports: Sequence[int]) -> int:
        offered.append(list(ports))
        return ports[0]

    def out(
        self,
        host: Endpoint = HOST,
        remote: Endpoint = PEER,
        flags: TcpFlags = NO_FLAGS,
        protocol: Protocol = UDP,
    ) -> int:
        return self.table.from_lan(protocol, host, remote, flags)

    def back(
        self,
        port: int,
        remote: Endpoint = PEER,
        flags: TcpFlags = NO_FLAGS,
        protocol: Protocol = UDP,
    ) -> Endpoint:
        return self.table.from_wan(protocol, port, remote, flags)

    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    def news(self) -> dict[Reason, int]:
        """The events since the last look."""
        events = dict(self.table.events)
        self.table.events.clear()
        return events

    def uses(self, *kinds: MappingKind) -> list[Mapping]:
        return [seen for seen in self.table.mappings() if seen.kind in (kinds or MappingKind)]


def refused(reason: Reason, call: Callable[[], object]) -> None:
    with pytest.raises(Refused) as refusal:
        call()
    assert refusal.value.reason is reason
