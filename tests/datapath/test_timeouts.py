# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""When mappings expire, to the tick: every class, and every phase of a connection.

A stranger looks whether the port is alive. He changes nothing, and the filter lets anyone in.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import domain
from harness.exchange import HIGH, receive, send
from harness.loaded import LoadedCes
from harness.packets import ACK, FIN, RST, SERVER, SYN
from harness.policies import strict
from mapxdp.model.napt44 import Filtering
from mapxdp.reasons import Reason

DOMAIN = domain("map-t")
PORT, *OTHERS = DOMAIN.port_set
STRANGER, SECOND, NEWCOMER = "203.0.113.66", "203.0.113.9", "192.168.1.99"
OUT, IN = "from the LAN", "from the WAN"

#: Steps are a direction and TCP flags, and ticks to wait.
Steps = tuple[tuple[str, int] | int, ...]
OPEN: Steps = ((OUT, SYN), (IN, SYN | ACK), (OUT, ACK))
BOTH_FIN: Steps = ((OUT, FIN | ACK), (IN, FIN | ACK))

#: Protocol, port of the remote, what happens, and the timeout after it.
PHASES: dict[str, tuple[str, int, Steps, int]] = {
    "tcp opening": ("tcp", 80, ((OUT, SYN),), 240),
    "tcp, a syn again": ("tcp", 80, ((OUT, SYN), 100, (OUT, SYN)), 240),
    "tcp half open": ("tcp", 80, ((OUT, SYN), (IN, SYN | ACK)), 240),
    "tcp refused": ("tcp", 80, ((OUT, SYN), (IN, RST | ACK)), 240),
    "tcp established": ("tcp", 80, OPEN, 7440),
    "tcp with data": ("tcp", 80, (*OPEN, 100, (OUT, ACK), (IN, ACK)), 7440),
    "tcp picked up": ("tcp", 80, ((OUT, ACK),), 240),
    "tcp picked up and answered": ("tcp", 80, ((OUT, ACK), (IN, ACK)), 7440),
    "tcp one fin of the lan": ("tcp", 80, (*OPEN, (OUT, FIN | ACK)), 7440),
    "tcp one fin of the wan": ("tcp", 80, (*OPEN, (IN, FIN | ACK)), 7440),
    "tcp both fin": ("tcp", 80, (*OPEN, *BOTH_FIN), 240),
    "tcp both fin, and the last ack": ("tcp", 80, (*OPEN, *BOTH_FIN, (OUT, ACK)), 240),
    "tcp reset by the lan": ("tcp", 80, (*OPEN, (OUT, RST)), 240),
    "tcp reset by the wan": ("tcp", 80, (*OPEN, (IN, RST)), 240),
    "tcp reset late": ("tcp", 80, (*OPEN, 7000, (IN, RST)), 240),
    "tcp reset, then traffic of the lan": ("tcp", 80, (*OPEN, (IN, RST), (OUT, ACK)), 7440),
    "tcp reset, then traffic of the wan": ("tcp", 80, (*OPEN, (IN, RST), (IN, ACK)), 240),
    "tcp reset, then opened again": ("tcp", 80, (*OPEN, (IN, RST), (OUT, SYN)), 240),
    "tcp closed, then opened again": ("tcp", 80, (*OPEN, *BOTH_FIN, *OPEN), 7440),
    "udp unanswered": ("udp", HIGH, ((OUT, 0),), 120),
    "udp answered": ("udp", HIGH, ((OUT, 0), (IN, 0)), 300),
    "udp to a quic-like tcp port": ("udp", 80, ((OUT, 0), (IN, 0)), 300),
    "dns unanswered": ("udp", 53, ((OUT, 0),), 10),
    "dns answered": ("udp", 53, ((OUT, 0), (IN, 0)), 3),
    "ntp unanswered": ("udp", 123, ((OUT, 0),), 10),
    "ntp answered": ("udp", 123, ((OUT, 0), (IN, 0)), 3),
    "quic unanswered": ("udp", 443, ((OUT, 0),), 30),
    "quic answered": ("udp", 443, ((OUT, 0), (IN, 0)), 120),
    "dns over tcp": ("tcp", 53, ((OUT, SYN),), 240),
    "https": ("tcp", 443, OPEN, 7440),
    "icmp unanswered": ("echo", 0, ((OUT, 0),), 60),
    "icmp answered": ("echo", 0, ((OUT, 0), (IN, 0)), 60),
}


@pytest.fixture
def ce(loaded_ces: LoadedCes) -> Iterator[LoadedCe]:
    """A CE with a single port; recounted at the end."""
    ce = loaded_ces.get(DOMAIN, policy=strict(Filtering.EIF, reserved_ports=frozenset(OTHERS)))
    yield ce
    assert not ce.recounted()


def act(ce: LoadedCe, protocol: str, remote_port: int, steps: Steps) -> None:
    for step in steps:
        if isinstance(step, int):
            ce.advance(step)
        elif step[0] is OUT:
            sent = send(ce, protocol, remote_port=remote_port, flags=step[1])
            assert sent.reason is Reason.TRANSLATED
        else:
            got = receive(ce, PORT, protocol, SERVER, remote_port, step[1])
            assert got.reason is Reason.TRANSLATED


def is_alive(ce: LoadedCe, protocol: str) -> bool:
    reason = receive(ce, PORT, protocol, STRANGER, 9, ACK).reason
    assert reason in (Reason.TRANSLATED, Reason.MAPPING_EXPIRED)
    return reason is Reason.TRANSLATED


def expires_after(ce: LoadedCe, protocol: str, timeout: int) -> None:
    """Live at T - 1 and T; at T + 1 nobody's who is not the owner; taken over at T + 2."""
    ce.advance(timeout - 1)
    assert is_alive(ce, protocol)
    ce.advance(1)
    assert is_alive(ce, protocol)
    assert send(ce, protocol, NEWCOMER).reason is Reason.PORTS_EXHAUSTED
    ce.advance(1)
    assert not is_alive(ce, protocol)
    assert send(ce, protocol, NEWCOMER).reason is Reason.PORTS_EXHAUSTED
    ce.advance(1)
    assert not is_alive(ce, protocol)
    assert send(ce, protocol, NEWCOMER).reason is Reason.TRANSLATED
    assert is_alive(ce, protocol)


@pytest.mark.parametrize("phase", PHASES)
def test_phase(phase: str, ce: LoadedCe) -> None:
    protocol, remote_port, steps, timeout = PHASES[phase]
    act(ce, protocol, remote_port, steps)
    expires_after(ce, protocol, timeout)


@pytest.mark.parametrize(
    ("protocol", "remote_port", "timeout"),
    [("tcp", 80, 7440), ("udp", HIGH, 300), ("udp", 53, 300), ("udp", 443, 300), ("echo", 0, 60)],
)
def test_several_remotes(protocol: str, remote_port: int, timeout: int, ce: LoadedCe) -> None:
    """Nobody knows which of the connections are closed: the longest timeout there is."""
    act(ce, protocol, remote_port, ((OUT, SYN),))
    send(ce, protocol, remote=SECOND, remote_port=remote_port)
    send(ce, protocol, remote_port=remote_port, flags=RST)
    expires_after(ce, protocol, timeout)


def test_the_class_is_that_of_the_first_remote(ce: LoadedCe) -> None:
    act(ce, "udp", HIGH, ((OUT, 0), (IN, 0)))
    act(ce, "udp", 53, ((OUT, 0),))
    expires_after(ce, "udp", 300)


@pytest.mark.parametrize("flags", [RST, RST | ACK, ACK, SYN, FIN | ACK])
@pytest.mark.parametrize("remote", [SERVER, STRANGER], ids=["the remote", "a stranger"])
def test_a_remote_cannot_hold_a_port(remote: str, flags: int, ce: LoadedCe) -> None:
    """After a reset from either side, whatever it sends, and how often."""
    act(ce, "tcp", 80, (*OPEN, (IN, FIN | ACK), (IN, RST)))
    for _ in range(24):
        ce.advance(10)
        assert receive(ce, PORT, "tcp", remote, 80, flags).reason is Reason.TRANSLATED
    ce.advance(1)
    assert not is_alive(ce, "tcp")


@pytest.mark.parametrize(("protocol", "timeout"), [("udp", 300), ("echo", 60), ("tcp", 7440)])
def test_answers_alone_keep_nothing_alive(protocol: str, timeout: int, ce: LoadedCe) -> None:
    act(ce, protocol, HIGH, ((OUT, SYN), (IN, SYN | ACK), (OUT, ACK)))
    for _ in range(10):
        ce.advance(timeout // 10)
        assert receive(ce, PORT, protocol, SERVER, HIGH, ACK).reason is Reason.TRANSLATED
    ce.advance(1)
    assert not is_alive(ce, protocol)


def test_a_stranger_changes_no_phase(ce: LoadedCe) -> None:
    """He neither answers for the remote nor closes for it."""
    act(ce, "tcp", 80, OPEN)
    for flags in (RST, FIN | ACK, SYN | ACK):
        receive(ce, PORT, "tcp", STRANGER, 80, flags)
        receive(ce, PORT, "tcp", SERVER, 81, flags)
    expires_after(ce, "tcp", 7440)


def test_the_owner_revives_what_nobody_took_over(ce: LoadedCe) -> None:
    act(ce, "udp", HIGH, ((OUT, 0), (IN, 0), 100_000, (OUT, 0)))
    assert ce.events()[Reason.MAPPING_REVIVED] == 1
    expires_after(ce, "udp", 120)


@pytest.mark.parametrize(("protocol", "flags"), [("tcp", packets.RST), ("echo reply", 0)])
def test_what_begins_nothing_revives_nothing(protocol: str, flags: int, ce: LoadedCe) -> None:
    kind = protocol.split()[0]
    act(ce, kind, HIGH, ((OUT, SYN), 100_000))
    assert send(ce, protocol, remote_port=HIGH, flags=flags).reason is Reason.NO_MAPPING
    assert not is_alive(ce, kind)


@pytest.mark.parametrize("back", [1, 100, 1_000_000])
def test_a_clock_that_goes_back_ends_nothing(back: int, ce: LoadedCe) -> None:
    """Two CPUs need not agree on the tick, and a kernel's count wraps around."""
    ce.reset(policy=strict())
    assert send(ce, "udp", "192.168.1.2", 40000).reason is Reason.TRANSLATED
    ce.set_clock(ce.now - back)
    assert send(ce, "udp", "192.168.1.2", 40000).reason is Reason.TRANSLATED
    assert Reason.MAPPING_REVIVED not in ce.events()
    ce.advance(back + 122)
    assert send(ce, "udp", "192.168.1.3", 40000).reason is Reason.TRANSLATED
    assert not ce.recounted()
