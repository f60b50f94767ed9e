# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Are the checksums of the software path right, and those that were wrong still wrong?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet
from scapy.utils import checksum as scapy_checksum
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    assert_sound,
    dissected,
    from_host,
    from_server,
    layers,
    new_ce,
    sole,
    with_new_checksums,
)

from mapxdp.model.domain import Mode
from mapxdp.software import checksum

repeatable = settings(deadline=None, derandomize=True, database=None)

WORDS = st.lists(st.binary(min_size=2, max_size=2), min_size=1, max_size=20).map(b"".join)


@given(st.binary(max_size=61))
@repeatable
def test_the_checksum_is_scapys(data: bytes) -> None:
    assert checksum.checksum(data) == scapy_checksum(data)


@pytest.mark.parametrize(
    ("data", "total"),
    [(b"", 0), (bytes(4), 0), (b"\xff\xff", 0xFFFF), (b"\x80\x00\x80\x00", 1), (b"\x01", 0x100)],
)
def test_sums_that_are_zero(data: bytes, total: int) -> None:
    """Only nothing, and nothing but zeros, has the sum 0."""
    assert checksum.ones_complement_sum(data) == total
    assert checksum.checksum(data) == total ^ 0xFFFF


@given(WORDS, WORDS, WORDS)
@repeatable
def test_an_updated_checksum_is_the_computed_one(old: bytes, new: bytes, around: bytes) -> None:
    before, after = scapy_checksum(old + around), scapy_checksum(new + around)
    assert (checksum.updated(before, old, new) - after) % 0xFFFF == 0


@given(st.integers(0, 0xFFFF), WORDS, WORDS)
@repeatable
def test_an_update_can_be_undone(field: int, old: bytes, new: bytes) -> None:
    there = checksum.updated(field, old, new)
    assert (checksum.updated(there, new, old) - field) % 0xFFFF == 0


@given(st.binary(max_size=30), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@settings(repeatable, max_examples=60)
def test_every_checksum_is_right_whatever_the_payload(
    payload: bytes, port: int, remote: int
) -> None:
    for mode in MODES:
        ce = new_ce(mode)
        for header in (TCP, UDP):
            sent = from_host(header(sport=port, dport=remote) / payload)
            packet = sole(ce.from_lan(bytes(sent)))
            assert_sound(packet)
            reply = header(sport=remote, dport=IPv6(packet)[header].sport) / payload
            assert_sound(sole(ce.from_wan(bytes(from_server(mode, reply)))))
        assert_sound(sole(ce.from_lan(bytes(from_host(ICMP(id=port, seq=remote) / payload)))))


def checksum_field(packet: Packet) -> int:
    """The checksum of the innermost header that has one."""
    fields = [
        getattr(layer, name)
        for layer in layers(packet)
        for name in ("chksum", "cksum")
        if isinstance(layer, IP | TCP | UDP | ICMP | ICMPv6EchoRequest) and hasattr(layer, name)
    ]
    return int(fields[-1])


def error_of(packet: bytes) -> int:
    """How much the innermost checksum is off, as a one's complement number."""
    right = checksum_field(dissected(with_new_checksums(packet)))
    return (checksum_field(dissected(packet)) - right) % 0xFFFF


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [0, 1, 0x8000, 0xFFFE])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
def test_a_wrong_checksum_stays_wrong_by_the_same_amount(
    mode: Mode, protocol: str, error: int
) -> None:
    outgoing = {
        "tcp": TCP(sport=40000, dport=80) / b"data",
        "udp": UDP(sport=40000, dport=80) / b"data",
        "echo": ICMP(id=40000) / b"data",
    }[protocol]
    sent = IP(bytes(from_host(outgoing)))
    sent.payload.chksum = (sent.payload.chksum + error) % 0xFFFF
    assert error_of(bytes(sent)) == error
    ce = new_ce(mode)
    assert error_of(sole(ce.from_lan(bytes(sent)))) == error
    if protocol != "echo":
        reply = type(outgoing)(sport=80, dport=PORT) / b"data"
        arriving = IPv6(bytes(from_server(mode, reply)))
        last = arriving[type(outgoing)]
        last.chksum = (last.chksum + error) % 0xFFFF
        assert error_of(sole(ce.from_wan(bytes(arriving)))) == error


def test_a_wrong_ipv4_checksum_stays_wrong_in_a_tunnel() -> None:
    sent = IP(bytes(from_host(UDP(sport=40000, dport=53))))
    sent.chksum = (sent.chksum + 5) % 0xFFFF
    packet = sole(new_ce(Mode.MAP_E).from_lan(bytes(sent)))
    right = IPv6(with_new_checksums(packet))[IP].chksum
    assert (IPv6(packet)[IP].chksum - right) % 0xFFFF == 5


def payload_of_checksum_zero(header: IP | IPv6) -> bytes:
    """Two octets of UDP payload that make the computed checksum 0, which is sent as 0xffff."""
    with_zeros = dissected(bytes(header / b"\0\0"))
    return int(with_zeros[UDP].chksum).to_bytes(2, "big")


@pytest.mark.parametrize("mode", MODES)
def test_a_udp_checksum_that_becomes_zero_is_sent_as_ffff(mode: Mode) -> None:
    ce = new_ce(mode)
    source, destination = (OWN_IPV6, SERVER_IPV6) if mode.translates else (OWN_IPV4, SERVER)
    ip = (IPv6 if mode.translates else IP)(src=source, dst=destination)
    payload = payload_of_checksum_zero(ip / UDP(sport=PORT, dport=53))
    packet = sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=53) / payload))))
    assert IPv6(packet)[UDP].chksum == 0xFFFF
    assert_sound(packet)


@pytest.mark.parametrize("mode", MODES)
def test_a_udp_checksum_that_becomes_zero_on_the_way_in(mode: Mode) -> None:
    ce = new_ce(mode)
    sole(ce.from_lan(bytes(from_host(UDP(sport=40000, dport=53)))))
    leaving = IP(src=SERVER, dst=HOST) / UDP(sport=53, dport=40000)
    payload = payload_of_checksum_zero(leaving)
    packet = sole(ce.from_wan(bytes(from_server(mode, UDP(sport=53, dport=PORT) / payload))))
    assert IP(packet)[UDP].chksum == 0xFFFF
    assert_sound(packet)


def test_udp_without_checksum_crosses_a_tunnel_without_checksum() -> None:
    ce = new_ce(Mode.MAP_E)
    sent = from_host(UDP(sport=40000, dport=53, chksum=0) / b"x")
    assert IPv6(sole(ce.from_lan(bytes(sent))))[UDP].chksum == 0
    back = from_server(Mode.MAP_E, UDP(sport=53, dport=PORT, chksum=0) / b"y")
    assert IP(sole(ce.from_wan(bytes(back))))[UDP].chksum == 0
