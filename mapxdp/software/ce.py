# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A customer edge in Python: what the datapath does to a packet, done a second time.

TTL and Hop Limit are not decremented here: whoever forwards the packet does that.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address

from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Napt44Policy
from mapxdp.reasons import Reason
from mapxdp.software.budget import Budget
from mapxdp.software.ce_settings import CeSettings
from mapxdp.software.datagrams import Datagrams
from mapxdp.software.downstream import Downstream
from mapxdp.software.encapsulated import Encapsulated
from mapxdp.software.napt44 import Napt44
from mapxdp.software.refusal import Refuser
from mapxdp.software.refusal_64 import Refuser64
from mapxdp.software.translated import Translated
from mapxdp.software.upstream import Upstream
from mapxdp.software.verdict import Outcome, Refused

__all__ = ["CeSettings", "CustomerEdge", "new_napt44"]


class CustomerEdge:
    """MAP-T, MAP-E or lw4o6, as the domain says; keeps the port mappings."""

    def __init__(self, domain: Domain, settings: CeSettings, napt44: Napt44 | None = None) -> None:
        self.napt44 = napt44 if napt44 is not None else new_napt44(domain, settings.policy)
        budget = Budget(self.napt44.now)
        self._refuser = Refuser(
            _refusal_source(domain, settings).packed,
            settings.policy.refusal,
            settings.ipv4_mtu,
            budget,
            translates=domain.mode.translates,
        )
        self._refuser_64 = Refuser64(budget)
        self._answers_domain = domain.mode.translates  # a tunnel's end is silent
        self._datagrams = Datagrams(self.napt44.now)
        arrivals = Translated if domain.mode.translates else Encapsulated
        self._downstream: Downstream = arrivals(domain, settings, self.napt44, self._datagrams)
        self._upstream = Upstream(domain, settings, self.napt44, self._datagrams, self._downstream)

    @property
    def choose_identification(self) -> Callable[[int], int]:
        """Gives a fragmented datagram its new Identification, for the one it has. A choice that
        a test can make as the datapath did."""
        return self._upstream.choose_identification

    @choose_identification.setter
    def choose_identification(self, choose: Callable[[int], int]) -> None:
        self._upstream.choose_identification = choose

    def events(self, direction: str) -> Counter[Reason]:
        """What happened beside the verdicts, ``upstream`` or ``downstream``."""
        if direction == "upstream":
            events = self._upstream.events + self.napt44.events
            events[Reason.REFUSAL_SENT] = self._refuser.sent
        else:
            events = self._downstream.events.copy()
            events[Reason.REFUSAL_SENT] = self._refuser_64.sent
        return events + self._datagrams.events[direction]

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet on its way out: the packets that leave, or why none does.

        They leave as IPv6, or go back into the LAN as IPv4.
        """
        try:
            return self._upstream.outcome(packet)
        except Refused as refused:
            about = packet if refused.about is None else refused.about
            return Outcome(refused.reason, answers=self._refuser.answers(about, refused.reason))

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet that came in: the IPv4 packets for the LAN, or why there are none."""
        try:
            return Outcome(Reason.TRANSLATED, self._downstream.arrive(packet))
        except Refused as refused:
            if not self._answers_domain:
                return Outcome(refused.reason)
            answers = self._refuser_64.answers(packet, refused.reason)
            return Outcome(refused.reason, answers=answers)

    def upstream_destination(self, packet: bytes) -> IPv4Address:
        """Where an IPv4 packet goes that is this CE's to send; raises Refused for another."""
        return self._upstream.destination(packet)


def _refusal_source(domain: Domain, settings: CeSettings) -> IPv4Address:
    """Who says that a packet is refused. Without NAPT44 the CE's address may be the router's own,
    or that of the very host that is told: no kernel takes an error from itself."""
    if settings.translates_ports:
        return domain.ipv4.network_address
    return settings.translation.icmp_error_source


def new_napt44(domain: Domain, policy: Napt44Policy) -> Napt44:
    """An empty table for a CE that runs now, its clock in seconds."""
    return Napt44(
        domain.port_set,
        policy,
        lambda: int(time.monotonic()),
        reserved=domain.reserved_ports,
    )
