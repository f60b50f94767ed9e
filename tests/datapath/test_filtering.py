# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who may send to a port that an endpoint owns (RFC 4787 section 5, RFC 7599 section 13)."""

from __future__ import annotations

import pytest

from harness import packets
from harness.ce import LoadedCe
from harness.domains import RULES, domain
from harness.exchange import HIGH, port_given, receive, send
from harness.loaded import LoadedCes
from harness.policies import policy, shared, strict
from mapxdp.model.napt44 import Filtering
from mapxdp.model.timeouts import Timeouts
from mapxdp.reasons import Reason

FIRST, OTHER = "198.51.100.7", "203.0.113.9"
EIF, ADF, APDF = Filtering.EIF, Filtering.ADF, Filtering.APDF
IN, OUT = Reason.TRANSLATED, Reason.FILTERED
TCP_OPENING, UDP_UNANSWERED, UDP_ANSWERED = 240, 120, 300

#: From which remote, and what becomes of it under each mode.
STRANGERS = {
    "the first remote": (FIRST, HIGH, (IN, IN, IN)),
    "its other port": (FIRST, HIGH + 1, (IN, IN, OUT)),
    "another address": (OTHER, HIGH, (IN, OUT, OUT)),
}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("mode", [EIF, ADF, APDF])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_new_mapping(stranger: str, mode: Filtering, protocol: str, ce: LoadedCe) -> None:
    ce.reset(policy=policy(filtering=mode))
    port = port_given(send(ce, protocol, remote=FIRST))
    remote, remote_port, expected = STRANGERS[stranger]
    outcome = receive(ce, port, protocol, remote, remote_port)
    assert outcome.reason is expected[[EIF, ADF, APDF].index(mode)]
    assert not ce.recounted()


@pytest.mark.parametrize("mode", [EIF, ADF, APDF])
def test_echo_has_no_ports(mode: Filtering, ce: LoadedCe) -> None:
    ce.reset(policy=policy(filtering=mode))
    port = port_given(send(ce, "echo", remote=FIRST))
    assert receive(ce, port, "echo", FIRST).reason is IN
    assert receive(ce, port, "echo", OTHER).reason is (IN if mode is EIF else OUT)
    send(ce, "echo", remote=OTHER)
    assert receive(ce, port, "echo", OTHER).reason is IN
    assert not ce.recounted()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("mode", [ADF, APDF])
def test_sending_to_a_remote_permits_it(mode: Filtering, protocol: str, ce: LoadedCe) -> None:
    ce.reset(policy=policy(filtering=mode))
    port = port_given(send(ce, protocol, remote=FIRST))
    assert port_given(send(ce, protocol, remote=OTHER)) == port
    assert receive(ce, port, protocol, OTHER).reason is IN
    assert receive(ce, port, protocol, OTHER, 1).reason is (IN if mode is ADF else OUT)
    assert receive(ce, port, protocol, FIRST).reason is IN, "the first may always"
    assert receive(ce, port, protocol, "203.0.113.10").reason is OUT
    assert not ce.recounted()


@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
@pytest.mark.parametrize("mode", [ADF, APDF])
def test_a_permission_lasts_as_long_as_the_mapping_would(
    mode: Filtering, protocol: str, ce: LoadedCe
) -> None:
    timeout = {"tcp": 7440, "udp": UDP_ANSWERED, "echo": 60}[protocol]
    ce.reset(policy=policy(filtering=mode))
    port = port_given(send(ce, protocol, remote=FIRST))
    send(ce, protocol, remote=OTHER)
    ce.advance(timeout - 10)
    send(ce, protocol, remote=FIRST)  # keeps the mapping, not the permission
    ce.advance(10)
    assert receive(ce, port, protocol, OTHER).reason is IN
    ce.advance(1)
    assert receive(ce, port, protocol, OTHER).reason is OUT
    assert receive(ce, port, protocol, FIRST).reason is IN
    assert not ce.recounted()


def test_each_packet_to_a_remote_renews_its_permission(ce: LoadedCe) -> None:
    port = port_given(send(ce, remote=FIRST))
    for _ in range(3):
        send(ce, remote=OTHER)
        ce.advance(UDP_ANSWERED)
        assert receive(ce, port, remote=OTHER).reason is IN
    assert not ce.recounted()


def test_a_remote_does_not_renew_its_own_permission(ce: LoadedCe) -> None:
    port = port_given(send(ce, remote=FIRST))
    send(ce, remote=OTHER)
    for _ in range(3):
        ce.advance(UDP_ANSWERED // 3)
        assert receive(ce, port, remote=OTHER).reason is IN
        send(ce, remote=FIRST)
    ce.advance(1)
    assert receive(ce, port, remote=OTHER).reason is OUT
    assert not ce.recounted()


@pytest.mark.parametrize("mode", [ADF, APDF])
def test_who_takes_a_port_over_takes_no_permissions(mode: Filtering, loaded_ces: LoadedCes) -> None:
    one_port = domain("map-t", RULES[252])
    (port, *reserved) = one_port.port_set
    ce = loaded_ces.get(one_port, policy=strict(mode, reserved_ports=frozenset(reserved)))
    assert port_given(send(ce, remote=FIRST)) == port
    send(ce, remote=OTHER)
    ce.advance(UDP_ANSWERED + 2)
    assert port_given(send(ce, host="192.168.1.3", remote="203.0.113.10")) == port
    for remote in (FIRST, OTHER):
        assert receive(ce, port, remote=remote).reason is OUT
    assert receive(ce, port, remote="203.0.113.10").reason is IN
    assert not ce.recounted()


@pytest.mark.parametrize("mode", [ADF, APDF])
def test_a_revived_mapping_has_forgotten_its_permissions(mode: Filtering, ce: LoadedCe) -> None:
    ce.reset(policy=policy(filtering=mode))
    port = port_given(send(ce, remote=FIRST))
    send(ce, remote=OTHER)
    ce.advance(UDP_ANSWERED + 1)
    assert port_given(send(ce, remote="203.0.113.10")) == port
    assert ce.events()[Reason.MAPPING_REVIVED] == 1
    for remote in (FIRST, OTHER):
        assert receive(ce, port, remote=remote).reason is OUT
    assert not ce.recounted()


def test_a_new_connection_of_a_closed_port_has_a_new_first_remote(ce: LoadedCe) -> None:
    port = port_given(send(ce, "tcp", remote=FIRST))
    send(ce, "tcp", remote=FIRST, flags=packets.RST)
    send(ce, "tcp", remote=OTHER, flags=packets.SYN)
    assert receive(ce, port, "tcp", OTHER).reason is IN
    assert receive(ce, port, "tcp", FIRST).reason is OUT
    assert not ce.recounted()


@pytest.mark.parametrize("mode", [EIF, ADF, APDF])
def test_flows_let_in_their_remote_alone(mode: Filtering, ce: LoadedCe) -> None:
    """Whatever the mode: it says who may send to a port that somebody owns."""
    ce.reset(policy=shared(mode))
    port = port_given(send(ce, remote=FIRST))
    assert receive(ce, port, remote=FIRST).reason is IN
    assert receive(ce, port, remote=FIRST, remote_port=HIGH + 1).reason is OUT
    assert receive(ce, port, remote=OTHER).reason is OUT
    assert not ce.recounted()


def test_what_is_filtered_changes_nothing(ce: LoadedCe) -> None:
    """A stranger's reset does not close the connection, nor does it hold the port."""
    ce.reset(policy=policy(timeouts=Timeouts(tcp_closing=1)))
    port = port_given(send(ce, "tcp", remote=FIRST))
    before = ce.slots()
    ce.advance(100)
    assert receive(ce, port, "tcp", OTHER, flags=packets.RST).reason is OUT
    assert ce.slots() == before
    ce.advance(TCP_OPENING - 100)
    assert receive(ce, port, "tcp", FIRST).reason is IN
    assert not ce.recounted()
