# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packets of an independent implementation (tests/vectors) through both paths.

NAPT44 is off: the vectors show packets with the CE's own address and port. They count one hop
in the translator, which the kernel takes off here: so do these tests, before.
"""

from __future__ import annotations

import struct

import pytest

from harness import packets
from harness.domains import BR, DMR, domain
from harness.follower import Follower
from harness.loaded import LoadedCes
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.datapath.trial import TrialLink
from mapxdp.model.domain import Mode
from mapxdp.reasons import Reason
from vectors import Vector, VectorsOf, named

VECTORS = VectorsOf()
_MODES = {"pkt46": "map-t", "pkt64": "map-t", "encap": "map-e", "decap": "map-e"}
PUBLIC, PORT, SERVER = "192.0.2.18", 1232, "10.2.3.4"
MAP_ADDRESS = domain("map-t").map_address
SERVER6 = "2001:db8:ffff:0:a:203:400:0"
ECN = {"Not-ECT": 0, "ECT(1)": 1, "ECT(0)": 2, "CE": 3}
DSCP = 0x2E

#: What is not handled yet is refused for its reason.
REFUSED = {
    "pkt-mapt-frag-udp0": Reason.UDP_CHECKSUM_ZERO,
}


def one_hop_further(packet: bytes, mode: str) -> bytes:
    """As the kernel passes it on: TTL of IPv4; of MAP-T's IPv6 the Hop Limit."""
    if packet[0] >> 4 == 6:
        inner = 40 + (8 if packet[6] == 60 else 0)  # behind the Tunnel Encapsulation Limit
        at = 7 if mode == "map-t" else inner + 8
        changed = packet[:at] + bytes([packet[at] - 1]) + packet[at + 1 :]
        return changed if mode == "map-t" else changed[:inner] + with_checksum(changed[inner:])
    return with_checksum(packet[:8] + bytes([packet[8] - 1]) + packet[9:])


def with_checksum(packet: bytes) -> bytes:
    header = packet[:10] + b"\0\0" + packet[12:20]
    return header[:10] + packets.internet_checksum(header).to_bytes(2, "big") + packet[10 + 2 :]


def comparable(packet: bytes) -> bytes:
    if packet[0] >> 4 == 6:
        return packet
    assert packets.internet_checksum(packet[:20]) == 0
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


def without_napt44(ces: LoadedCes, mode: str, **changes: object) -> Follower:
    """Both paths of the example CE, which have to agree."""
    return Follower(ces.example(mode, napt44=Napt44Kind.NONE, **{"mss": None} | changes))


def first_of_it(packet: bytes) -> bytes:
    """The first fragment of the IPv6 packet that ``packet`` is a later fragment of."""
    offset = int.from_bytes(packet[42:44], "big") & 0xFFF8
    datagram = bytes.fromhex("0035 04d0 07d0 0001").ljust(offset, b"x")
    header = packet[40:42] + b"\0\1" + packet[44:48]
    return packets.ipv6(header + datagram, packet[6], SERVER6, MAP_ADDRESS)


def packets_of(vector: Vector) -> list[bytes]:
    """The packet of a vector, behind the first fragment that it follows."""
    packet = bytes.fromhex(vector["in"]["packet"])
    if vector["id"] == "pkt-mapt-frag-last":
        return [bytes.fromhex(named("pkt-mapt-frag-first")["in"]["packet"]), packet]
    if vector["id"] == "pkt-mapt-frag-down":
        return [first_of_it(packet), packet]
    return [packet]


@VECTORS.each(*_MODES)
def test_vector(vector: Vector, loaded_ces: LoadedCes) -> None:
    kind, mode = vector["kind"], _MODES[vector["kind"]]
    assert vector["in"]["ce_map_addr"] == str(MAP_ADDRESS)
    assert vector["in"].get("dmr", str(DMR)) == str(DMR)
    assert vector["in"].get("br", str(BR)) == str(BR)
    follower = without_napt44(loaded_ces, mode)
    way = follower.from_lan if kind in ("pkt46", "encap") else follower.from_wan
    *_, outcome = [way(one_hop_further(packet, mode)) for packet in packets_of(vector)]
    if vector["id"] in REFUSED:
        assert outcome.reason is REFUSED[vector["id"]]
        return
    expected = bytes.fromhex(vector["out"]["packet"])
    assert outcome.reason is Reason.TRANSLATED
    assert [*map(comparable, outcome.packets)] == [comparable(expected)]


@VECTORS.each("ecn_decap")
@pytest.mark.parametrize("protocol", [packets.TCP, packets.UDP])
def test_ecn_at_the_end_of_the_tunnel(protocol: int, vector: Vector, loaded_ces: LoadedCes) -> None:
    follower = without_napt44(loaded_ces, "map-e")
    make = {packets.TCP: packets.tcp, packets.UDP: packets.udp}[protocol]
    given, expected = vector["in"], vector["out"]["out"]
    inner = packets.ipv4(
        make(SERVER, PUBLIC, 80, PORT),
        protocol,
        SERVER,
        PUBLIC,
        tos=DSCP << 2 | ECN[given["inner"]],
    )
    outer = packets.ipv6(inner, packets.IPV4, BR, MAP_ADDRESS, traffic_class=ECN[given["outer"]])
    outcome = follower.from_wan(outer)
    if expected == "DROP":
        assert (outcome.reason, outcome.packets) == (Reason.CONGESTION_MARK_LOST, ())
        return
    (packet,) = outcome.packets
    assert packet[1] == DSCP << 2 | ECN[expected]
    assert packets.checksums_are_right(packet)
    assert packet[12:] == inner[12:]


@VECTORS.each("mss")
@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_the_mtu_and_mss_that_follow_from_the_wan(
    mode: str, vector: Vector, loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    name = {"map-t": "mapt", "map-e": "mape"}[mode]
    mtu, mss = vector["out"][f"{name}_mtu"], vector["out"][f"{name}_mss"]
    ipv4_mtu = domain(mode).ipv4_mtu(vector["in"]["wan_mtu"])
    follower = without_napt44(loaded_ces, mode, ipv4_mtu=ipv4_mtu, mss=ipv4_mtu - 40)
    follower.ce.link = trial_link
    for wanted in (mss - 1, mss, mss + 1, 65000):
        clamped = mss_option(min(wanted, mss))
        (sent,) = follower.from_lan(syn(PUBLIC, SERVER, PORT, wanted)).packets
        assert sent[-4:] == clamped
        (received,) = follower.from_wan(syn_from_wan(mode, wanted)).packets
        assert received[-4:] == clamped
        assert packets.checksums_are_right(sent)
        assert packets.checksums_are_right(received)
    for size, reason in ((mtu, Reason.TRANSLATED), (mtu + 1, Reason.TOO_BIG)):
        datagram = packets.udp(PUBLIC, SERVER, PORT, 53, bytes(size - 28))
        outcome = follower.from_lan(packets.ipv4(datagram, packets.UDP, PUBLIC, SERVER))
        assert outcome.reason is reason
        assert [len(packet) for packet in outcome.packets] in ([], [vector["in"]["wan_mtu"]])


def mss_option(mss: int) -> bytes:
    return struct.pack("!BBH", 2, 4, mss)


def syn(source: str, destination: str, port: int, mss: int) -> bytes:
    segment = packets.tcp(source, destination, port, 80, flags=packets.SYN, options=mss_option(mss))
    return packets.ipv4(segment, packets.TCP, source, destination)


def syn_from_wan(mode: str, mss: int) -> bytes:
    if Mode(mode) is Mode.MAP_E:
        options = mss_option(mss)
        segment = packets.tcp(SERVER, PUBLIC, 80, PORT, flags=packets.SYN, options=options)
        inner = packets.ipv4(segment, packets.TCP, SERVER, PUBLIC)
        return packets.ipv6(inner, packets.IPV4, BR, MAP_ADDRESS)
    segment = packets.tcp(
        SERVER6, MAP_ADDRESS, 80, PORT, flags=packets.SYN, options=mss_option(mss)
    )
    return packets.ipv6(segment, packets.TCP, SERVER6, MAP_ADDRESS)


def test_every_kind_of_these_is_here() -> None:
    """The others, of ICMP errors and fragments, have tests beside what they are about."""
    assert VECTORS.used == {*_MODES, "ecn_decap", "mss"}
