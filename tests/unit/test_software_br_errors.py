# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do ICMP errors cross the BR, both ways: to the CE whose port they are about, and from it?"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Packet
from scapy_tools import (
    HOST,
    MODES,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    SERVER,
    SERVER_IPV6,
    assert_sound,
    from_host,
    new_ce,
    sole,
)

from harness.domains import BR, DMR, EXAMPLE_RULE
from mapxdp.model.domain import Mode
from mapxdp.software.br import BorderRelay, BrSettings

ROUTER, ROUTER6 = "203.0.113.9", "2001:db8:77::1"
DUMMY = "192.0.0.8"
KINDS = ["tcp", "udp", "icmp"]


def relay_of(mode: Mode) -> BorderRelay:
    far_end = {"dmr": DMR} if mode.translates else {"address": BR}
    return BorderRelay(BrSettings(mode, (EXAMPLE_RULE,), **far_end))


def query(kind: str) -> Packet:
    if kind == "icmp":
        return ICMP(id=40000) / b"ping"
    return (TCP if kind == "tcp" else UDP)(sport=40000, dport=80) / b"question"


def answer(kind: str, port: int = PORT) -> Packet:
    if kind == "icmp":
        return ICMP(type=0, id=port) / b"ping"
    return (TCP if kind == "tcp" else UDP)(sport=80, dport=port) / b"answer"


def of_router(packet: bytes, **fields: int) -> bytes:
    """A router beyond the BR about a packet of the CE's."""
    return bytes(IP(src=ROUTER, dst=OWN_IPV4, ttl=61) / ICMP(**{"type": 11, **fields}) / packet)


def made_of(made: bytes | None) -> bytes:
    assert made is not None
    assert_sound(made)
    return made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_router_tells_the_host(mode: Mode, kind: str) -> None:
    """RFC 7596 section 8.1: the source port of the packet in error leads to the CE."""
    ce, relay = new_ce(mode), relay_of(mode)
    sent = bytes(from_host(query(kind), flags=0, id=0))
    left = made_of(relay.from_domain(sole(ce.from_lan(sent))))
    told = made_of(relay.to_domain(of_router(left)))
    assert IPv6(told).dst == OWN_IPV6
    error = IP(made_of(sole(ce.from_wan(told))))
    assert (error.src, error.dst, error[ICMP].type) == (ROUTER, HOST, 11)
    assert bytes(error[ICMP].payload) == sent
    assert relay.counts == {"from_domain": 1, "to_domain": 1}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_host_tells_the_server(mode: Mode, kind: str) -> None:
    ce, relay = new_ce(mode), relay_of(mode)
    sole(ce.from_lan(bytes(from_host(query(kind)))))
    sent = bytes(IP(src=SERVER, dst=OWN_IPV4, id=0) / answer(kind))
    arrived = sole(ce.from_wan(made_of(relay.to_domain(sent))))
    error = bytes(IP(src=HOST, dst=SERVER) / ICMP(type=3, code=3) / arrived)
    told = IP(made_of(relay.from_domain(sole(ce.from_lan(error)))))
    assert (told.src, told.dst) == (OWN_IPV4, SERVER)
    assert (told[ICMP].type, told[ICMP].code) == (3, 3)
    assert bytes(told[ICMP].payload) == sent


@pytest.mark.parametrize("mode", MODES)
def test_a_router_beyond_the_br_has_a_smaller_mtu(mode: Mode) -> None:
    ce, relay = new_ce(mode), relay_of(mode)
    sent = bytes(from_host(UDP(sport=40000, dport=80) / bytes(1400), flags="DF"))
    left = made_of(relay.from_domain(sole(ce.from_lan(sent))))
    about = of_router(left[:28], type=3, code=4, nexthopmtu=1300)
    error = IP(sole(ce.from_wan(relay.to_domain(about) or b"")))
    assert (error.src, error[ICMP].code, error[ICMP].nexthopmtu) == (ROUTER, 4, 1300)


@pytest.mark.parametrize("mode", MODES)
def test_a_router_of_the_domain_tells_the_server(mode: Mode) -> None:
    """Hop limit and MTU on the way to the CE; the router has no IPv4 address."""
    relay = relay_of(mode)
    sent = bytes(IP(src=SERVER, dst=OWN_IPV4, flags="DF") / UDP(sport=80, dport=PORT) / bytes(900))
    onward = made_of(relay.to_domain(sent))
    to = SERVER_IPV6 if mode.translates else str(BR)
    for message, kind, mtu in [
        (ICMPv6TimeExceeded(), (11, 0) if mode.translates else (3, 1), 0),
        (ICMPv6PacketTooBig(mtu=1300), (3, 4), 1300 - mode.overhead),
    ]:
        error = bytes(IPv6(src=ROUTER6, dst=to) / message / onward)
        told = IP(made_of(relay.from_domain(error)))
        assert (told.src, told.dst) == (DUMMY, SERVER)
        assert (told[ICMP].type, told[ICMP].code) == kind
        assert (told[ICMP].nexthopmtu or 0) == mtu
        quoted = IP(bytes(told[ICMP].payload))
        assert (quoted.src, quoted.dst, quoted[UDP].dport) == (SERVER, OWN_IPV4, PORT)


def refused(relay: BorderRelay, made: bytes | None) -> str:
    assert made is None
    ((name, count),) = relay.counts.items()
    assert count == 1
    return name


@pytest.mark.parametrize("mode", MODES)
def test_errors_to_a_shared_address_that_are_nobodys(mode: Mode) -> None:
    def told(
        transport: Packet, source: str = OWN_IPV4, **fields: int
    ) -> tuple[BorderRelay, bytes | None]:
        relay = relay_of(mode)
        quote = bytes(IP(src=source, dst=SERVER) / transport)
        return relay, relay.to_domain(of_router(quote, **fields))

    assert told(UDP(sport=PORT))[1] is not None
    assert refused(*told(UDP(sport=PORT), type=5)) == "ICMP_NOT_CARRIED"
    assert refused(*told(UDP(sport=80))) == "NO_RULE"
    assert refused(*told(UDP(sport=PORT), "192.0.2.19")) == "QUOTE_INVALID"
    assert refused(*told(ICMP(type=3) / bytes(20))) == "QUOTE_INVALID"


def test_a_ce_may_only_speak_of_its_own_ports_in_a_tunnel() -> None:
    def told(source: str, port: int, **fields: int) -> tuple[BorderRelay, bytes | None]:
        relay = relay_of(Mode.MAP_E)
        quote = IP(src=SERVER, dst=OWN_IPV4) / UDP(sport=80, dport=port)
        inner = IP(src=source, dst=SERVER) / ICMP(**{"type": 3, "code": 3, **fields}) / quote
        return relay, relay.from_domain(bytes(IPv6(src=OWN_IPV6, dst=str(BR)) / inner))

    assert told(OWN_IPV4, PORT)[1] is not None
    assert refused(*told(OWN_IPV4, PORT + 16)) == "SOURCE_INCONSISTENT"
    assert refused(*told("192.0.2.19", PORT)) == "SOURCE_INCONSISTENT"
    assert refused(*told(OWN_IPV4, PORT, type=5)) == "ICMP_NOT_CARRIED"


def test_a_ce_may_only_speak_of_its_own_ports_in_translation() -> None:
    def told(source: str, port: int, code: int = 4) -> tuple[BorderRelay, bytes | None]:
        relay = relay_of(Mode.MAP_T)
        quote = IPv6(src=source, dst=OWN_IPV6) / UDP(sport=80, dport=port)
        error = IPv6(src=OWN_IPV6, dst=SERVER_IPV6) / ICMPv6DestUnreach(code=code) / quote
        return relay, relay.from_domain(bytes(error))

    assert told(SERVER_IPV6, PORT)[1] is not None
    assert refused(*told(SERVER_IPV6, PORT + 16)) == "SOURCE_INCONSISTENT"
    assert refused(*told("2001:db8:77::5", PORT)) == "QUOTE_INVALID"
    assert refused(*told(SERVER_IPV6, PORT, code=5)) == "ICMP_NOT_CARRIED"


def test_errors_about_the_tunnel_that_the_br_knows_nothing_of() -> None:
    def told(far_end: str, port: int) -> tuple[BorderRelay, bytes | None]:
        relay = relay_of(Mode.MAP_E)
        inner = IP(src=SERVER, dst=OWN_IPV4) / UDP(sport=80, dport=port)
        error = IPv6(src=ROUTER6, dst=str(BR)) / ICMPv6DestUnreach()
        return relay, relay.from_domain(bytes(error / IPv6(src=str(BR), dst=far_end) / inner))

    assert told(OWN_IPV6, PORT)[1] is not None
    assert refused(*told(OWN_IPV6, PORT + 16)) == "QUOTE_INVALID"
    assert refused(*told("2001:db8:12:3500::1", PORT)) == "QUOTE_INVALID"
    assert refused(*told(OWN_IPV6, 80)) == "NO_RULE"
