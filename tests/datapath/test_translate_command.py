# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp translate`` on both paths: the same report, and the same packets out."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader, wrpcap

from harness import packets, snapshots
from harness.domains import BR, DMR
from mapxdp import cli
from mapxdp.model import rfc6052
from mapxdp.model.domain import Mode

HOST, SERVER, PUBLIC = "192.168.1.2", "198.51.100.7", "192.0.2.18"
MAP_ADDRESS = "2001:db8:12:3400:0:c000:212:34"
SERVER6 = str(rfc6052.embed(DMR, IPv4Address(SERVER)))
#: Of the second range of the set; forwards are in the first.
FIRST_PORT, FORWARDED = 2256, 1232
LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
NO_NAPT44 = '\n[napt44]\nmode = "none"\n'
STRICT = '\n[napt44]\nmapping = "eim"\nhost_ports_min = 3\nhost_ports_max = 3\n'
FORWARD = """
[[forward]]
protocol = "udp"
port = "any"
to = "192.168.1.2:9999"

[[forward]]
protocol = "udp"
port = 1233
to = "192.168.1.3:80"
"""
#: The server is a CE.
PEER = """
[[rule]]
ipv6 = "2001:db8:4000::/40"
ipv4 = "198.51.100.0/24"
ea_length = 8
forwarding = true
"""
CONFIGURATIONS = {
    "none": NO_NAPT44,
    "strict": STRICT,
    "forward": FORWARD,
    "peer": NO_NAPT44 + PEER,
}
KINDS = {"Ethernet": 1, "raw IP": 101}


def config(mode: Mode, more: str) -> str:
    text = snapshots.CONFIG
    if mode is Mode.MAP_E:
        text = text.replace('"map-t"', '"map-e"').replace(f'dmr = "{DMR}"', f'br = "{BR}"')
        assert str(BR) in text
    return text + more


def from_lan(source: str) -> list[Packet]:
    """Ordinary packets, and of each way to go wrong one; large and small ones too."""

    def udp(port: int, **changes: object) -> Packet:
        return IP(src=source, dst=SERVER, **changes) / UDP(sport=port, dport=5300) / b"question"

    long = IP(src=source, dst=SERVER) / UDP(sport=FIRST_PORT, dport=5300) / bytes(9000)
    syn = TCP(sport=FIRST_PORT, dport=5300, flags="S", options=[("MSS", 1460)])
    return [
        udp(FIRST_PORT),
        IP(src=source, dst=SERVER, ttl=9, tos=0xB9) / syn,
        IP(src=source, dst=SERVER) / ICMP(id=FIRST_PORT, seq=7) / b"echo",
        udp(FIRST_PORT, ttl=1),
        udp(FIRST_PORT, ttl=0),
        udp(FIRST_PORT + 1),
        udp(FIRST_PORT + 2),
        udp(FIRST_PORT + 3),
        *([udp(1)] if source == PUBLIC else []),
        IP(src=source, dst="224.0.0.251", ttl=1) / UDP(sport=5353, dport=5353),
        IP(src=source, dst="127.0.0.1") / UDP(sport=FIRST_PORT, dport=1),
        IP(src=source, dst=PUBLIC) / UDP(sport=FIRST_PORT, dport=FIRST_PORT + 1) / b"hairpin",
        IP(src=source, dst=SERVER) / UDP(sport=9999, dport=5300) / b"from a forward",
        IP(src=source, dst=SERVER, proto=47) / bytes(20),
        IP(src=source, dst=SERVER, flags="DF") / long[UDP],
        IP(bytes(udp(FIRST_PORT))[:21]),
        Raw(bytes(udp(FIRST_PORT))[:19]),
        Raw(b"\x45"),
    ]


def from_wan(mode: Mode) -> list[Packet]:
    def inside(packet: Packet, hops: int = 64) -> Packet:
        if mode is Mode.MAP_E:
            ipv4 = IP(src=SERVER, dst=PUBLIC, ttl=hops)
            if ICMPv6EchoReply in packet:
                packet = ICMP(type=0, id=packet.id, seq=packet.seq)
            return IPv6(src=str(BR), dst=MAP_ADDRESS, tc=1) / ipv4 / packet
        return IPv6(src=SERVER6, dst=MAP_ADDRESS, hlim=hops) / packet

    question = UDP(sport=5300, dport=FIRST_PORT) / b"answer"
    return [
        inside(question),
        inside(UDP(sport=5300, dport=FORWARDED) / b"forwarded"),
        inside(question, hops=1),
        inside(TCP(sport=80, dport=FIRST_PORT, flags="SA", options=[("MSS", 1460)])),
        inside(ICMPv6EchoReply(id=FIRST_PORT, seq=3)),
        inside(UDP(sport=5300, dport=1)),
        inside(UDP(sport=5300, dport=FIRST_PORT) / bytes(5000)),
        IPv6(src="2001:db8:1::1", dst=MAP_ADDRESS) / question,
        IPv6(src=SERVER6, dst="2001:db8:1::1") / question,
        Raw(bytes(inside(question))[:39]),
        Raw(bytes(inside(question))[:-1]),
    ]


def frames(kind: str, sent: list[Packet]) -> list[bytes]:
    """As they are in a capture; on Ethernet with what else there is."""
    if kind == "raw IP":
        return [bytes(packet) for packet in sent]
    types = [0x86DD if bytes(packet)[0] >> 4 == 6 else 0x0800 for packet in sent]
    behind = [bytes(LINK)[:12] + kind.to_bytes(2, "big") for kind in types]
    made = [link + bytes(packet) for link, packet in zip(behind, sent, strict=True)]
    other = [LINK / ARP(), LINK / Dot1Q(vlan=7) / sent[0]]
    return [*made, *map(bytes, other), made[0].ljust(60, b"\0"), made[0][:9]]


def translated(
    ce: Path, direction: str, path: str, sent: list[bytes], linktype: int
) -> tuple[list[bytes], list[dict[str, object]]]:
    source, target, report = (ce.with_name(name) for name in ("in.pcap", "out.pcap", "report"))
    wrpcap(str(source), sent, linktype=linktype)
    arguments = ["translate", "-c", ce, "--direction", direction, "--path", path, source, target]
    assert cli.main([*map(str, arguments), "--report", str(report)]) == 0
    with target.open("rb") as file:
        reader = RawPcapReader(file)
        assert reader.linktype == linktype
        return [data for data, _ in reader], json.loads(report.read_text())


def comparable(frame: bytes, l2_length: int) -> bytes:
    """Without the identification that each path draws, and the header checksum over it."""
    link, packet = frame[:l2_length], frame[l2_length:]
    if packet[0] >> 4 == 6:
        return frame
    assert packets.internet_checksum(packet[:20]) == 0
    return link + packet[:4] + packet[6:10] + packet[12:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", CONFIGURATIONS)
@pytest.mark.parametrize("direction", ["46", "64"])
@pytest.mark.parametrize("mode", [Mode.MAP_T, Mode.MAP_E])
def test_both_paths_agree(
    mode: Mode, direction: str, more: str, kind: str, bpf: None, tmp_path: Path
) -> None:
    ce = tmp_path / "ce.toml"
    ce.write_text(config(mode, CONFIGURATIONS[more]), encoding="utf-8")
    source = PUBLIC if NO_NAPT44 in CONFIGURATIONS[more] else HOST
    sent = frames(kind, from_lan(source) if direction == "46" else from_wan(mode))
    software, expected = translated(ce, direction, "software", sent, KINDS[kind])
    made, report = translated(ce, direction, "bpf", sent, KINDS[kind])
    assert report == expected
    l2_length = 14 if kind == "Ethernet" else 0
    assert [comparable(frame, l2_length) for frame in made] == [
        comparable(frame, l2_length) for frame in software
    ]
    verdicts = {entry["verdict"] for entry in report}
    assert verdicts >= {"dropped", "passed"}
    assert ("translated" in verdicts) is ((more, direction) != ("strict", "64"))
    assert ("answered" in verdicts) is (direction == "46")


def test_a_packet_that_no_test_run_takes(
    bpf: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ce = tmp_path / "ce.toml"
    ce.write_text(config(Mode.MAP_T, NO_NAPT44), encoding="utf-8")
    source = ce.with_name("in.pcap")
    packet = IP(src=PUBLIC, dst=SERVER) / UDP(sport=FIRST_PORT, dport=1) / bytes(60000)
    wrpcap(str(source), [packet], linktype=101)
    arguments = ["translate", "-c", ce, "--direction", "46", "--path", "bpf", source, source]
    assert cli.main([*map(str, arguments)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "makes no packet of 60042 octets" in line
