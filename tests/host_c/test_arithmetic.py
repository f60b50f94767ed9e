# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The C arithmetic against the model and the software path: each is the other's oracle.

Exhaustive where it can be: all ports of all (a, k), all pairs of TOS, all TCP flags.
"""

from __future__ import annotations

import array
import ctypes
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapxdp.contract import Contract
from mapxdp.datapath import tables
from mapxdp.model import rfc6052
from mapxdp.model.port_set import PORT_COUNT, PortParameters, PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software import checksum, encapsulation, ipv4_options
from mapxdp.software.lifecycle import Endpoint, LanPacket, Life
from mapxdp.software.transport import TcpFlags, Transport
from mapxdp.software.verdict import Refused

GEOMETRIES = [(a, k) for a in range(16) for k in range(17 - a)]
ADDRESSES = st.binary(min_size=16, max_size=16)
WORDS = st.integers(0, 0xFFFF)

repeatable = settings(deadline=None, derandomize=True, database=None)


def native(octets: bytes) -> int:
    """Octets in network order as a C function takes a __be32."""
    return int.from_bytes(octets, sys.byteorder)


@pytest.mark.parametrize(("a", "k"), GEOMETRIES)
def test_every_port_of_every_geometry(a: int, k: int, host_c: ctypes.CDLL) -> None:
    for psid in sorted({0, 1 % (1 << k), (1 << k) // 2, (1 << k) - 1}):
        port_set = PortSet(PortParameters(a, k), psid)
        expected = array.array("I", [0xFFFFFFFF]) * PORT_COUNT
        position = 0
        for first, last in port_set.ranges():
            size = last - first + 1
            expected[first : last + 1] = array.array("I", range(position, position + size))
            position += size
        found = (ctypes.c_uint32 * PORT_COUNT)()
        host_c.slots_of_ports(a, k, psid, found)
        assert bytes(found) == expected.tobytes()
        assert position == len(port_set)


@repeatable
@given(
    prefix=ADDRESSES,
    ipv4=st.binary(min_size=4, max_size=4),
    length=st.sampled_from(rfc6052.PREFIX_LENGTHS),
)
def test_rfc6052(prefix: bytes, ipv4: bytes, length: int, host_c: ctypes.CDLL) -> None:
    prefix = prefix[:8] + b"\0" + prefix[9:]
    network = IPv6Network((prefix, length), strict=False)
    expected = rfc6052.embed(network, IPv4Address(ipv4))
    embedded = ctypes.create_string_buffer(16)
    host_c.embed(network.network_address.packed, length, ctypes.c_uint32(native(ipv4)), embedded)
    assert embedded.raw == expected.packed
    assert host_c.extract(embedded, length) == native(ipv4)


@repeatable
@given(address=ADDRESSES, length=st.sampled_from(rfc6052.PREFIX_LENGTHS))
def test_rfc6052_extraction_ignores_the_suffix(
    address: bytes, length: int, host_c: ctypes.CDLL
) -> None:
    expected = rfc6052.extract(length, IPv6Address(address))
    assert host_c.extract(address, length) == native(expected.packed)


@repeatable
@given(
    address=ADDRESSES,
    length=st.sampled_from(rfc6052.PREFIX_LENGTHS),
    flipped=st.none() | st.integers(0, 127),
)
def test_under_prefix(
    address: bytes, length: int, flipped: int | None, host_c: ctypes.CDLL
) -> None:
    number = int.from_bytes(address, "big") ^ (0 if flipped is None else 1 << (127 - flipped))
    network = IPv6Network((address, length), strict=False)
    other = IPv6Address(number)
    under = host_c.is_under(other.packed, network.network_address.packed, length)
    assert bool(under) == (other in network)


@repeatable
@given(field=WORDS, old=st.lists(WORDS, max_size=12), new=st.lists(WORDS, max_size=12).filter(any))
def test_checksum_update(field: int, old: list[int], new: list[int], host_c: ctypes.CDLL) -> None:
    """The same in C, which sums words as they lie in memory, and in Python."""

    def octets(words: list[int]) -> bytes:
        return b"".join(word.to_bytes(2, "big") for word in words)

    def native_sum(words: list[int]) -> int:
        return sum(native(word.to_bytes(2, "big")) for word in words)

    found = host_c.updated(native(field.to_bytes(2, "big")), native_sum(old), native_sum(new))
    expected = checksum.updated(field, octets(old), octets(new))
    assert found.to_bytes(2, sys.byteorder) == expected.to_bytes(2, "big")


def test_ecn_of_every_pair(host_c: ctypes.CDLL) -> None:
    for inner in range(256):
        for outer in range(256):
            try:
                expected = encapsulation.decapsulated_tos(inner, outer)
            except Refused as refused:
                assert refused.reason is Reason.CONGESTION_MARK_LOST
                expected = -1
            assert host_c.leaving_tos(inner, outer) == expected


LAN, PEER, STRANGER = (
    Endpoint(b"\x0a\0\0\1", 1),
    Endpoint(b"\1\1\1\1", 80),
    Endpoint(b"\2\2\2\2", 80),
)


class OneMapping:
    """The software path's life of a mapping, and what C makes of the same packets."""

    def __init__(self, host_c: ctypes.CDLL, contract: Contract, flags: TcpFlags) -> None:
        self._host_c = host_c
        self._contract = contract
        self._life = Life.begun_by(LanPacket(Protocol.TCP, LAN, PEER, flags), 0)
        self._flags = host_c.first(int(flags))
        self._peer = ctypes.c_uint64(1)

    def packet(self, from_lan: bool, peer: Endpoint, flags: TcpFlags) -> None:
        if from_lan:
            self._life.note_from_lan(LanPacket(Protocol.TCP, LAN, peer, flags), 0)
        else:
            self._life.note_from_wan(peer, flags, 0)
        number = 1 if peer == PEER else 2
        self._flags = self._host_c.after(
            from_lan, self._flags, ctypes.byref(self._peer), int(flags), number
        )

    def agree(self) -> bool:
        """Both know the same, and have the same first peer."""
        same_peer = (self._life.peer == PEER) == (self._peer.value == 1)
        return same_peer and tables.facts_of(self._contract, self._flags) == self._life.facts


PACKETS = st.tuples(
    st.booleans(), st.sampled_from([PEER, STRANGER]), st.integers(0, 31).map(TcpFlags)
)


@settings(repeatable, max_examples=2000)
@given(first=st.integers(0, 31).map(TcpFlags), packets=st.lists(PACKETS, max_size=8))
def test_state_of_a_mapping(
    first: TcpFlags, packets: list[tuple[bool, Endpoint, TcpFlags]], host_c: ctypes.CDLL
) -> None:
    flags = TcpFlags.FIN | TcpFlags.SYN | TcpFlags.RST | TcpFlags.ACK
    if first & TcpFlags.RST:
        return  # a reset creates no mapping
    mapping = OneMapping(
        host_c, tables.contract_for(PortSet(PortParameters(6, 8), 0)), first & flags
    )
    for from_lan, peer, packet_flags in packets:
        mapping.packet(from_lan, peer, packet_flags & flags)
        assert mapping.agree()


@settings(repeatable, max_examples=3000)
@given(
    options=st.lists(
        st.sampled_from([b"\1", b"\0", b"\2\4\5\xb4", b"\3\3\7", b"\2", b"\4\2", b"\x09\x28"])
        | st.binary(max_size=6)
    ).map(lambda parts: b"".join(parts)[:40])
)
def test_mss_option(options: bytes, host_c: ctypes.CDLL) -> None:
    options = options[: len(options) // 4 * 4]
    header = bytes(12) + bytes([(5 + len(options) // 4) << 4]) + bytes(7) + options
    transport = Transport(Protocol.TCP, header, 16, 0, 2)
    expected = sum(1 << at - 22 for at in transport._all_mss())
    assert host_c.mss_options(options, len(options)) == expected


@repeatable
@given(
    options=st.lists(
        st.sampled_from([b"\1", b"\0", b"\x83\7\4", b"\x89\3\4", b"\x83\2", b"\x07\4\0\0"])
        | st.binary(max_size=6)
    ).map(lambda parts: b"".join(parts)[:40])
)
def test_ipv4_options(options: bytes, host_c: ctypes.CDLL) -> None:
    options = options[: len(options) // 4 * 4]
    header = bytes([0x45 + len(options) // 4]) + bytes(2) + bytes([20 + len(options)]) + bytes(16)
    try:
        ipv4_options.left_out(header + options)
        expected = 0
    except Refused as refused:
        expected = refused.reason.number
    assert host_c.checked_options(options, len(options)) == expected


@repeatable
@given(
    header=st.binary(min_size=40, max_size=40),
    source=st.binary(min_size=4, max_size=4),
    destination=st.binary(min_size=4, max_size=4),
    identification=WORDS,
)
def test_translated_header_has_a_right_checksum(
    header: bytes, source: bytes, destination: bytes, identification: int, host_c: ctypes.CDLL
) -> None:
    header = (
        header[:4] + (int.from_bytes(header[4:6], "big") % 60000).to_bytes(2, "big") + header[6:]
    )
    made = ctypes.create_string_buffer(20)
    host_c.translated_header(
        header,
        ctypes.c_uint32(native(source)),
        ctypes.c_uint32(native(destination)),
        identification,
        made,
    )
    assert checksum.ones_complement_sum(made.raw) == 0xFFFF
    assert made.raw[4:6] == identification.to_bytes(2, "big")
    assert made.raw[12:] == source + destination


@repeatable
@given(
    header=st.binary(min_size=20, max_size=20),
    source=st.binary(min_size=4, max_size=4),
    destination=st.binary(min_size=4, max_size=4),
    tos=st.integers(0, 255),
)
def test_renumbered_header_is_as_wrong_as_it_was(
    header: bytes, source: bytes, destination: bytes, tos: int, host_c: ctypes.CDLL
) -> None:
    made = ctypes.create_string_buffer(20)
    host_c.renumbered_header(
        header,
        ctypes.c_uint32(native(source)),
        ctypes.c_uint32(native(destination)),
        tos,
        made,
    )
    before = checksum.ones_complement_sum(header) % 0xFFFF
    assert checksum.ones_complement_sum(made.raw) % 0xFFFF == before
    assert made.raw[1] == tos
    assert made.raw[2:10] == header[2:10]
    assert made.raw[12:] == source + destination
