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
from mapxdp.software.datagrams import IPV6_PAYLOAD_MAX, Datagrams, Part
from mapxdp.software.fragmentation import ipv6_fragments
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    PROTO_FRAGMENT,
    PROTO_IPV4,
    Ipv4,
    Ipv6,
    read_ipv4,
    read_ipv6,
    read_ipv6_fragment,
)

_INTO_DOMAIN, _OUT_OF_DOMAIN = "downstream", "upstream"


class FragmentRelay:
    """``relay`` with datagrams of any length. ``mtu`` is that of the IPv6 domain."""

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
        try:
            whole = self._inner_whole(self._outer_whole(packet))
        except Refused:
            return ()
        made = self._relay.from_domain(whole)
        if made is None:
            return ()
        if packet[6] == PROTO_FRAGMENT and packet[40] != PROTO_IPV4:
            made = _may_be_cut(made)
        return (made,)

    def to_domain(self, packet: bytes) -> tuple[bytes, ...]:
        """An IPv4 packet from the Internet: the IPv6 packets for its CE."""
        try:
            whole = self._ipv4_whole(packet)
        except Refused:
            return ()
        made = self._relay.to_domain(whole)
        if made is None:
            return ()
        if len(made) <= self._mtu:
            return (made,)
        ipv6 = read_ipv6(made)
        part = Part(0, False, ipv6.payload)
        return ipv6_fragments(ipv6, part, random.getrandbits(32), self._mtu)

    def _outer_whole(self, packet: bytes) -> bytes:
        if packet[6] != PROTO_FRAGMENT:
            return packet
        fragment = read_ipv6_fragment(packet)
        fragment.part.require_possible(IPV6_PAYLOAD_MAX)
        key = (fragment.ipv6.source, fragment.ipv6.destination, fragment.identification)
        head, payload = self._datagrams.keep(key, fragment.part, fragment.ipv6, _OUT_OF_DOMAIN)
        assert isinstance(head, Ipv6)
        return dataclasses.replace(head, payload=payload).to_bytes()

    def _inner_whole(self, packet: bytes) -> bytes:
        if packet[6] != PROTO_IPV4:
            return packet
        outer = read_ipv6(packet)
        inner = read_ipv4(outer.payload)
        if not inner.is_fragment:
            return packet
        key = (outer.source, *_key_of(inner))
        head, payload = self._datagrams.keep(key, inner.part, inner, _OUT_OF_DOMAIN)
        assert isinstance(head, Ipv4)
        whole = permitted_fragments(head, payload).as_it_is()
        return dataclasses.replace(outer, payload=whole).to_bytes()

    def _ipv4_whole(self, packet: bytes) -> bytes:
        ipv4 = read_ipv4(packet)
        if not ipv4.is_fragment:
            return packet
        head, payload = self._datagrams.keep(_key_of(ipv4), ipv4.part, ipv4, _INTO_DOMAIN)
        assert isinstance(head, Ipv4)
        return permitted_fragments(head, payload).as_it_is()


def _key_of(ipv4: Ipv4) -> tuple[object, ...]:
    return ipv4.source, ipv4.destination, ipv4.protocol, ipv4.identification


def _may_be_cut(packet: bytes) -> bytes:
    """Without DF: it was cut before."""
    ipv4 = dataclasses.replace(read_ipv4(packet), flags=0)
    return dataclasses.replace(ipv4, checksum=checksum(ipv4.header(0))).as_it_is()
