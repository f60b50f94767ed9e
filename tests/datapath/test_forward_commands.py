# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Port forwards, and what else the control program does: commands in place of packets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import domain
from harness.exchange import endpoint_reached, port_given, receive, send
from harness.packets import HOST, SERVER
from harness.policies import policy, shared
from mapxdp.datapath import libbpf
from mapxdp.model.napt44 import Filtering
from mapxdp.reasons import Reason

INDEX = {"tcp": 0, "udp": 1, "echo": 2}
PORTS = list(domain("map-t").port_set)
SERVICE = 8080


@pytest.fixture
def ce(ce: LoadedCe) -> Iterator[LoadedCe]:
    """The strictest filter, which forwards do not mind; recounted at the end."""
    ce.reset(policy=policy(filtering=Filtering.APDF))
    yield ce
    assert not ce.recounted()


def result(ce: LoadedCe, name: str) -> int:
    return ce.maps.contract.number(f"COMMAND_{name}")


def slot(ce: LoadedCe, port: int, protocol: str = "tcp") -> int:
    return ce.slot_index({"echo": "ICMP"}.get(protocol, protocol.upper()), port)


def owner(ce: LoadedCe, port: int, protocol: str = "tcp") -> int:
    return ce.slots()[divmod(slot(ce, port, protocol), ce.maps.contract.number("SLOTS"))]["owner"]


def forward(
    ce: LoadedCe, port: int, protocol: str = "tcp", host: str = HOST, to: int = SERVICE
) -> int:
    endpoint = {"ipv4": packets.v4(host), "port": to, "protocol": INDEX[protocol], "zero": 0}
    return ce.command("COMMAND_FORWARD", slot(ce, port, protocol), endpoint=endpoint)


def release(ce: LoadedCe, port: int, protocol: str = "tcp", seen: int | None = None) -> int:
    word = owner(ce, port, protocol) if seen is None else seen
    return ce.command("COMMAND_RELEASE_SLOT", slot(ce, port, protocol), word)


@pytest.mark.parametrize("protocol", INDEX)
def test_anyone_gets_in_and_the_answer_comes_from_there(protocol: str, ce: LoadedCe) -> None:
    assert forward(ce, PORTS[7], protocol) == result(ce, "DONE")
    for remote in ("198.51.100.7", "203.0.113.9"):
        arrived = receive(ce, PORTS[7], protocol, remote, flags=packets.SYN)
        assert endpoint_reached(arrived) == (HOST, SERVICE)
        assert port_given(send(ce, protocol, HOST, SERVICE, remote)) == PORTS[7]
    assert ce.events() == {}


@pytest.mark.parametrize("remote_port", [80, 5000])
def test_outbound_uses_the_port_of_the_forward(remote_port: int, ce: LoadedCe) -> None:
    forward(ce, PORTS[7], "udp")
    assert port_given(send(ce, "udp", HOST, SERVICE, remote_port=remote_port)) == PORTS[7]
    assert port_given(send(ce, "udp", HOST, SERVICE + 1, remote_port=remote_port)) != PORTS[7]


def test_a_forward_never_expires(ce: LoadedCe) -> None:
    forward(ce, PORTS[7])
    send(ce, "tcp", HOST, SERVICE, flags=packets.RST)
    ce.advance(1_000_000)
    assert receive(ce, PORTS[7], "tcp").reason is Reason.TRANSLATED
    assert port_given(send(ce, "tcp", HOST, SERVICE)) == PORTS[7]


def test_nobody_gets_the_port_of_a_forward(ce: LoadedCe) -> None:
    for port in PORTS[1:]:
        assert forward(ce, port, "udp", to=port) == result(ce, "DONE")
    assert port_given(send(ce, port=1)) == PORTS[0]
    assert send(ce, host="192.168.1.3", port=1).reason is Reason.PORTS_EXHAUSTED
    ce.advance(122)
    assert port_given(send(ce, host="192.168.1.3", port=1)) == PORTS[0]


def test_forwards_count_for_no_host(ce: LoadedCe) -> None:
    ce.reset(policy=policy(host_ports_max=1))
    for port in PORTS[:20]:
        forward(ce, port, "udp", to=port)
    assert send(ce, port=1).reason is Reason.TRANSLATED


def test_several_forwards_of_one_endpoint(ce: LoadedCe) -> None:
    """Each leads to it; what it sends has the port of the first, until that one is released."""
    for port in PORTS[3:6]:
        assert forward(ce, port) == result(ce, "DONE")
    for port in PORTS[3:6]:
        assert endpoint_reached(receive(ce, port, "tcp")) == (HOST, SERVICE)
    assert port_given(send(ce, "tcp", HOST, SERVICE)) == PORTS[3]
    assert release(ce, PORTS[4]) == result(ce, "DONE")
    assert port_given(send(ce, "tcp", HOST, SERVICE)) == PORTS[3]
    assert receive(ce, PORTS[4], "tcp").reason is Reason.NO_MAPPING


def test_release_frees_the_port(ce: LoadedCe) -> None:
    forward(ce, PORTS[7])
    assert release(ce, PORTS[7]) == result(ce, "DONE")
    assert ce.slots() == {}
    assert receive(ce, PORTS[7], "tcp").reason is Reason.NO_MAPPING
    assert forward(ce, PORTS[7], to=81) == result(ce, "DONE")


def test_release_ends_a_mapping_as_well(ce: LoadedCe) -> None:
    port = port_given(send(ce, "udp", port=PORTS[9]))
    assert release(ce, port, "udp") == result(ce, "DONE")
    assert ce.slots() == {}
    assert receive(ce, port).reason is Reason.NO_MAPPING
    assert port_given(send(ce, "udp", port=PORTS[9])) == port


def test_release_ends_a_flow(ce: LoadedCe) -> None:
    ce.reset(policy=shared())
    port = port_given(send(ce))
    send(ce, remote="203.0.113.9")
    server = int.from_bytes(packets.v4(SERVER), sys.byteorder)
    (first,) = (at for at, flow in ce.flows().items() if flow["peer"] & 0xFFFFFFFF == server)
    (other,) = ce.flows().keys() - {first}
    flow = ce.flows()[first]
    assert ce.command("COMMAND_RELEASE_FLOW", first, flow["owner"]) == result(ce, "DONE")
    assert list(ce.flows()) == [other]
    assert ce.pool()["shared_count"] == (0, 1, 0)
    assert receive(ce, port, remote="203.0.113.9").reason is Reason.TRANSLATED
    assert ce.command("COMMAND_RELEASE_FLOW", first, flow["owner"]) == result(ce, "CHANGED")
    ce.command("COMMAND_RELEASE_FLOW", other, ce.flows()[other]["owner"])
    assert (ce.slots(), ce.flows()) == ({}, {})


def test_a_port_in_use_is_not_taken(ce: LoadedCe) -> None:
    port = port_given(send(ce, "tcp"))
    before = ce.slots()
    assert forward(ce, port) == result(ce, "CHANGED")
    shared_port = port_given(send(ce, "tcp", port=1, remote_port=80))
    assert forward(ce, shared_port) == result(ce, "CHANGED")
    forward(ce, PORTS[-1])
    assert forward(ce, PORTS[-1], to=81) == result(ce, "CHANGED")
    assert before.items() <= ce.slots().items()


def test_a_reserved_port_is_no_forward(ce: LoadedCe) -> None:
    ce.reset(policy=policy(reserved_ports=frozenset({PORTS[7]})))
    assert forward(ce, PORTS[7]) == result(ce, "CHANGED")
    assert len(ce.slots()) == 3


def reserve(ce: LoadedCe, port: int) -> int:
    return ce.command("COMMAND_RESERVE", slot(ce, port))


def test_a_port_is_reserved_and_given_back(ce: LoadedCe) -> None:
    assert reserve(ce, PORTS[7]) == result(ce, "DONE")
    assert reserve(ce, PORTS[7]) == result(ce, "CHANGED")
    assert receive(ce, PORTS[7], "tcp").reason is Reason.NO_MAPPING
    assert port_given(send(ce, "tcp", port=PORTS[7])) != PORTS[7]
    assert port_given(send(ce, "udp", port=PORTS[7])) == PORTS[7], "of TCP alone"
    assert not ce.recounted()
    assert release(ce, PORTS[7]) == result(ce, "DONE")
    assert port_given(send(ce, "tcp", host="192.168.1.3", port=PORTS[7])) == PORTS[7]


def test_what_is_in_use_is_not_reserved(ce: LoadedCe) -> None:
    send(ce, "tcp", port=PORTS[7])
    shared_port = port_given(send(ce, "tcp", port=1, remote_port=80))
    forward(ce, PORTS[-1])
    for port in (PORTS[7], shared_port, PORTS[-1]):
        assert reserve(ce, port) == result(ce, "CHANGED")


def test_whoever_looked_too_long_changes_nothing(ce: LoadedCe) -> None:
    """The owner word is the one that was seen: the port is somebody else's by now."""
    forward(ce, PORTS[7], to=80)
    seen = owner(ce, PORTS[7])
    release(ce, PORTS[7])
    assert release(ce, PORTS[7], seen=seen) == result(ce, "CHANGED")
    forward(ce, PORTS[7], to=81)
    assert release(ce, PORTS[7], seen=seen) == result(ce, "CHANGED")
    assert endpoint_reached(receive(ce, PORTS[7], "tcp")) == (HOST, 81)


def test_the_index_of_endpoints_is_full() -> None:
    with LoadedCe(domain("map-t"), EIM_ENTRIES=1) as ce:
        assert forward(ce, PORTS[0]) == result(ce, "DONE")
        assert forward(ce, PORTS[1], to=81) == result(ce, "INDEX_FULL")
        assert forward(ce, PORTS[1]) == result(ce, "DONE"), "it has an entry"
        assert not ce.recounted()


def test_malformed_commands(ce: LoadedCe) -> None:
    slots, flows = ce.maps.contract.number("SLOTS"), ce.maps.contract.number("FLOWS")
    free, shared_word = 0, ce.maps.contract.number("SLOT_SHARED") << 48
    tcp = {"ipv4": packets.v4(HOST), "port": 80, "protocol": 0, "zero": 0}
    malformed = result(ce, "MALFORMED")
    for beyond in (3 * slots, 2**32 - 1):
        assert ce.command("COMMAND_FORWARD", beyond, endpoint=tcp) == malformed
        assert ce.command("COMMAND_RESERVE", beyond) == malformed
        assert ce.command("COMMAND_RELEASE_SLOT", beyond, 1 << 48) == malformed
    assert ce.command("COMMAND_FORWARD", slots, endpoint=tcp) == malformed, "a slot of UDP"
    for word in (free, shared_word):
        assert ce.command("COMMAND_RELEASE_SLOT", 0, word) == malformed
        assert ce.command("COMMAND_RELEASE_FLOW", 0, word) == malformed
    assert ce.command("COMMAND_RELEASE_FLOW", flows, 7 << 48) == malformed
    assert ce.slots() == {}


@pytest.mark.parametrize("kind", [5, 2**32 - 1])
def test_an_unknown_command(kind: int, ce: LoadedCe) -> None:
    frame = bytes(14) + kind.to_bytes(4, sys.byteorder) + bytes(42)
    assert libbpf.run_program(ce.programs.control.fd, frame).verdict == result(ce, "MALFORMED")


@pytest.mark.parametrize("length", [0, 1, 23])
def test_a_command_cut_short(length: int, ce: LoadedCe) -> None:
    """The kernel runs programs on no less than an Ethernet header."""
    command = ce.maps.contract["command"]
    assert length < command.size
    frame = bytes(14 + length)
    assert libbpf.run_program(ce.programs.control.fd, frame).verdict == result(ce, "MALFORMED")


@pytest.mark.parametrize("past", [252, 255])
def test_slots_past_the_port_set(past: int, ce: LoadedCe) -> None:
    """252 ports in 256 slots: the last four are nobody's."""
    tcp = {"ipv4": packets.v4(HOST), "port": 80, "protocol": 0, "zero": 0}
    assert ce.command("COMMAND_FORWARD", past, endpoint=tcp) == result(ce, "MALFORMED")
    assert ce.command("COMMAND_RESERVE", past) == result(ce, "MALFORMED")
