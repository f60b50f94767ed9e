# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44 hands out every port of the set, and drops only when there is none (RFC 7597 section 4).

RFC 7599 section 8.1 and 9: what leaves has the CE's address and a port or identifier of its set.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness import packets
from harness.ce import LoadedCe, LoadedCes, inconsistencies
from harness.domains import RULES, domain
from harness.packets import HOST, SERVER
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Outcome

Send = Callable[[LoadedCe, str, int], Outcome]


def _udp(ce: LoadedCe, host: str, port: int) -> Outcome:
    data = packets.udp(host, SERVER, port, 53, b"x")
    return ce.from_lan(packets.ipv4(data, packets.UDP, host))


def _tcp(ce: LoadedCe, host: str, port: int) -> Outcome:
    data = packets.tcp(host, SERVER, port, 80, flags=packets.SYN)
    return ce.from_lan(packets.ipv4(data, packets.TCP, host))


def _echo(ce: LoadedCe, host: str, port: int) -> Outcome:
    return ce.from_lan(packets.ipv4(packets.echo(port), packets.ICMP, host))


PROTOCOLS: dict[str, Send] = {"tcp": _tcp, "udp": _udp, "echo": _echo}


def source_port(outcome: Outcome) -> int:
    """The port or identifier with which a packet left."""
    (packet,) = outcome.packets
    is_tunnel = packet[6] == packets.IPV4
    at = 60 if is_tunnel else 40
    protocol = packet[49] if is_tunnel else packet[6]
    if protocol in (packets.ICMP, packets.ICMPV6):
        at += 4
    return int.from_bytes(packet[at : at + 2], "big")


def endpoint(number: int) -> tuple[str, int]:
    """LAN endpoints that are all different, none with a port of any set tested here."""
    return f"10.0.{number >> 8}.{number & 0xFF}", 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", RULES)
def test_every_port_is_handed_out_once(count: int, protocol: str, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.get(domain("map-t", RULES[count]))
    send = PROTOCOLS[protocol]
    usable = {port for port in ce.domain.port_set if port not in ce.domain.reserved_ports}
    assert len(ce.domain.port_set) == count

    handed_out = [source_port(send(ce, *endpoint(number))) for number in range(len(usable))]

    assert sorted(handed_out) == sorted(usable)
    assert send(ce, *endpoint(len(usable))).reason is Reason.PORTS_EXHAUSTED
    again = [source_port(send(ce, *endpoint(number))) for number in range(len(usable))]
    assert again == handed_out, "an endpoint got another port"


@pytest.mark.parametrize("count", RULES)
def test_protocols_have_the_set_each_for_itself(count: int, loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.get(domain("map-t", RULES[count]))
    for number in range(count):
        _udp(ce, *endpoint(number))
    assert _tcp(ce, *endpoint(0)).reason is Reason.TRANSLATED
    assert _echo(ce, *endpoint(0)).reason is Reason.TRANSLATED


@pytest.mark.parametrize("position", [0, 1, 63, 64, 511, 512, 1000, 2046])
def test_the_one_expired_port_is_found(position: int, loaded_ces: LoadedCes) -> None:
    """Whatever the port set's size: no drop while an expired port exists."""
    ce = loaded_ces.get(domain("map-t", RULES[2048]))
    usable = [port for port in ce.domain.port_set if port != 0]
    for port in usable:
        assert source_port(_udp(ce, HOST, port)) == port, "its own port was free"
    ce.advance(122)
    for port in usable:
        if port != usable[position]:
            _udp(ce, HOST, port)  # kept alive, or revived

    outcome = _udp(ce, *endpoint(1))
    assert outcome.reason is Reason.TRANSLATED
    assert source_port(outcome) == usable[position]
    assert _udp(ce, *endpoint(2)).reason is Reason.PORTS_EXHAUSTED


def test_a_search_in_vain_is_not_repeated_in_the_same_tick(loaded_ces: LoadedCes) -> None:
    ce = loaded_ces.get(domain("map-t", RULES[252]))
    for number in range(252):
        _udp(ce, *endpoint(number))
    assert _udp(ce, *endpoint(252)).reason is Reason.PORTS_EXHAUSTED
    full_tick = ce.maps.contract["bitmap"].unpack(ce.maps.value("bitmap"))["full_tick"]
    udp = ce.maps.contract.number("INDEX_UDP")
    assert full_tick[udp] == ce.now + 1
    assert [full_tick[other] for other in range(3) if other != udp] == [0, 0]
    ce.advance(122)
    assert _udp(ce, *endpoint(252)).reason is Reason.TRANSLATED


def test_the_lan_port_is_kept_if_it_is_free(ce: LoadedCe) -> None:
    port = 2257
    assert source_port(_udp(ce, HOST, port)) == port
    assert source_port(_udp(ce, "192.168.1.3", port)) != port
    assert source_port(_tcp(ce, "192.168.1.3", port)) == port


def test_ports_are_drawn_from_all_ranges(ce: LoadedCe) -> None:
    """A quarter of the ports, drawn at random, lies in more than a quarter of the ranges."""
    ports = {source_port(_udp(ce, *endpoint(number))) for number in range(63)}
    ranges = {port >> 10 for port in ports}
    assert len(ports) == 63
    assert len(ranges) > 20


def test_two_runs_draw_differently(ce: LoadedCe) -> None:
    first = [source_port(_udp(ce, *endpoint(number))) for number in range(40)]
    ce.reset()
    second = [source_port(_udp(ce, *endpoint(number))) for number in range(40)]
    assert first != second


def test_unshared_address_never_uses_a_well_known_port(loaded_ces: LoadedCes) -> None:
    rule = RULES[252]
    full = domain("map-t", type(rule)(rule.ipv6, rule.ipv4, ea_length=8))
    ce = loaded_ces.get(full)
    ports = [source_port(_udp(ce, *endpoint(number))) for number in range(500)]
    assert len(set(ports)) == 500
    assert min(ports) >= 1024
    assert source_port(_udp(ce, HOST, 40000)) == 40000
    assert source_port(_udp(ce, HOST, 80)) >= 1024


def test_nothing_leaks(ce: LoadedCe) -> None:
    """After exhaustion, expiry and take-over: bitmap, index and slots agree."""
    for number in range(252):
        _udp(ce, *endpoint(number))
    for number in range(400):
        _tcp(ce, *endpoint(number))
    ce.advance(10_000)
    for number in range(300, 500):
        _udp(ce, *endpoint(number))
    assert inconsistencies(ce.maps, ce.domain) == []
