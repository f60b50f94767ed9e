# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Capture files through the software path: ``mapxdp translate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP, defragment, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6, fragment6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import rdpcap, wrpcap, wrpcapng

from harness import snapshots
from mapxdp import cli
from mapxdp.software.capture import LINKTYPE_ETHERNET

HOST, SERVER = "192.168.1.2", "198.51.100.7"
MAP_ADDRESS = "2001:db8:12:3400:0:c000:212:34"


STRICT = """
[napt44]
mapping = "eim"
host_ports_min = 1
host_ports_max = 1
"""


FORWARD = f"""
[[forward]]
protocol = "udp"
port = 1232
to = "{HOST}:1232"
"""


@pytest.fixture
def ce(tmp_path: Path) -> Path:
    path = tmp_path / "ce.toml"
    path.write_text(snapshots.CONFIG, encoding="utf-8")
    return path


def translate(
    ce: Path, direction: str, packets: list[Packet] | list[bytes], linktype: int | None = None
) -> tuple[list[Packet], list[dict[str, object]]]:
    source, target, report = (ce.with_name(name) for name in ("in.pcap", "out.pcap", "report"))
    wrpcap(str(source), packets, linktype=linktype)
    arguments = ["translate", "-c", ce, "--direction", direction, source, target]
    assert cli.main([*map(str, arguments), "--report", str(report)]) == 0
    return list(rdpcap(str(target))), json.loads(report.read_text())


def test_ethernet_upstream(ce: Path) -> None:
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    sent = [
        link / IP(src=HOST, dst=SERVER, ttl=64) / UDP(sport=1232, dport=5300) / b"question",
        link / ARP(),
        link / IP(src=HOST, dst="224.0.0.1") / UDP(sport=1, dport=2),
        link / IP(src=HOST, dst=SERVER, proto=47) / bytes(20),
        link / IP(src=HOST, dst=SERVER, ttl=9) / UDP(sport=1233, dport=5300),
    ]
    received, report = translate(ce, "46", sent)
    assert [(entry["verdict"], entry["reason"], entry["outputs"]) for entry in report] == [
        ("translated", "TRANSLATED", [0]),
        ("passed", "NOT_IPV4", []),
        ("passed", "DESTINATION_NOT_ROUTED", []),
        ("dropped", "PROTOCOL_WITHOUT_PORTS", []),
        ("translated", "TRANSLATED", [1]),
    ]
    assert [packet[IPv6].hlim for packet in received] == [63, 8]
    assert [packet[UDP].sport for packet in received] == [1232, 1233]
    assert received[0][Ether].dst == "02:00:00:00:00:02"
    assert received[0][IPv6].src == MAP_ADDRESS


def test_raw_ip_downstream(ce: Path) -> None:
    server6 = "2001:db8:ffff:0:c6:3364:700:0"
    packet = IPv6(src=server6, dst=MAP_ADDRESS) / UDP(sport=5300, dport=1232)
    received, report = translate(ce, "64", [packet])
    assert received == []
    assert report[0]["reason"] == "NO_MAPPING"


LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FROM_LAN = IP(src=HOST, dst=SERVER) / UDP(sport=1232, dport=5300)
FROM_WAN = IPv6(src="2001:db8:ffff:0:c6:3364:700:0", dst=MAP_ADDRESS) / UDP(sport=5300, dport=1232)


@pytest.mark.parametrize(
    ("direction", "frame", "verdict", "reason"),
    [
        ("46", LINK / FROM_WAN, "passed", "NOT_IPV4"),
        ("46", LINK / ARP(), "passed", "NOT_IPV4"),
        ("46", LINK / Dot1Q(vlan=7) / FROM_LAN, "passed", "NOT_IPV4"),
        ("46", bytes(LINK)[:9], "passed", "NOT_IPV4"),
        ("46", Ether(type=0x0800) / bytes(FROM_WAN), "dropped", "MALFORMED_IPV4"),
        ("46", Ether(type=0x86DD) / bytes(FROM_LAN), "passed", "NOT_IPV4"),
        ("64", LINK / FROM_LAN, "passed", "NOT_IPV6"),
        ("64", LINK / ARP(), "passed", "NOT_IPV6"),
        ("64", bytes(LINK)[:9], "passed", "NOT_IPV6"),
        ("64", Ether(type=0x86DD) / bytes(FROM_LAN), "passed", "IPV6_HEADER_CUT"),
        ("64", Ether(type=0x0800) / bytes(FROM_WAN), "passed", "NOT_IPV6"),
    ],
)
def test_the_ethertype_says_what_a_frame_holds(
    direction: str, frame: Packet, verdict: str, reason: str, ce: Path
) -> None:
    """As skb->protocol does for BPF, also where the packet itself says something else."""
    received, report = translate(ce, direction, [bytes(frame)], linktype=LINKTYPE_ETHERNET)
    assert received == []
    assert (report[0]["verdict"], report[0]["reason"]) == (verdict, reason)


def test_raw_ip_says_itself_what_it_is(ce: Path) -> None:
    for direction, reason in (("46", "NOT_IPV4"), ("64", "NOT_IPV6")):
        other = FROM_WAN if direction == "46" else FROM_LAN
        received, report = translate(ce, direction, [other])
        assert received == []
        assert (report[0]["verdict"], report[0]["reason"]) == ("passed", reason)


@pytest.mark.parametrize("ttl", [0, 1])
def test_without_a_hop_left_nothing_is_sent_or_mapped(ttl: int, ce: Path) -> None:
    """The router's kernel answers "time exceeded"; the datapath never sees the packet."""
    last = IP(src=HOST, dst=SERVER, ttl=ttl) / UDP(sport=1232, dport=5300)
    other_host = IP(src="192.168.1.9", dst=SERVER, ttl=2) / UDP(sport=1232, dport=5300)
    received, report = translate(ce, "46", [last, other_host])
    assert [(entry["verdict"], entry["reason"], entry["outputs"]) for entry in report] == [
        ("dropped", "TTL_EXCEEDED", []),
        ("translated", "TRANSLATED", [0]),
    ]
    # The port the first would have had is still to be had.
    assert [(packet[IPv6].hlim, packet[UDP].sport) for packet in received] == [(1, 1232)]


def test_multicast_with_its_one_hop_is_still_multicast(ce: Path) -> None:
    packet = IP(src=HOST, dst="224.0.0.251", ttl=1) / UDP(sport=5353, dport=5353)
    _, report = translate(ce, "46", [packet])
    assert report[0]["reason"] == "DESTINATION_NOT_ROUTED"


@pytest.mark.parametrize(("hops", "sent"), [(1, []), (2, [1])])
def test_downstream_the_kernel_forwards_what_was_translated(
    hops: int, sent: list[int], ce: Path
) -> None:
    ce.write_text(snapshots.CONFIG + '\n[napt44]\nmode = "none"\n', encoding="utf-8")
    packet = FROM_WAN.copy()
    packet[IPv6].hlim = hops
    received, report = translate(ce, "64", [packet])
    assert [packet[IP].ttl for packet in received] == sent
    assert report[0]["reason"] == ("TRANSLATED" if sent else "TTL_EXCEEDED")


def test_what_is_answered_and_by_what(ce: Path) -> None:
    """The answer goes back to where the packet came from, behind what crossed before it."""
    ce.write_text(snapshots.CONFIG + STRICT, encoding="utf-8")
    sent = [LINK / IP(src=HOST, dst=SERVER) / UDP(sport=port, dport=5300) for port in (1232, 1233)]
    received, report = translate(ce, "46", [*sent, *sent[:1]])
    assert [(entry["verdict"], entry["reason"], entry["outputs"]) for entry in report] == [
        ("translated", "TRANSLATED", [0]),
        ("answered", "HOST_LIMIT", [1]),
        ("translated", "TRANSLATED", [2]),
    ]
    answer = received[1]
    assert (answer[Ether].src, answer[Ether].dst) == (LINK.dst, LINK.src)
    assert (answer[IP].dst, answer[IP].ttl, answer[ICMP].type) == (HOST, 64, 3)


def test_a_second_of_the_capture_is_a_second(ce: Path) -> None:
    """Mappings expire by the times of its packets, which need not be in order."""
    ce.write_text(snapshots.CONFIG + STRICT, encoding="utf-8")
    times, sent = [1000, 900, 1110, 1200], []
    for number, second in enumerate(times):
        packet = IP(src=HOST, dst=SERVER) / UDP(sport=1232 + number, dport=5300)
        packet.time = second
        sent.append(packet)
    _, report = translate(ce, "46", sent)
    verdicts = [entry["verdict"] for entry in report]
    assert verdicts == ["translated", "answered", "answered", "translated"]


def test_pcapng_and_times(ce: Path) -> None:
    packet = IP(src=HOST, dst=SERVER) / UDP(sport=1232, dport=5300)
    packet.time = 1_700_000_000.25
    source, target = ce.with_name("in.pcapng"), ce.with_name("out.pcap")
    wrpcapng(str(source), packet)
    arguments = ["translate", "-c", ce, "--direction", "46", source, target]
    assert cli.main(list(map(str, arguments))) == 0
    (received,) = rdpcap(str(target))
    assert received[IPv6].src == MAP_ADDRESS
    assert float(received.time) == 1_700_000_000.25


def test_empty_capture(ce: Path) -> None:
    assert translate(ce, "46", []) == ([], [])


def test_other_link_type(ce: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ce.with_name("in.pcap")
    wrpcap(str(source), [bytes(40)], linktype=105)
    arguments = ["translate", "-c", ce, "--direction", "46", source, ce.with_name("out")]
    assert cli.main(list(map(str, arguments))) == 2
    assert "capture Ethernet (1) or raw IP (101)" in capsys.readouterr().err


def verdicts(report: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(entry["reason"], entry["outputs"]) for entry in report]


def test_fragments_upstream(ce: Path) -> None:
    """One output for each, and all of them when the first one comes last."""
    payload = bytes(range(200)) * 15
    datagram = IP(src=HOST, dst=SERVER, id=7) / UDP(sport=1232, dport=5300) / payload
    parts = fragment(IP(bytes(datagram)), fragsize=1200)
    assert len(parts) == 3
    received, report = translate(ce, "46", [LINK / part for part in parts])
    assert verdicts(report) == [("TRANSLATED", [number]) for number in range(3)]
    assert [packet[IPv6].hlim for packet in received] == [63] * 3
    again, report = translate(ce, "46", [LINK / part for part in [*parts[1:], parts[0]]])
    assert verdicts(report) == [
        ("FRAGMENT_KEPT", []),
        ("FRAGMENT_KEPT", []),
        ("TRANSLATED", [0, 1, 2]),
    ]
    assert {entry["verdict"] for entry in report} == {"translated"}
    for made in (received, again):
        whole = defragment6([IPv6(bytes(packet[IPv6])) for packet in made])
        assert bytes(whole[UDP].payload) == payload
        assert {packet[Ether].type for packet in made} == {0x86DD}


def test_what_is_too_long_leaves_in_fragments(ce: Path) -> None:
    packet = IP(src=HOST, dst=SERVER) / UDP(sport=1232, dport=5300) / bytes(2000)
    received, report = translate(ce, "46", [packet, FROM_LAN])
    assert verdicts(report) == [("TRANSLATED", [0, 1]), ("TRANSLATED", [2])]
    assert all(len(made) <= 1500 for made in received)


def test_fragments_downstream(ce: Path) -> None:
    """With a port forward, because nothing goes out before."""
    ce.write_text(ce.read_text(encoding="utf-8") + FORWARD, encoding="utf-8")
    header = IPv6(src=FROM_WAN.src, dst=MAP_ADDRESS)
    datagram = header / IPv6ExtHdrFragment(id=9) / UDP(sport=53, dport=1232) / bytes(20000)
    parts = fragment6(IPv6(bytes(datagram)), 1280)
    received, report = translate(ce, "64", parts[::-1])
    last = len(parts) - 1
    assert verdicts(report)[:-1] == [("FRAGMENT_KEPT", [])] * last
    assert verdicts(report)[-1] == ("TRANSLATED", [0, 1])
    (whole,) = defragment([IP(bytes(packet)) for packet in received])
    assert bytes(IP(bytes(whole))[UDP].payload) == bytes(20000)
    assert {(packet.dst, packet.ttl) for packet in received} == {(HOST, 63)}


def test_target_cannot_be_written(ce: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ce.with_name("in.pcap")
    wrpcap(str(source), [IP(src=HOST, dst=SERVER) / UDP(sport=1232, dport=5300)])
    arguments = ["translate", "-c", ce, "--direction", "46", source, ce / "out"]
    assert cli.main(list(map(str, arguments))) == 2
    assert "it cannot be written" in capsys.readouterr().err


def test_no_capture_file(ce: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["translate", "-c", ce, "--direction", "46", ce, ce.with_name("out")]
    assert cli.main(list(map(str, arguments))) == 2
    assert "name a pcap or pcapng file" in capsys.readouterr().err


@pytest.mark.parametrize("write", [wrpcap, wrpcapng], ids=["pcap", "pcapng"])
def test_a_file_that_is_cut_off(
    write: Callable[[str, list[Packet]], None], ce: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At each octet: a packet more or less, and the file would be whole."""
    source, target = ce.with_name("in.pcap"), ce.with_name("out.pcap")
    whole = [IP(src=HOST, dst=SERVER) / UDP(sport=1232 + number, dport=53) for number in range(2)]
    write(str(source), whole)
    data = source.read_bytes()
    arguments = ["translate", "-c", ce, "--direction", "46", source, target]
    assert cli.main([*map(str, arguments)]) == 0
    capsys.readouterr()
    for length in (len(data) - 1, len(data) - 40, len(data) - 45):
        source.write_bytes(data[:length])
        assert cli.main([*map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "it is cut off or damaged at octet" in line


def test_bpf_needs_root(
    ce: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    source = ce.with_name("in.pcap")
    wrpcap(str(source), [FROM_LAN])
    arguments = ["translate", "-c", ce, "--direction", "46", "--path", "bpf", source, source]
    assert cli.main([*map(str, arguments)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "by root only" in line
    assert "with sudo" in line
