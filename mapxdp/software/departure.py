# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How an admitted packet of the LAN leaves through the WAN: whole, as a fragment, or cut."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from ipaddress import IPv4Address

from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason
from mapxdp.software import encapsulation, rfc7915
from mapxdp.software.ce_settings import CeSettings
from mapxdp.software.datagrams import Datagrams, Part
from mapxdp.software.fragmentation import ipv4_fragments, ipv6_fragments
from mapxdp.software.transport import Transport
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import FRAGMENT_HEADER, IPV4_HEADER, IPV6_HEADER, Ipv4, Ipv6


@dataclass(frozen=True, slots=True)
class Given46:
    """What the first fragment of a datagram was given, and later ones get too."""

    far_end: bytes
    source: bytes
    identification: int


class Departure:
    """``cut`` counts packets that were cut into fragments."""

    def __init__(self, domain: Domain, settings: CeSettings, datagrams: Datagrams) -> None:
        self._domain = domain
        self._ipv4_mtu = settings.ipv4_mtu
        self._ipv6_mtu = settings.ipv4_mtu + domain.mode.overhead
        self._lowest = settings.lowest_ipv6_mtu or self._ipv6_mtu
        self._traffic_class = settings.translation.traffic_class
        self._cuts_inner = settings.translation.fragment_inner
        self._datagrams = datagrams
        self._map_address = domain.map_address.packed
        self.cut = 0

    @property
    def _longest_whole(self) -> int:
        """Octets of an IPv4 packet without DF that leaves in one piece (RFC 7915 section 4.1)."""
        if self._domain.mode.translates:
            return self._lowest - (IPV6_HEADER - IPV4_HEADER)
        return self._ipv4_mtu

    def refuse_too_big(self, ipv4: Ipv4) -> None:
        """Raises Refused for what does not fit and must not be cut."""
        extra = FRAGMENT_HEADER if ipv4.is_fragment and self._domain.mode.translates else 0
        if ipv4.forbids_fragments and ipv4.total_length + extra > self._ipv4_mtu:
            raise Refused(Reason.TOO_BIG)

    def leaves_in_pieces(self, ipv4: Ipv4) -> bool:
        """Whether a packet that is no fragment is cut."""
        return not ipv4.forbids_fragments and ipv4.total_length > self._longest_whole

    def of_whole(self, ipv4: Ipv4, transport: Transport, source: bytes) -> bytes:
        """A packet that leaves as one."""
        if self._domain.mode.translates:
            return self._translated(ipv4, transport, source).to_bytes()
        inner = encapsulation.renumbered(ipv4, transport, source, ipv4.destination)
        return self._tunnelled(inner, self._far_end(ipv4, transport)).to_bytes()

    def of_first(
        self, ipv4: Ipv4, transport: Transport, source: bytes, identification: int
    ) -> tuple[tuple[bytes, ...], Given46]:
        """A first fragment, or a whole packet that does not fit; and what those after it get."""
        given = Given46(self._far_end(ipv4, transport), source, identification)
        if self._domain.mode.translates:
            return self._parted(self._translated(ipv4, transport, source), ipv4, given), given
        inner = encapsulation.renumbered(ipv4, transport, source, ipv4.destination)
        return self._inner_parted(inner, given), given

    def of_later(self, ipv4: Ipv4, given: Given46) -> tuple[bytes, ...]:
        """A fragment after the first."""
        if self._domain.mode.translates:
            header = Ipv6(
                traffic_class=rfc7915.class_of(ipv4, self._traffic_class),
                hop_limit=ipv4.ttl,
                next_header=ipv4.protocol,
                source=self._own(given.source),
                destination=given.far_end,
                payload=ipv4.payload,
            )
            return self._parted(header, ipv4, given)
        inner = encapsulation.readdressed(ipv4, given.source, ipv4.destination, ipv4.tos)
        return self._inner_parted(inner, given)

    def of_complete(
        self, ipv4: Ipv4, transport: Transport, source: bytes, identification: int
    ) -> tuple[bytes, ...]:
        """A datagram that came in fragments and leaves in others."""
        far_end = self._far_end(ipv4, transport)
        if self._domain.mode.translates:
            header = self._translated(ipv4, transport, source)
            part = Part(0, False, header.payload)
            return ipv6_fragments(header, part, identification, self._lowest)
        inner = encapsulation.renumbered(ipv4, transport, source, ipv4.destination)
        return self._fragments_of(inner, far_end, identification)

    def head_of(self, ipv4: Ipv4) -> bytes:
        """What an error quotes of a complete datagram that leaves in pieces: the first of them."""
        extra = FRAGMENT_HEADER if self._domain.mode.translates else 0
        mtu = self._longest_whole - extra
        return ipv4_fragments(ipv4, ipv4.part, ipv4.identification, mtu)[0].as_it_is()

    def _parted(self, header: Ipv6, ipv4: Ipv4, given: Given46) -> tuple[bytes, ...]:
        part = dataclasses.replace(ipv4.part, payload=header.payload)
        # Path MTU discovery finds out whether what must not be cut fits (RFC 7915 section 4.1).
        mtu = self._ipv6_mtu if ipv4.forbids_fragments else self._lowest
        return self._counted(ipv6_fragments(header, part, given.identification, mtu))

    def _inner_parted(self, inner: Ipv4, given: Given46) -> tuple[bytes, ...]:
        if inner.total_length <= self._ipv4_mtu or self._cuts_inner:
            packets = self._fragments_of(inner, given.far_end, given.identification)
            return self._counted(packets)
        if inner.is_fragment:
            (inner,) = ipv4_fragments(inner, inner.part, given.identification, inner.total_length)
        outer = self._tunnelled(inner, given.far_end)
        part = Part(0, False, outer.payload)
        return self._counted(ipv6_fragments(outer, part, random.getrandbits(32), self._ipv6_mtu))

    def _fragments_of(self, inner: Ipv4, far_end: bytes, identification: int) -> tuple[bytes, ...]:
        fragments = ipv4_fragments(inner, inner.part, identification, self._ipv4_mtu)
        return tuple(self._tunnelled(fragment, far_end).to_bytes() for fragment in fragments)

    def _counted(self, packets: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if len(packets) > 1:
            self._datagrams.require_room("upstream")
            self.cut += 1
        return packets

    def _translated(self, ipv4: Ipv4, transport: Transport, source: bytes) -> Ipv6:
        far_end = self._far_end(ipv4, transport)
        own = self._own(source)
        return rfc7915.ipv4_to_ipv6(ipv4, transport, own, far_end, self._traffic_class)

    def _tunnelled(self, inner: Ipv4, far_end: bytes) -> Ipv6:
        return encapsulation.tunnel_packet(inner, self._map_address, far_end, self._traffic_class)

    def _far_end(self, ipv4: Ipv4, transport: Transport) -> bytes:
        """Of a packet as it leaves: the port it is for has its say."""
        destination, port = IPv4Address(ipv4.destination), transport.destination_port
        return self._domain.destination_ipv6(destination, port).packed

    def _own(self, source: bytes) -> bytes:
        return self._domain.source_ipv6(IPv4Address(source)).packed
