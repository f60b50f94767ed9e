# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From the domain to the LAN: what both ways to come have in common (RFC 7599 section 8.2, RFC
7597 section 8.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from ipaddress import IPv4Address, IPv6Address

from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason
from mapxdp.software.carried_errors import CarriedErrors
from mapxdp.software.ce_settings import CeSettings
from mapxdp.software.datagrams import Datagrams
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.martians import is_martian
from mapxdp.software.napt44 import Napt44
from mapxdp.software.other_protocols import OtherProtocols
from mapxdp.software.transport import Transport
from mapxdp.software.verdict import Refused


class Downstream(ABC):
    """Packets from the WAN. ``events`` is what happened to them beside the verdicts."""

    def __init__(
        self, domain: Domain, settings: CeSettings, napt44: Napt44, datagrams: Datagrams
    ) -> None:
        self._domain = domain
        self._settings = settings
        self._napt44 = napt44
        self._datagrams = datagrams
        self.events: Counter[Reason] = Counter()
        self.errors = CarriedErrors(
            domain,
            napt44,
            settings.translation,
            settings.ipv4_mtu + domain.mode.overhead,
            translates_ports=settings.translates_ports,
        )
        self.others = OtherProtocols(
            domain,
            settings.ipv4_mtu,
            settings.translation.traffic_class,
            translates_ports=settings.translates_ports,
        )

    @abstractmethod
    def arrive(self, packet: bytes) -> tuple[bytes, ...]:
        """The IPv4 packets for the LAN; raises Refused where there are none."""

    def host_behind(self, transport: Transport, remote: Endpoint) -> Endpoint:
        """The endpoint that a packet to a port of this CE is for; raises Refused."""
        return self._napt44.from_wan(
            transport.protocol, transport.destination_port, remote, transport.tcp_flags
        )

    def require_global(self, remote: IPv4Address) -> None:
        """Raises Refused for an address that 64:ff9b::/96 must not stand for."""
        if self._domain.dmr is not None and not rfc6052.may_stand_for(self._domain.dmr, remote):
            raise Refused(Reason.NOT_GLOBAL)

    def _addressed(
        self,
        own: bytes,
        transport: Transport,
        remote: bytes,
        source: IPv6Address,
    ) -> tuple[Transport, Endpoint]:
        """The transport header for the LAN, and whom it is for. ``source`` is the far end."""
        self._check_ends(transport, remote)
        self._check_source(source, IPv4Address(remote), transport)
        host = Endpoint(own, transport.destination_port)
        if self._settings.translates_ports:
            host = self.host_behind(transport, Endpoint(remote, transport.peer_port_of_source))
        return transport.with_destination_port(host.port), host

    def _with_mss_clamped(self, transport: Transport) -> Transport:
        clamped = transport.with_mss_at_most(self._settings.mss)
        self.events[Reason.MSS_CLAMPED] += clamped != transport
        return clamped

    def _check_ends(self, transport: Transport, remote: bytes) -> None:
        """RFC 7599 section 8.2: the port set first, then the source."""
        if is_martian(remote) or self._is_from_ourselves(transport, remote):
            raise Refused(Reason.SOURCE_MARTIAN)
        if transport.destination_port not in self._domain.port_set:
            raise Refused(Reason.PORT_OUTSIDE_SET)

    def _is_from_ourselves(self, transport: Transport, remote: bytes) -> bool:
        return (
            IPv4Address(remote) in self._domain.ipv4
            and transport.source_port in self._domain.port_set
        )

    def _check_source(self, ipv6: IPv6Address, ipv4: IPv4Address, transport: Transport) -> None:
        """Under an FMR the addresses and the port have to belong together."""
        rule: MappingRule | None = self._domain.rule_of_source(ipv6)
        if rule is not None and not self._domain.is_source_of(
            rule, ipv6, ipv4, transport.source_port
        ):
            raise Refused(Reason.SOURCE_INCONSISTENT)
