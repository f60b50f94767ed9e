# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What LAN hosts use, and what they may take: a greedy host leaves something to the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from mapxdp.model.napt44 import Napt44Policy, shared_reserve
from mapxdp.model.timeouts import Protocol
from mapxdp.software.lifecycle import Endpoint

_HOSTS = 4096


class Use(NamedTuple):
    """What a host has: ports of its own, of one protocol, and flows, of all of them."""

    ports: int
    flows: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host may take, by what it uses and by the number of free ports."""

    reserve: int
    small: int
    ports_max: int
    flows_max: int

    @classmethod
    def of(cls, policy: Napt44Policy, ports: int, flows: int) -> Limits:
        """Those of a policy, for a port set and a table of flows."""
        return cls(
            reserve=shared_reserve(ports),
            small=policy.host_ports_min,
            ports_max=policy.host_ports_max or ports,
            flows_max=policy.host_flows_max or flows // 2,
        )

    def is_small(self, use: Use) -> bool:
        """Whether the host gets what there is."""
        return use.ports + use.flows < self.small

    def may_own(self, use: Use, free: int) -> bool:
        """Whether a free port becomes the host's own."""
        return self.is_small(use) or use.ports < free

    def may_share(self, use: Use, free: int) -> bool:
        """Whether a free port becomes shared for the host."""
        return self.is_small(use) or free > self.reserve

    def has_all_ports(self, use: Use) -> bool:
        """Whether the host owns as many ports as it ever may."""
        return use.ports >= self.ports_max

    def has_all_flows(self, use: Use) -> bool:
        """Whether the host has as many flows as it ever may."""
        return use.flows >= self.flows_max


class Hosts:
    """What each host uses. Hosts are told apart by the last 12 bits of their address."""

    def __init__(self) -> None:
        self._ports: Counter[tuple[Protocol, int]] = Counter()
        self._flows: Counter[int] = Counter()

    def use(self, protocol: Protocol, endpoint: Endpoint) -> Use:
        """What the host of an endpoint uses."""
        host = _host(endpoint)
        return Use(self._ports[protocol, host], self._flows[host])

    def add_port(self, protocol: Protocol, endpoint: Endpoint, change: int = 1) -> None:
        """One port more, or ``change`` ports."""
        self._ports[protocol, _host(endpoint)] += change

    def add_flow(self, endpoint: Endpoint, change: int = 1) -> None:
        """One flow more, or ``change`` flows."""
        self._flows[_host(endpoint)] += change


def _host(endpoint: Endpoint) -> int:
    return int.from_bytes(endpoint.address, "big") % _HOSTS
