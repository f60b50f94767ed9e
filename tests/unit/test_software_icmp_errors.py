# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is a host told by ICMP that its packet got no port (RFC 5508 REQ-8)?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet
from scapy_tools import EACH_ITS_OWN, HOST, OWN_IPV4, Clock, assert_sound, from_host, new_ce, sole

from mapxdp.model.domain import Mode
from mapxdp.model.napt44 import Refusal
from mapxdp.reasons import Reason
from mapxdp.software.budget import REFUSALS_PER_TICK
from mapxdp.software.ce import CustomerEdge
from mapxdp.software.verdict import Outcome


def refusing(clock: Clock | None = None, refusal: Refusal = Refusal.PROHIBITED) -> CustomerEdge:
    return new_ce(
        Mode.MAP_T, clock=clock, policy=replace(EACH_ITS_OWN, host_ports_max=1, refusal=refusal)
    )


@pytest.mark.parametrize("code", [Refusal.PROHIBITED, Refusal.HOST_UNREACHABLE])
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_a_refused_host_is_told(kind: str, code: Refusal) -> None:
    ce = refusing(refusal=code)

    def transport(port: int) -> Packet:
        if kind == "icmp":
            return ICMP(id=port) / b"payload"
        return (TCP if kind == "tcp" else UDP)(sport=port, dport=4430) / b"payload"

    sole(ce.from_lan(bytes(from_host(transport(40000)))))
    refused = bytes(from_host(transport(40001), ttl=9, tos=4))
    outcome = ce.from_lan(refused + b"padding")
    assert (outcome.reason, outcome.packets) == (Reason.HOST_LIMIT, ())
    (answer,) = outcome.answers
    expected = IP(src=OWN_IPV4, dst=HOST, id=0, flags="DF", ttl=64) / ICMP(type=3, code=code)
    quoted = refused[: 40 if kind == "tcp" else 28]
    assert answer.hex() == bytes(expected / quoted).hex()
    assert_sound(answer)
    assert ce.events("upstream")[Reason.REFUSAL_SENT] == 1
    assert Reason.REFUSAL_SENT not in ce.events("downstream")


def test_a_few_are_told_in_each_tick() -> None:
    clock = Clock()
    ce = refusing(clock)
    sole(ce.from_lan(bytes(from_host(UDP(sport=1, dport=53)))))
    packet = bytes(from_host(UDP(sport=2, dport=53)))

    def told() -> int:
        return sum(len(ce.from_lan(packet).answers) for _ in range(2 * REFUSALS_PER_TICK))

    assert told() == REFUSALS_PER_TICK == 10
    assert told() == 0
    clock.now += 1
    assert told() == 10
    assert ce.events("upstream")[Reason.REFUSAL_SENT] == 20


def test_nobody_is_told_where_that_is_off() -> None:
    ce = refusing(refusal=Refusal.OFF)
    sole(ce.from_lan(bytes(from_host(UDP(sport=1, dport=53)))))
    assert ce.from_lan(bytes(from_host(UDP(sport=2, dport=53)))).answers == ()
    assert Reason.REFUSAL_SENT not in ce.events("upstream")


@pytest.mark.parametrize(
    "source", ["224.0.0.5", "255.255.255.255", "0.0.0.0", "127.0.0.1", "169.254.0.1"]
)
def test_what_is_no_host_is_told_nothing(source: str) -> None:
    """RFC 1122 section 3.2.2. No port is looked for, so none is refused."""
    ce = refusing()
    for port in (1, 2):
        outcome = ce.from_lan(bytes(from_host(UDP(sport=port, dport=53), src=source)))
        assert outcome == Outcome(Reason.SOURCE_MARTIAN)
    assert Reason.REFUSAL_SENT not in ce.events("upstream")


def test_other_drops_are_silent() -> None:
    ce = refusing()
    assert ce.from_lan(bytes(from_host(TCP(sport=1, dport=80, flags="R")))).answers == ()
    assert ce.from_lan(b"").answers == ()
