# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fragments at the border relay (RFC 7597 section 8.3, RFC 7599 section 10): it puts together what
was cut, so that ports can be seen, and cuts what is too long for the domain."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable

from mapxdp.software.arrival import permitted_fragments
from mapxdp.software.br import BorderRelay
from mapxdp.software.checksum import checksum
from mapxdp.software.datagrams import IPV4_PAYLOAD_MAX, IPV6_PAYLOAD_MAX, Datagrams, Key, Part
from mapxdp.software.fragmentation import ipv6_fragments
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    PROTO_FRAGMENT,
    PROTO_IPV4,
    Ipv4,
    Ipv6,
    ipv6_addresses,
    next_header_of,
    read_ipv4,
    read_ipv6,
    read_ipv6_fragment,
)

_INTO_DOMAIN, _OUT_OF_DOMAIN = "downstream", "upstream"


class FragmentRelay:
    """``relay`` with datagrams of any length. ``mtu`` is that of the IPv6 domain.

    What a fragment is refused for is counted by the relay, as for other packets.
    """

    def __init__(
        self,
        relay: BorderRelay,
        mtu: int,
        clock: Callable[[], int] = lambda: int(time.monotonic()),
    ) -> None:
        self._relay = relay
        self._mtu = mtu
        self._datagrams = Datagrams(clock)

    def from_domain(self, packet: bytes) -> tuple[bytes, ...]:
        """An IPv6 packet from a CE: the IPv4 packet, if there is one by now."""
        return self._counted(self._from_domain, packet)

    def to_domain(self, packet: bytes) -> tuple[bytes, ...]:
        """An IPv4 packet from the Internet: the IPv6 packets for its CE."""
        return self._counted(self._to_domain, packet)

    def _counted(
        self, handle: Callable[[bytes], tuple[bytes, ...]], packet: bytes
    ) -> tuple[bytes, ...]:
        try:
            return handle(packet)
        except Refused as refused:
            self._relay.counts[refused.reason.name] += 1
            return ()

    def _from_domain(self, packet: bytes) -> tuple[bytes, ...]:
        ipv6_addresses(packet)  # raises Refused for what has no whole header
        if next_header_of(packet) != PROTO_FRAGMENT:
            return self._leaving(self._inner_whole(packet))
        fragment = read_ipv6_fragment(packet)
        whole = self._outer_whole(fragment.ipv6, fragment.identification, fragment.part)
        packets = self._leaving(self._inner_whole(whole))
        if fragment.ipv6.next_header == PROTO_IPV4:
            return packets
        return tuple(_may_be_cut(made, fragment.identification) for made in packets)

    def _leaving(self, whole: bytes) -> tuple[bytes, ...]:
        made = self._relay.from_domain(whole)
        return () if made is None else (made,)

    def _to_domain(self, packet: bytes) -> tuple[bytes, ...]:
        ipv4 = read_ipv4(packet)
        made = self._relay.to_domain(self._ipv4_whole(ipv4, "internet").as_it_is())
        if made is None:
            return ()
        if len(made) <= self._mtu:
            return (made,)
        ipv6 = read_ipv6(made, IPV6_PAYLOAD_MAX)
        is_tunnel = ipv6.next_header == PROTO_IPV4
        identification = random.getrandbits(32) if is_tunnel else ipv4.identification
        return ipv6_fragments(ipv6, Part(0, False, ipv6.payload), identification, self._mtu)

    def _outer_whole(self, header: Ipv6, identification: int, part: Part) -> bytes:
        part.require_possible(IPV6_PAYLOAD_MAX)
        key = (header.source, header.destination, identification)
        head, payload = self._kept(key, part, header, _OUT_OF_DOMAIN)
        assert isinstance(head, Ipv6)
        return dataclasses.replace(head, payload=payload).to_bytes()

    def _inner_whole(self, packet: bytes) -> bytes:
        """What came through a tunnel. No CE may add to the datagrams of another."""
        if next_header_of(packet) != PROTO_IPV4:
            return packet
        outer = read_ipv6(packet, IPV6_PAYLOAD_MAX)
        inner = read_ipv4(outer.payload)
        if not inner.is_fragment:
            return packet
        whole = self._ipv4_whole(inner, outer.source).as_it_is()
        return dataclasses.replace(outer, payload=whole).to_bytes()

    def _ipv4_whole(self, ipv4: Ipv4, way: Key) -> Ipv4:
        if not ipv4.is_fragment:
            return ipv4
        ipv4.part.require_possible(IPV4_PAYLOAD_MAX)
        key = (way, ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification)
        direction = _INTO_DOMAIN if way == "internet" else _OUT_OF_DOMAIN
        head, payload = self._kept(key, ipv4.part, ipv4, direction)
        assert isinstance(head, Ipv4)
        return permitted_fragments(head, payload)

    def _kept(self, key: Key, part: Part, head: object, direction: str) -> tuple[object, bytes]:
        self._datagrams.followed(key, direction)  # raises Refused where fragments overlapped
        return self._datagrams.keep(key, part, head, direction)


def _may_be_cut(packet: bytes, identification: int) -> bytes:
    """RFC 7915 section 5.1.1: without DF, as it was cut before, and with half its number."""
    ipv4 = dataclasses.replace(read_ipv4(packet), flags=0, identification=identification & 0xFFFF)
    return dataclasses.replace(ipv4, checksum=checksum(ipv4.header(0))).as_it_is()
