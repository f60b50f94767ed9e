# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Generated ICMP errors about a household's mappings: steps for hypothesis, and their packets.

Most are right: of a kind that crosses, about a packet that a mapping was made for or used by.
The others are wrong in one way, which has a name.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from harness import errors, packets
from mapxdp.model.domain import Domain
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping

#: From whom. ``host``: one of the LAN, about what a mapping let in. The others are about what
#: left. ``remote``: the one it was for. ``router``: one on the way there, in MAP-E beyond the
#: BR. ``tunnel``: in MAP-E one before the BR.
WAYS = ["host", "host", "remote", "router", "tunnel"]
#: In what an error is wrong: most of them in what they quote.
WRONG_QUOTES = [
    *("version", "later fragment", "protocol", "error", "header checksum", "header length"),
    *("local port", "local address", "remote port", "remote address"),
]
RIGHT = ""
WRONGS = ["checksum", *WRONG_QUOTES]

_KINDS4 = [*((3, code) for code in range(16)), (11, 0), (11, 1), (12, 0), (12, 1), (12, 2)]
_OTHERS4 = [(3, 16), (4, 0), (5, 0), (5, 1), (9, 0), (13, 0), (17, 0), (42, 1)]
_KINDS6 = [*((1, code) for code in range(7)), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1)]
_OTHERS6 = [(0, 0), (1, 7), (2, 1), (3, 2), (4, 2), (5, 0), (127, 0), (135, 0), (200, 0)]
_MTUS = [0, 68, 552, 1260, 1279, 1280, 1300, 1319, 1320, 1400, 1460, 1480, 1500, 9000, 65535]
_MORE, _OFFSET, _DONT_FRAGMENT = 0x2000, 1, 0x4000
_FRAGMENT, _DESTINATION, _GRE = 44, 60, 47
#: RFC 2473 section 5.1: a Destination Options header with a Tunnel Encapsulation Limit of 1.
_LIMIT = bytes([packets.IPV4, 0, 4, 1, 1, 1, 1, 0])
_LIMIT_POINTER = 44
_LEAST_BEFORE_OBJECTS = 128
#: So much of a packet is quoted at most, where objects follow.
MOST_BEFORE_OBJECTS = 400


@dataclass(frozen=True)
class Quote:
    """What the packet in error was like. ``fragment``: the first of several. ``limit``: of the
    tunnel. ``octets`` of it are quoted, all where None."""

    payload: int
    ttl: int
    tos: int
    flags: int
    options: bytes
    reply: bool
    fragment: bool
    limit: bool
    octets: int | None


@dataclass(frozen=True)
class Error:
    """About the ``number``-th mapping there is. ``objects`` of RFC 4884 follow the quote, whose
    length is said to be ``length``, or what it is where None."""

    way: str
    number: int
    wrong: str
    kind4: tuple[int, int]
    kind6: tuple[int, int]
    mtu: int
    pointer: int
    quote: Quote
    objects: int
    length: int | None
    ttl: int
    tos: int

    @property
    def is_upstream(self) -> bool:
        return self.way == "host"

    def is_icmpv6(self, ce_domain: Domain) -> bool:
        """Whether it comes as ICMPv6."""
        return not self.is_upstream and (ce_domain.mode.translates or self.way == "tunnel")


def kinds4(odd: bool) -> st.SearchStrategy[tuple[int, int]]:
    """ICMP errors, most of which cross; ``odd``: others, which are no echo either."""
    others = st.tuples(
        st.sampled_from([number for number in range(256) if number not in (0, 8)]),
        st.integers(0, 17),
    )
    return st.one_of(st.sampled_from(_OTHERS4), others) if odd else st.sampled_from(_KINDS4)


def kinds6(odd: bool) -> st.SearchStrategy[tuple[int, int]]:
    """The same of ICMPv6."""
    others = st.tuples(st.integers(0, 127), st.integers(0, 7))
    return st.one_of(st.sampled_from(_OTHERS6), others) if odd else st.sampled_from(_KINDS6)


def quotes() -> st.SearchStrategy[Quote]:
    few = st.sampled_from([0, 7, 8, 12, 17, 18, 20, 27, 28, 47, 48, 56, 60, 88, 96, 128, 548])
    return st.builds(
        Quote,
        payload=st.sampled_from([0, 1, 13, 40, 100, 101, 536, 1200, 1400]),
        ttl=st.sampled_from([0, 1, 64, 255]),
        tos=st.sampled_from([0, 1, 2, 3, 0xB8, 0xFF]),
        flags=st.sampled_from([0, _DONT_FRAGMENT, _DONT_FRAGMENT, 0x8000]),
        options=st.sampled_from([b"", b"", b"", b"\x01" * 4, b"\x01" * 40]),
        reply=st.booleans(),
        fragment=st.sampled_from([False, False, False, True]),
        limit=st.booleans(),
        octets=st.one_of(st.none(), st.none(), st.none(), few),
    )


def icmp_errors() -> st.SearchStrategy[Error]:
    """Most of them right, of kinds that cross."""
    right, odd, wrong = _errors(), _errors(odd=True), _errors(WRONGS)
    return st.sampled_from([right, right, right, odd, wrong, wrong]).flatmap(lambda chosen: chosen)


def _errors(wrongs: Sequence[str] = (RIGHT,), *, odd: bool = False) -> st.SearchStrategy[Error]:
    return st.builds(
        Error,
        way=st.sampled_from(WAYS),
        number=st.integers(0, 300),
        wrong=st.sampled_from(wrongs),
        kind4=kinds4(odd),
        kind6=kinds6(odd),
        mtu=st.sampled_from(_MTUS),
        pointer=st.one_of(st.sampled_from([0, 1, 8, 9, 12, 16, 19, 24, 44]), st.integers(0, 255)),
        quote=quotes(),
        objects=st.sampled_from([0, 0, 0, 1, 2, 40]),
        length=st.one_of(st.none(), st.integers(0, 255)) if odd else st.none(),
        ttl=st.sampled_from([1, 64, 255]),
        tos=st.sampled_from([0, 1, 2, 3, 0xB8]),
    )


def upstream_packet(ce_domain: Domain, error: Error, mapping: Mapping) -> bytes:
    """What a host of the LAN sends about a packet of the mapping's remote."""
    ends = _Ends.of(ce_domain, error, mapping)
    quoted = _ipv4(error, mapping.protocol, ends.reversed())
    body, length = _body(error, quoted, 4)
    packet = errors.from_lan(
        error.kind4,
        body[: 1480 - 28],
        word=_word4(error, length),
        source=str(mapping.host),
        destination=str(ends.remote),
        ttl=error.ttl,
        tos=error.tos,
    )
    return _spoiled(error, packet, 22)


def downstream_packet(ce_domain: Domain, error: Error, mapping: Mapping) -> bytes:
    """What comes from the WAN about a packet that the mapping let out."""
    own = ce_domain.ipv4.network_address
    ends = _Ends.of(ce_domain, error, mapping._replace(host=own, host_port=mapping.port))
    far_end = ce_domain.destination_ipv6(ends.remote, ends.remote_port)
    if not error.is_icmpv6(ce_domain):
        body, length = _body(error, _ipv4(error, mapping.protocol, ends), 4)
        router = str(ends.remote) if error.way == "remote" else errors.ROUTER
        word = _word4(error, length)
        outer = error.tos & 0xFC  # whatever the inner header says, no mark is lost
        packet = errors.in_tunnel(
            ce_domain, error.kind4, body, word=word, source=router, traffic_class=outer
        )
        return _spoiled(error, packet, 62)
    if ce_domain.mode.translates:
        quoted = _ipv6(error, mapping.protocol, ends, ce_domain.map_address, far_end)
    else:
        quoted = _tunnel(error, mapping.protocol, ends, ce_domain.map_address, far_end)
    body, length = _body(error, quoted, 8)
    packet = errors.from_wan(
        ce_domain,
        error.kind6,
        body,
        word=_word6(error, length),
        source=far_end if error.way == "remote" else errors.ROUTER6,
        hop_limit=error.ttl,
        traffic_class=error.tos,
    )
    return _spoiled(error, packet, 42)


@dataclass(frozen=True)
class _Ends:
    """Of the packet in error, as it is quoted: the one of this side, and the other one."""

    local: IPv4Address
    local_port: int
    remote: IPv4Address
    remote_port: int
    local_is_source: bool = True

    @classmethod
    def of(cls, ce_domain: Domain, error: Error, mapping: Mapping) -> _Ends:
        """A forward may have no remote yet: any will do."""
        remote, remote_port = mapping.peer, mapping.peer_port
        if remote == IPv4Address(0):
            remote, remote_port = IPv4Address(packets.SERVER), 80
        if mapping.protocol is Protocol.ICMP:
            remote_port = mapping.host_port
        ends = cls(mapping.host, mapping.host_port, remote, remote_port)
        return _with_wrong_ends(ends, error.wrong, ce_domain)

    def reversed(self) -> _Ends:
        return dataclasses.replace(self, local_is_source=False)

    @property
    def addresses(self) -> tuple[str, str]:
        both = str(self.local), str(self.remote)
        return both if self.local_is_source else both[::-1]

    @property
    def ports(self) -> tuple[int, int]:
        both = self.local_port, self.remote_port
        return both if self.local_is_source else both[::-1]


def _with_wrong_ends(ends: _Ends, wrong: str, ce_domain: Domain) -> _Ends:
    if wrong == "local port":
        outside = next(port for port in range(1, 65536) if port not in ce_domain.port_set)
        return dataclasses.replace(ends, local_port=outside)
    if wrong == "local address":
        return dataclasses.replace(ends, local=IPv4Address("192.168.99.99"))
    if wrong == "remote port":
        return dataclasses.replace(ends, remote_port=ends.remote_port ^ 0x5555)
    if wrong == "remote address":
        return dataclasses.replace(ends, remote=IPv4Address("198.51.100.200"))
    return ends


Addresses = tuple[str, str] | tuple[IPv6Address, IPv6Address]


def _transport(
    error: Error, protocol: Protocol, ends: _Ends, addresses: Addresses
) -> tuple[bytes, int]:
    """The packet in error behind its IP header, and the protocol number."""
    payload = bytes(number & 0xFF for number in range(error.quote.payload))
    if error.wrong == "protocol":
        return payload + bytes(8), _GRE
    if protocol is Protocol.TCP:
        return packets.tcp(*addresses, *ends.ports, payload=payload), packets.TCP
    if protocol is Protocol.UDP:
        return packets.udp(*addresses, *ends.ports, payload), packets.UDP
    reply, identifier = error.quote.reply, ends.local_port
    if isinstance(addresses[0], IPv6Address):
        data = packets.echo6(*addresses, identifier, reply=reply, payload=payload)
        return data, packets.ICMPV6
    return packets.echo(identifier, reply=reply, payload=payload), packets.ICMP


def _ipv4(error: Error, protocol: Protocol, ends: _Ends) -> bytes:
    quote = error.quote
    data, number = _transport(error, protocol, ends, ends.addresses)
    if error.wrong == "error":
        data, number = errors.icmp((3, 1), 0, bytes(28)), packets.ICMP
    flags = quote.flags | _MORE * quote.fragment | _OFFSET * (error.wrong == "later fragment")
    packet = packets.ipv4(
        data,
        number,
        *ends.addresses,
        ttl=quote.ttl,
        tos=quote.tos,
        fragment=flags,
        options=quote.options,
        version=6 if error.wrong == "version" else 4,
    )
    if error.wrong == "header checksum":
        packet = packet[:10] + bytes([packet[10] ^ 1]) + packet[11:]
    if error.wrong == "header length":
        header = b"\x44" + packet[1:10] + bytes(2) + packet[12:16]
        field = struct.pack("!H", packets.internet_checksum(header))
        packet = header[:10] + field + packet[12:]
    return packet


def _ipv6(
    error: Error, protocol: Protocol, ends: _Ends, own: IPv6Address, far_end: IPv6Address
) -> bytes:
    quote = error.quote
    if error.wrong == "local address":
        own = IPv6Address(int(own) ^ 1 << 20)
    data, number = _transport(error, protocol, ends, (own, far_end))
    if error.wrong == "error":
        data, number = errors.icmpv6((1, 0), 0, bytes(48), own, far_end), packets.ICMPV6
    if quote.fragment or error.wrong == "later fragment":
        where = 8 if error.wrong == "later fragment" else 0
        data = struct.pack("!BBHI", number, 0, where | 1, 0x12345678) + data
        number = _FRAGMENT
    version = 4 if error.wrong in ("version", "header length", "header checksum") else 6
    return packets.ipv6(
        data,
        number,
        own,
        far_end,
        hop_limit=quote.ttl,
        traffic_class=quote.tos,
        flow_label=0x12345,
        version=version,
    )


def _tunnel(
    error: Error, protocol: Protocol, ends: _Ends, own: IPv6Address, far_end: IPv6Address
) -> bytes:
    inner = _ipv4(error, protocol, ends)
    if error.quote.limit:
        return packets.ipv6(_LIMIT + inner, _DESTINATION, own, far_end)
    return packets.ipv6(inner, packets.IPV4, own, far_end)


def _body(error: Error, quoted: bytes, unit: int) -> tuple[bytes, int]:
    """What follows the ICMP header, and the length attribute of RFC 4884."""
    quoted = quoted[: error.quote.octets]
    if not error.objects:
        return quoted[:1232], error.length or 0
    quoted = quoted[:MOST_BEFORE_OBJECTS].ljust(_LEAST_BEFORE_OBJECTS, b"\0")
    quoted = quoted.ljust(-(-len(quoted) // unit) * unit, b"\0")
    length = len(quoted) // unit if error.length is None else error.length
    return quoted + errors.OBJECTS * error.objects, length


def _word4(error: Error, length: int) -> int:
    if error.kind4[0] == 12:
        return error.pointer << 24 | length << 16
    return length << 16 | (error.mtu if error.kind4 == (3, 4) else 0)


def _word6(error: Error, length: int) -> int:
    if error.kind6[0] == 2:
        return error.mtu
    return error.pointer if error.kind6[0] == 4 else length << 24


def _spoiled(error: Error, packet: bytes, checksum_at: int) -> bytes:
    """With a wrong checksum of the message, if it is to be."""
    if error.wrong != "checksum":
        return packet
    octet = bytes([packet[checksum_at] ^ 0x10])
    return packet[:checksum_at] + octet + packet[checksum_at + 1 :]
