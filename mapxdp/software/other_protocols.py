# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Protocols without ports, or whose ports NAPT44 does not know.

They cannot share an address; one that is a CE's own alone they cross as RFC 7915 sections 4.1
and 5.1 ask for: as they are, but for checksums that cover addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason
from mapxdp.software import checksum, encapsulation, rfc7915
from mapxdp.software.martians import is_martian
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    EXTENSION_HEADERS,
    PROTO_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    Ipv4,
    Ipv6,
)

_IGMP, _DCCP, _NO_NEXT_HEADER, _UDP_LITE = 2, 33, 59, 136
#: Numbers that mean something else, or nothing, behind the other IP header.
_WITHOUT_COUNTERPART = EXTENSION_HEADERS | {
    PROTO_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    _NO_NEXT_HEADER,
}
#: RFC 4340 section 9 and RFC 3828 section 3.1 have the checksum at the same place.
_COVER_ADDRESSES = (_DCCP, _UDP_LITE)
_CHECKSUM_AT, _HEADER = 6, 8


class OtherProtocols:
    """Their packets through a CE. ``traffic_class`` is what all get that leave, None: their own."""

    def __init__(
        self, domain: Domain, ipv4_mtu: int, traffic_class: int | None, *, translates_ports: bool
    ) -> None:
        self._domain = domain
        self._ipv4_mtu = ipv4_mtu
        self._traffic_class = traffic_class
        self._is_unshared = not domain.port_set.parameters.psid_length and not translates_ports

    def have(self, protocol: int, icmp: int) -> bool:
        """Whether a packet is for this class; ``icmp`` says which ICMP belongs to its header."""
        return self._is_unshared and protocol not in (PROTO_TCP, PROTO_UDP, icmp)

    def from_lan(self, ipv4: Ipv4) -> bytes:
        """The IPv6 packet that leaves; raises Refused if none does."""
        self._check(ipv4.protocol, ipv4.payload)
        if ipv4.total_length > self._ipv4_mtu:
            raise Refused(Reason.TOO_BIG)
        if IPv4Address(ipv4.source) not in self._domain.ipv4:
            raise Refused(Reason.SOURCE_NOT_OURS)
        source = self._domain.source_ipv6(IPv4Address(ipv4.source)).packed
        far_end = self._domain.destination_ipv6(IPv4Address(ipv4.destination), None).packed
        if not self._domain.mode.translates:
            return encapsulation.encapsulate(ipv4, source, far_end, self._traffic_class)
        return Ipv6(
            traffic_class=rfc7915.class_of(ipv4, self._traffic_class),
            hop_limit=ipv4.ttl,
            next_header=ipv4.protocol,
            source=source,
            destination=far_end,
            payload=_readdressed(
                ipv4.protocol, ipv4.payload, ipv4.source + ipv4.destination, source + far_end
            ),
        ).to_bytes()

    def from_domain(self, ipv6: Ipv6, remote: bytes) -> Ipv4:
        """MAP-T: the IPv4 packet for the LAN, without checksum and Identification; ``remote`` is
        who sent it. Raises Refused if there is none."""
        self._check(ipv6.next_header, ipv6.payload)
        self._check_source(remote, IPv6Address(ipv6.source))
        own = self._domain.own_ipv4(IPv6Address(ipv6.destination))
        assert own is not None  # by the caller
        return Ipv4(
            tos=ipv6.traffic_class,
            identification=0,
            flags=rfc7915.flags_of(len(ipv6.payload)),
            ttl=ipv6.hop_limit,
            protocol=ipv6.next_header,
            checksum=0,
            source=remote,
            destination=own.packed,
            payload=_readdressed(
                ipv6.next_header, ipv6.payload, ipv6.source + ipv6.destination, remote + own.packed
            ),
        )

    def from_tunnel(self, ipv4: Ipv4, tos: int, far_end: IPv6Address) -> bytes:
        """MAP-E: the packet that was in the tunnel, with this TOS; Refused if it is none for us."""
        self._check(ipv4.protocol, ipv4.payload)
        self._check_source(ipv4.source, far_end)
        return encapsulation.readdressed(ipv4, ipv4.source, ipv4.destination, tos).as_it_is()

    def _check(self, protocol: int, payload: bytes) -> None:
        """IGMP stays on its link; a tunnel changes no header."""
        without_counterpart = _WITHOUT_COUNTERPART if self._domain.mode.translates else ()
        if protocol == _IGMP or protocol in without_counterpart:
            raise Refused(Reason.PROTOCOL_WITHOUT_PORTS)
        if protocol in _COVER_ADDRESSES and len(payload) < _HEADER:
            raise Refused(Reason.MALFORMED_TRANSPORT)

    def _check_source(self, source: bytes, far_end: IPv6Address) -> None:
        """Nobody else has this CE's address, whatever the port."""
        if is_martian(source) or IPv4Address(source) in self._domain.ipv4:
            raise Refused(Reason.SOURCE_MARTIAN)
        rule = self._domain.rule_of_source(far_end)
        if rule is not None and not self._domain.is_source_of(
            rule, far_end, IPv4Address(source), None
        ):
            raise Refused(Reason.SOURCE_INCONSISTENT)


def _readdressed(protocol: int, payload: bytes, old: bytes, new: bytes) -> bytes:
    """The payload under other addresses: a checksum that covers them is brought up to date."""
    field = int.from_bytes(payload[_CHECKSUM_AT:_HEADER], "big")
    if protocol not in _COVER_ADDRESSES or (protocol == _UDP_LITE and not field):
        return payload
    updated = checksum.updated(field, old, new)
    if protocol == _UDP_LITE and not updated:
        updated = 0xFFFF
    return payload[:_CHECKSUM_AT] + updated.to_bytes(2, "big") + payload[_HEADER:]
