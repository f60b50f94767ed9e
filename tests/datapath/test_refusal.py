# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a host is told that got no port: ICMP destination unreachable (RFC 5508 REQ-8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP

from harness import packets
from harness.ce import LoadedCe
from harness.domains import domain
from harness.exchange import lan_packet, send
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import HOST
from harness.policies import strict
from mapxdp.datapath import libbpf
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model.napt44 import Refusal
from mapxdp.reasons import Reason

PER_TICK = 10
PUBLIC = str(domain("map-t").ipv4_address)
#: Octets of each protocol that are quoted, after 20 of IPv4.
QUOTED = {"tcp": 20, "udp": 8, "echo": 8}


@pytest.fixture
def ce(ce: LoadedCe) -> Iterator[LoadedCe]:
    """A host gets one port, and its second endpoint is refused; recounted at the end."""
    ce.reset(policy=strict(host_ports_max=1))
    yield ce
    assert not ce.recounted()


def refused(ce: LoadedCe, protocol: str, payload: bytes = b"x") -> tuple[bytes, bytes]:
    """A packet that gets no port, and what its host is told."""
    send(ce, protocol, port=1)
    packet = lan_packet(protocol, port=2, payload=payload)
    outcome = ce.from_lan(packet)
    assert outcome.reason is Reason.HOST_LIMIT
    (answer,) = outcome.answers
    return packet, answer


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 5], ids=len)
@pytest.mark.parametrize("protocol", QUOTED)
def test_the_error_byte_by_byte(protocol: str, payload: bytes, ce: LoadedCe) -> None:
    packet, answer = refused(ce, protocol, payload)
    read = IP(answer)
    assert (read.src, read.dst) == (PUBLIC, HOST)
    assert (read.version, read.ihl, read.ttl, int(read.flags), read.frag) == (4, 5, 64, 2, 0)
    assert (read[ICMP].type, read[ICMP].code) == (3, 13)
    quoted = packet[: 20 + QUOTED[protocol]]
    assert answer[28:] == quoted
    assert read.len == len(answer) == 28 + len(quoted)
    assert answer[24:28] == bytes(4)


@pytest.mark.parametrize("protocol", QUOTED)
def test_its_checksums_are_those_that_scapy_makes(protocol: str, ce: LoadedCe) -> None:
    _, answer = refused(ce, protocol)
    again = IP(answer)
    del again.chksum, again[ICMP].chksum
    assert bytes(again) == answer
    assert packets.checksums_are_right(answer)


def test_the_code_can_be_chosen(ce: LoadedCe) -> None:
    ce.reset(policy=strict(host_ports_max=1, refusal=Refusal.HOST_UNREACHABLE))
    _, answer = refused(ce, "udp")
    assert tuple(answer[20:22]) == (3, 1)
    assert packets.checksums_are_right(answer)


def test_off(ce: LoadedCe) -> None:
    ce.reset(policy=strict(host_ports_max=1, refusal=Refusal.OFF))
    send(ce, port=1)
    outcome = send(ce, port=2)
    assert (outcome.reason, outcome.answers) == (Reason.HOST_LIMIT, ())
    assert Reason.REFUSAL_SENT not in ce.events()


def test_so_many_in_a_tick_and_no_more(ce: LoadedCe) -> None:
    """All hosts together; the packets are refused all the same."""
    send(ce, port=1)
    send(ce, host="192.168.1.3", port=1)
    for ticks in range(3):
        told = [
            len(send(ce, host=f"192.168.1.{2 + number % 2}", port=2).answers)
            for number in range(PER_TICK + 5)
        ]
        assert told == [1] * PER_TICK + [0] * 5
        assert ce.events()[Reason.REFUSAL_SENT] == PER_TICK * (ticks + 1)
        ce.advance(1)


def test_a_packet_of_many_segments_is_told_of_once(ce: LoadedCe) -> None:
    send(ce, "tcp", port=1)
    packet = lan_packet("tcp", port=2, flags=packets.ACK, payload=bytes(3000))
    outcome = ce.from_lan(packet, gso_size=1000, gso_segs=3)
    assert outcome.reason is Reason.HOST_LIMIT
    (answer,) = outcome.answers
    assert answer[28:] == packet[:40]
    assert packets.checksums_are_right(answer)


def test_only_what_got_no_port_is_answered(ce: LoadedCe) -> None:
    """A flood of anything else is dropped, not reflected."""
    reset = send(ce, "tcp", flags=packets.RST)
    assert (reset.reason, reset.answers) == (Reason.NO_MAPPING, ())
    reply = ce.from_lan(lan_packet("echo reply"))
    assert (reply.reason, reply.answers) == (Reason.NO_MAPPING, ())


def too_big(ce: LoadedCe, protocol: str = "udp", **header: Any) -> bytes:
    """One octet more than what crosses the WAN whole."""
    plain = lan_packet(protocol)
    missing = ce.settings.ipv4_mtu + 1 - len(plain)
    packet = lan_packet(protocol, payload=bytes(1 + missing))
    return packets.ipv4(packet[20:], packet[9], **header)


@pytest.mark.parametrize("protocol", QUOTED)
def test_the_path_mtu_is_told(protocol: str, ce: LoadedCe) -> None:
    """RFC 1191: what is too big and must not be cut."""
    ce.reset()
    follower = Follower(ce)
    packet = too_big(ce, protocol)
    outcome = follower.from_lan(packet)
    assert outcome.reason is Reason.TOO_BIG
    (answer,) = outcome.answers
    assert tuple(answer[20:22]) == (3, 4)
    assert int.from_bytes(answer[24:28], "big") == ce.settings.ipv4_mtu
    assert answer[28:] == packet[: 20 + QUOTED[protocol]]
    assert packets.checksums_are_right(answer)
    assert not ce.slots()
    follower.assert_that_events_agree()


def test_the_path_mtu_is_told_whatever_is_said_of_ports(ce: LoadedCe) -> None:
    ce.reset(policy=strict(refusal=Refusal.OFF))
    (answer,) = Follower(ce).from_lan(too_big(ce)).answers
    assert tuple(answer[20:22]) == (3, 4)


def test_one_budget_for_all_errors(ce: LoadedCe) -> None:
    ce.reset()
    follower = Follower(ce)
    told = [len(follower.from_lan(too_big(ce)).answers) for _ in range(PER_TICK + 5)]
    assert told == [1] * PER_TICK + [0] * 5
    follower.assert_that_events_agree()


def test_hosts_are_not_charged_for_what_is_too_big(ce: LoadedCe) -> None:
    ce.reset()
    ce.from_lan(too_big(ce))
    layout, spec = ce.maps.contract["host"], ce.maps.spec("hosts")
    hosts = [layout.unpack(value) for value in libbpf.lookup_all(ce.maps.fds["hosts"], spec)]
    assert not any(host["refused"] for host in hosts)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_without_napt44_nobody_is_told_by_himself(mode: str, loaded_ces: LoadedCes) -> None:
    """The CE's address is the router's own or the host's, whose kernel would take no error from
    it."""
    ce = loaded_ces.example(mode, napt44=Napt44Kind.NONE)
    (answer,) = Follower(ce).from_lan(too_big(ce, source=PUBLIC)).answers
    assert (IP(answer).src, IP(answer).dst) == ("192.0.0.8", PUBLIC)
    assert packets.checksums_are_right(answer)
    chosen = replace(ce.settings.translation, icmp_error_source=IPv4Address("198.51.100.1"))
    ce = loaded_ces.example(mode, napt44=Napt44Kind.NONE, translation=chosen)
    (answer,) = Follower(ce).from_lan(too_big(ce, source=PUBLIC)).answers
    assert IP(answer).src == "198.51.100.1"
