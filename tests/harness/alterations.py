# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sound packets with something about their headers: options, extension headers, another protocol,
no UDP checksum, other flags. What follows from a change (lengths, the IPv4 header checksum) is
made right, so that the packet gets as far as it can."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from harness import packets

#: A change, its value, and whether it is the packet in a tunnel that is changed.
Alteration = tuple[str, int, bool]

#: 6in4, GRE, ESP, AH, DCCP, SCTP, UDP-Lite, IGMP, both ICMPs, and what is nobody's.
PROTOCOLS = [41, 47, 50, 51, 33, 132, 136, 2, packets.ICMP, packets.ICMPV6, 59, 253]
FRAGMENT_FIELDS = [0, 0x4000, 0x8000, 0xC000]
TTLS = [0, 1, 2, 255]
#: No operation, record route, source routes done and to do, timestamp, and what is broken.
OPTIONS = [
    b"\x01\x01\x01\x00",
    bytes([7, 7, 4, 0, 0, 0, 0, 0]),
    bytes([131, 7, 8, 1, 2, 3, 4, 0]),
    bytes([131, 7, 4, 1, 2, 3, 4, 0]),
    bytes([137, 7, 4, 1, 2, 3, 4, 0]),
    bytes([68, 8, 5, 0, 0, 0, 0, 0]),
    bytes([7, 0, 0, 0]),
    bytes([7, 41, 4, 0]),
    b"\x01" * 40,
]
_HOP_BY_HOP, _ROUTING, _DESTINATION, _AUTHENTICATION, _MOBILITY = 0, 43, 60, 51, 135
#: Extension headers in a row, as (next header's own number, octets from the second on).
EXTENSIONS = [
    [(_HOP_BY_HOP, bytes([0, 1, 4, 0, 0, 0, 0]))],
    [(_DESTINATION, bytes([0, 4, 1, 1, 1, 1, 0]))],
    [(_DESTINATION, bytes([1, 1, 12]) + bytes(12))],
    [(_ROUTING, bytes([0, 0, 0, 0, 0, 0, 0]))],
    [(_ROUTING, bytes([2, 0, 1, 0, 0, 0, 0]) + bytes(16))],
    [(_ROUTING, bytes([2, 2, 1, 0, 0, 0, 0]) + bytes(16))],
    [(_HOP_BY_HOP, bytes(7)), (_DESTINATION, bytes(7)), (_ROUTING, bytes(7))],
    [(_DESTINATION, bytes(7))] * 9,
    [(_AUTHENTICATION, bytes([4]) + bytes(22))],
    [(_MOBILITY, bytes(7))],
    [(_DESTINATION, bytes([200]) + bytes(6))],
]
_CHOICES: dict[str, int] = {
    "fragment field": len(FRAGMENT_FIELDS),
    "ttl": len(TTLS),
    "options": len(OPTIONS),
    "extensions": len(EXTENSIONS),
    "protocol": len(PROTOCOLS),
    "no checksum": 1,
}

ALTERATIONS = st.lists(
    st.one_of(
        [
            st.tuples(st.just(name), st.integers(0, count - 1), st.booleans())
            for name, count in _CHOICES.items()
        ]
    ),
    min_size=1,
    max_size=2,
)


def altered(packet: bytes, alterations: list[Alteration]) -> bytes:
    """The packet with these changes; those that its IP version does not know change nothing."""
    for name, value, inner in alterations:
        packet = _altered(packet, name, value, inner)
    return packet


def _altered(packet: bytes, name: str, value: int, inner: bool) -> bytes:
    if packet[0] >> 4 == 4:
        return _CHANGES4.get(name, _unchanged)(packet, value)
    if inner and packet[6] == packets.IPV4:
        return _with_payload(packet, _altered(packet[40:], name, value, False))
    return _CHANGES6.get(name, _unchanged)(packet, value)


def _unchanged(packet: bytes, _: int) -> bytes:
    return packet


def _octets_at(packet: bytes, at: int, octets: bytes) -> bytes:
    return packet[:at] + octets + packet[at + len(octets) :]


def _fragment_field(packet: bytes, value: int) -> bytes:
    field = FRAGMENT_FIELDS[value].to_bytes(2, "big")
    return packets.with_header_checksum(_octets_at(packet, 6, field))


def _ttl(packet: bytes, value: int) -> bytes:
    return packets.with_header_checksum(_octets_at(packet, 8, bytes([TTLS[value]])))


def _hop_limit(packet: bytes, value: int) -> bytes:
    return _octets_at(packet, 7, bytes([TTLS[value]]))


def _options(packet: bytes, value: int) -> bytes:
    """Instead of those it has."""
    options, payload = OPTIONS[value], packet[(packet[0] & 0xF) * 4 :]
    length = (20 + len(options) + len(payload)).to_bytes(2, "big")
    first = bytes([0x45 + len(options) // 4])
    header = first + packet[1:2] + length + packet[4:20] + options
    return packets.with_header_checksum(header + payload)


def _protocol(packet: bytes, value: int) -> bytes:
    return packets.with_header_checksum(_octets_at(packet, 9, bytes([PROTOCOLS[value]])))


def _next_header(packet: bytes, value: int) -> bytes:
    return _octets_at(packet, 6, bytes([PROTOCOLS[value]]))


def _no_checksum4(packet: bytes, _: int) -> bytes:
    at = (packet[0] & 0xF) * 4 + 6
    return _octets_at(packet, at, bytes(2)) if packet[9] == packets.UDP else packet


def _no_checksum6(packet: bytes, _: int) -> bytes:
    return _octets_at(packet, 46, bytes(2)) if packet[6] == packets.UDP else packet


def _extensions(packet: bytes, value: int) -> bytes:
    """Before what the fixed header is followed by."""
    chain = EXTENSIONS[value]
    numbers = [number for number, _ in chain[1:]] + [packet[6]]
    headers = b"".join(
        bytes([following]) + octets for following, (_, octets) in zip(numbers, chain, strict=True)
    )
    first = chain[0][0]
    return _with_payload(_octets_at(packet, 6, bytes([first])), headers + packet[40:])


def _with_payload(packet: bytes, payload: bytes) -> bytes:
    return packet[:4] + len(payload).to_bytes(2, "big") + packet[6:40] + payload


_Change = Callable[[bytes, int], bytes]
_CHANGES4: dict[str, _Change] = {
    "fragment field": _fragment_field,
    "ttl": _ttl,
    "options": _options,
    "protocol": _protocol,
    "no checksum": _no_checksum4,
}
_CHANGES6: dict[str, _Change] = {
    "ttl": _hop_limit,
    "extensions": _extensions,
    "protocol": _next_header,
    "no checksum": _no_checksum6,
}
