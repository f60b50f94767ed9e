# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ICMP errors quote, in the other family: the C text against the software path.

Quotes are drawn at random, whole and cut short, their checksums right and wrong.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.packets import internet_checksum
from mapxdp.software.quote import read_quote4, read_quote6
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import PROTO_FRAGMENT, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP

SOURCE_V6, DESTINATION_V6 = bytes(range(1, 17)), bytes(range(101, 117))
IPV4 = st.binary(min_size=4, max_size=4)
WORDS = st.integers(0, 0xFFFF)
#: What the quoted packet carried. Beyond 1240 it had DF set in IPv4.
CARRIED = st.sampled_from([8, 1240, 1241, 1248, 1249, 65515]) | st.integers(8, 65515)
#: From 8 octets to 40, all that matters in a transport header comes and goes. The checksum of
#: UDP is the fourth word, that of TCP the ninth.
TRANSPORTS = st.builds(
    lambda start, word, end: start + word + end,
    st.binary(min_size=6, max_size=6),
    st.sampled_from([b"\0\0", b"\xff\xff", b"\x12\x34"]),
    st.binary(max_size=52),
)

repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=300)


def native(octets: bytes) -> ctypes.c_uint32:
    """Octets in network order as a C function takes a __be32."""
    return ctypes.c_uint32(int.from_bytes(octets, sys.byteorder))


@repeatable
@given(
    protocol=st.sampled_from([PROTO_TCP, PROTO_UDP, PROTO_ICMP, 47]),
    fields=st.binary(min_size=20, max_size=20),
    carried=CARRIED,
    more=st.booleans(),
    transport=TRANSPORTS,
    reply=st.booleans(),
    port=WORDS,
)
def test_a_quote_in_ipv6(
    protocol: int,
    fields: bytes,
    carried: int,
    more: bool,
    transport: bytes,
    reply: bool,
    port: int,
    errors_c: ctypes.CDLL,
) -> None:
    header = bytearray(fields)
    header[0] = 0x45
    header[2:4] = (carried + 20).to_bytes(2, "big")
    header[6:8] = (fields[6] & 0xC0 | more << 5).to_bytes(1, "big") + bytes(1)
    header[9] = protocol
    header[10:12] = bytes(2)
    header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
    if protocol == PROTO_ICMP:
        transport = bytes([0 if reply else 8]) + transport[1:]
    octets = ctypes.create_string_buffer(transport, len(transport))
    made = ctypes.create_string_buffer(48)
    ends = bytes(8) + SOURCE_V6 + DESTINATION_V6
    length = errors_c.as_ipv6(bytes(header), octets, len(transport), ends, port, made)
    try:
        quote = read_quote4(bytes(header) + transport)
    except Refused:
        assert length == 0
        return
    expected = replace(quote, transport=quote.transport.with_ports(None, port))
    assert made.raw[:length] + octets.raw == expected.to_ipv6(SOURCE_V6, DESTINATION_V6)


@repeatable
@given(
    next_header=st.sampled_from([PROTO_TCP, PROTO_UDP, PROTO_ICMPV6, 47]),
    start=st.binary(min_size=4, max_size=4),
    hop_limit=st.integers(0, 255),
    carried=CARRIED,
    fragment=st.none() | st.tuples(st.integers(0, 1), st.integers(0, (1 << 32) - 1)),
    transport=TRANSPORTS,
    reply=st.booleans(),
    ends=st.tuples(IPV4, IPV4),
    port=WORDS,
)
def test_a_quote_in_ipv4(
    next_header: int,
    start: bytes,
    hop_limit: int,
    carried: int,
    fragment: tuple[int, int] | None,
    transport: bytes,
    reply: bool,
    ends: tuple[bytes, bytes],
    port: int,
    errors_c: ctypes.CDLL,
) -> None:
    extension = b""
    if fragment is not None:
        extension = bytes([next_header, 0]) + fragment[0].to_bytes(2, "big")
        extension += fragment[1].to_bytes(4, "big")
    header = bytes([0x60 | start[0] & 0xF]) + start[1:] + carried.to_bytes(2, "big")
    header += bytes([next_header if fragment is None else PROTO_FRAGMENT, hop_limit])
    header += SOURCE_V6 + DESTINATION_V6
    if next_header == PROTO_ICMPV6:
        transport = bytes([129 if reply else 128]) + transport[1:]
    octets = ctypes.create_string_buffer(transport, len(transport))
    made = ctypes.create_string_buffer(20)
    length = errors_c.as_ipv4(
        header,
        extension or None,
        octets,
        len(transport),
        *map(native, ends),
        port,
        made,
    )
    try:
        quote = read_quote6(header + extension + transport)
    except Refused:
        assert length == 0
        return
    expected = replace(quote, transport=quote.transport.with_ports(port, None))
    assert length == len(made.raw)
    assert made.raw + octets.raw == expected.to_ipv4(*ends)


def test_a_checksum_of_udp_never_becomes_the_sign_for_none(errors_c: ctypes.CDLL) -> None:
    header = bytearray.fromhex("4500 0030 0000 0000 4011 0000 c0000201 c6336407")
    header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
    made = ctypes.create_string_buffer(48)
    ends = bytes(8) + SOURCE_V6 + DESTINATION_V6
    found = set()
    for before in range(1, 1 << 16):
        transport = bytes.fromhex("0035 d431 001c") + before.to_bytes(2, "big")
        octets = ctypes.create_string_buffer(transport, len(transport))
        assert errors_c.as_ipv6(bytes(header), octets, len(transport), ends, 1232, made) == 40
        after = octets.raw[6:8]
        if after in (b"\0\0", b"\xff\xff"):
            quote = read_quote4(bytes(header) + transport)
            quote = replace(quote, transport=quote.transport.with_ports(None, 1232))
            assert made.raw[:40] + octets.raw == quote.to_ipv6(SOURCE_V6, DESTINATION_V6)
        found.add(after)
    assert b"\0\0" not in found
    assert b"\xff\xff" in found
