# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the software path lower the MSS of a SYN, and touch nothing else?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, TCP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.packet import Packet
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    dissected,
    from_host,
    from_server,
    new_ce,
    sole,
)

from mapxdp.model.domain import Mode

LIMIT = 1200
SendSyn = Callable[[Mode, bytes, str], bytes]


def mss(value: int) -> bytes:
    return bytes([2, 4]) + value.to_bytes(2, "big")


NOP, END, SCALE, UNKNOWN = b"\x01", b"\x00", b"\x03\x03\x07", b"\x09"
SHORT = b"\x02\x03\xff"

#: What is in the options, and what is there afterwards.
CASES = {
    "first": (mss(1460), mss(LIMIT)),
    "after a NOP, across two words": (NOP + mss(1460) + NOP * 3, NOP + mss(LIMIT) + NOP * 3),
    "after three NOPs": (NOP * 3 + mss(1460) + END, NOP * 3 + mss(LIMIT) + END),
    "after another option": (SCALE + mss(1460) + END, SCALE + mss(LIMIT) + END),
    "last of 40 octets": (NOP * 36 + mss(1460), NOP * 36 + mss(LIMIT)),
    "two": (mss(1460) + mss(1460), mss(LIMIT) * 2),
    "ten": (mss(1460) * 10, mss(LIMIT) * 10),
    "second, the first is small": (mss(536) + mss(1460), mss(536) + mss(LIMIT)),
    "first, the second is small": (mss(1460) + mss(536), mss(LIMIT) + mss(536)),
    "before one that is cut off": (
        mss(1460) + NOP * 2 + b"\x02\x04",
        mss(LIMIT) + NOP * 2 + b"\x02\x04",
    ),
    "one above the limit": (mss(LIMIT + 1), mss(LIMIT)),
    "the largest there is": (mss(65535), mss(LIMIT)),
    "after one of length 3": (SHORT + mss(1460) + END, SHORT + mss(LIMIT) + END),
}
UNCHANGED = {
    "none": b"",
    "at the limit": mss(LIMIT),
    "below the limit": mss(536),
    "zero": mss(0),
    "after the end of the options": END + mss(1460) + END * 3,
    "of length 3": NOP + SHORT,
    "cut off after its length": NOP * 2 + b"\x02\x04",
    "cut off within its value": NOP + b"\x02\x04\xff",
    "cut off after its kind": NOP * 3 + b"\x02",
    "after an option of length 0": UNKNOWN + b"\x00" + mss(1460) + END * 2,
    "after an option of length 1": UNKNOWN + b"\x01" + mss(1460) + END * 2,
    "after a length past the end": UNKNOWN + b"\x29" + mss(1460) + END * 2,
    "within another option": UNKNOWN + b"\x06" + mss(1460) + END * 2,
}


def segment(ip: IP | IPv6, options: bytes, **fields: object) -> bytes:
    """A TCP header with just these octets as options, the checksum computed by scapy."""
    words = 5 + len(options) // 4
    data = bytes(TCP(dataofs=words, chksum=0, **fields)) + options
    return data[:16] + tcp_checksum(ip, data).to_bytes(2, "big") + data[18:]


def tcp_checksum(ip: Packet, data: bytes) -> int:
    zeroed = data[:16] + bytes(2) + data[18:]
    return int((in6_chksum if isinstance(ip, IPv6) else in4_chksum)(6, ip, zeroed))


def options_of(packet: bytes) -> bytes:
    """The octets of the options of a packet without payload, its checksum verified."""
    parsed = dissected(packet)
    ip = parsed.getlayer(IP) or parsed
    data = packet[-int(ip.plen if isinstance(ip, IPv6) else ip.len - 20) :]
    assert tcp_checksum(ip, data) == int.from_bytes(data[16:18], "big")
    return data[20:]


def syn_out(mode: Mode, options: bytes, flags: str) -> bytes:
    ip = IP(src=HOST, dst=SERVER, proto=6)
    data = segment(ip, options, sport=40000, dport=80, flags=flags)
    return sole(new_ce(mode, mss=LIMIT).from_lan(bytes(ip / data)))


def syn_in(mode: Mode, options: bytes, flags: str) -> bytes:
    ce = new_ce(mode, mss=LIMIT)
    sole(ce.from_lan(bytes(from_host(TCP(sport=40000, dport=80, flags="S")))))
    inside = (
        IPv6(src=SERVER_IPV6, dst=OWN_IPV6) if mode.translates else IP(src=SERVER, dst=OWN_IPV4)
    )
    data = segment(inside, options, sport=80, dport=PORT, flags=flags)
    arriving = from_server(mode, data)
    if mode.translates:
        arriving.nh = 6
    else:
        arriving[IP].proto = 6
    return sole(ce.from_wan(bytes(arriving)))


@pytest.mark.parametrize("flags", ["S", "SA"])
@pytest.mark.parametrize("way", [syn_out, syn_in])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_it_is_lowered(case: str, mode: Mode, way: SendSyn, flags: str) -> None:
    given, expected = CASES[case]
    assert options_of(way(mode, given, flags)).hex() == expected.hex()


@pytest.mark.parametrize("way", [syn_out, syn_in])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", UNCHANGED)
def test_it_is_left_alone(case: str, mode: Mode, way: SendSyn) -> None:
    assert options_of(way(mode, UNCHANGED[case], "S")).hex() == UNCHANGED[case].hex()


@pytest.mark.parametrize("way", [syn_out, syn_in])
@pytest.mark.parametrize("flags", ["A", "PA", "FA", ""])
@pytest.mark.parametrize("mode", MODES)
def test_only_a_syn_has_one(mode: Mode, flags: str, way: SendSyn) -> None:
    assert options_of(way(mode, mss(1460), flags)) == mss(1460)


@pytest.mark.parametrize("mode", MODES)
def test_it_is_left_alone_where_nobody_asked(mode: Mode) -> None:
    sent = from_host(TCP(sport=40000, dport=80, flags="S", options=[("MSS", 9000)]))
    packet = sole(new_ce(mode, mss=None).from_lan(bytes(sent)))
    assert IPv6(packet)[TCP].options == [("MSS", 9000)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut_at", range(5))
def test_payload_is_no_option(mode: Mode, cut_at: int) -> None:
    """The header ends within the option; the payload looks like the rest of it."""
    options, payload = mss(0xFFFF)[:cut_at], mss(0xFFFF)[cut_at:] + b"\xff\xff"
    options = NOP * (-len(options) % 4) + options
    ip = IP(src=HOST, dst=SERVER, proto=6)
    data = segment(ip, options, sport=40000, dport=80, flags="S") + payload
    packet = sole(new_ce(mode, mss=LIMIT).from_lan(bytes(ip / data)))
    expected = NOP * (-len(options) % 4) + mss(LIMIT) if cut_at == 4 else options
    assert packet.endswith(expected + payload)
