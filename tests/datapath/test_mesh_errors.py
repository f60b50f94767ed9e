# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors where forwarding rules say who the other end is: both paths agree, and an error
goes where the packet it is about came from."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from test_mesh import BMR, DESTINATIONS, MODES, fmr, from_peer, mesh, prefix_ce, through_the_br

from harness import errors, packets
from harness.domains import BR, DMR
from harness.exchange import lan_packet
from harness.follower import Follower, source_port
from harness.loaded import LoadedCes
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Outcome

LAYOUTS = [*InterfaceIdFormat]
NO_IPV4 = packets.v4("192.0.0.8")
EXCEEDED_V4, EXCEEDED_V6 = (11, 0), (3, 0)
PROTOCOLS = ["udp", "tcp", "echo"]
#: Under the prefix of a rule, and nobody's MAP address.
ROUTER_OF_A_PEER = IPv6Address("2001:db8:4000:900::1")
#: Under no rule.
STRANGER = IPv6Address("2001:db8:9900::1")
ROUTERS = (STRANGER, ROUTER_OF_A_PEER, errors.ROUTER6)


@pytest.fixture(params=[f"{mode} {layout}" for mode in MODES for layout in LAYOUTS])
def follower(request: pytest.FixtureRequest, loaded_ces: LoadedCes) -> Iterator[Follower]:
    mode, layout = request.param.split()
    made = Follower(loaded_ces.get(mesh(mode, layout=InterfaceIdFormat(layout))))
    yield made
    made.assert_that_events_agree()


def carried(outcome: Outcome) -> bytes:
    assert outcome.reason is Reason.TRANSLATED
    (packet,) = outcome.packets
    errors.assert_sound(packet)
    return packet


def left(follower: Follower, ipv4: str, port: int, protocol: str = "udp") -> bytes:
    outcome = follower.from_lan(lan_packet(protocol, remote=ipv4, remote_port=port))
    assert outcome.reason is Reason.TRANSLATED
    return outcome.packets[0]


def about(packet: bytes, source: IPv6Address, kind: tuple[int, int] = EXCEEDED_V6) -> bytes:
    """An ICMPv6 error to whom the packet came from."""
    destination = IPv6Address(packet[8:24])
    message = errors.icmpv6(kind, 0, packet, source, destination)
    return packets.ipv6(message, packets.ICMPV6, source, destination)


def in_tunnel(domain: Domain, packet: bytes, outer: IPv6Address, inner: str) -> bytes:
    """An ICMP error about the packet inside the tunnel packet, through the tunnel."""
    destination = ".".join(map(str, packet[52:56]))
    message = errors.icmp(EXCEEDED_V4, 0, packet[40:])
    error = packets.ipv4(message, packets.ICMP, inner, destination)
    return packets.ipv6(error, packets.IPV4, outer, domain.map_address)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("ipv4", "port"), [entry[1:] for entry in DESTINATIONS])
def test_about_a_packet_to_a_peer(ipv4: str, port: int, protocol: str, follower: Follower) -> None:
    """Of a router on the way, of the far end itself, of the BR: each reaches the host."""
    domain, sent = follower.ce.domain, left(follower, ipv4, port, protocol)
    far_end = IPv6Address(sent[24:40])
    for source in (*ROUTERS, far_end, DMR[7], BR):
        made = carried(follower.from_wan(about(sent, source)))
        assert made[16:20] == packets.v4(packets.HOST)
        assert made[40:48] == packets.v4(packets.HOST) + packets.v4(ipv4)
        if not domain.mode.translates or source in ROUTERS:
            assert made[12:16] == NO_IPV4
        elif source == far_end:
            assert made[12:16] == packets.v4(ipv4)
    if not domain.mode.translates:
        made = carried(follower.from_wan(in_tunnel(domain, sent, BR, errors.ROUTER)))
        assert made[12:20] == packets.v4(errors.ROUTER) + packets.v4(packets.HOST)


def owned() -> list[tuple[str, int]]:
    return [(ipv4, port) for rule, ipv4, port in DESTINATIONS if rule is not None]


@pytest.mark.parametrize(("ipv4", "port"), owned())
def test_about_a_packet_to_nobody(ipv4: str, port: int, follower: Follower) -> None:
    """The far end of the quote is no CE, another one, or the BR: we send no such packet."""
    sent = left(follower, ipv4, port)
    assert follower.from_wan(about(sent, errors.ROUTER6)).reason is Reason.TRANSLATED
    for bit in (0, 3, 17, 40, 60, 77):
        far_end = IPv6Address(int.from_bytes(sent[24:40], "big") ^ 1 << bit)
        forged = sent[:24] + far_end.packed + sent[40:]
        reason = follower.from_wan(about(forged, errors.ROUTER6)).reason
        # Another host of a peer that has a whole prefix is somebody; we know no flow to him.
        assert reason in (Reason.QUOTE_INVALID, Reason.NO_MAPPING, Reason.TRANSLATED)
        domain = follower.ce.domain
        if not domain.mode.translates or domain.rule_of_source(far_end) is None:
            assert reason is Reason.QUOTE_INVALID
    if not follower.ce.domain.mode.translates:
        forged = sent[:24] + through_the_br(follower.ce.domain, ipv4).packed + sent[40:]
        assert follower.from_wan(about(forged, errors.ROUTER6)).reason is Reason.QUOTE_INVALID


def test_about_a_port_of_another_peer(follower: Follower) -> None:
    sent = left(follower, "203.0.113.9", 5000)
    at = 42 if follower.ce.domain.mode.translates else 62
    for port, reason in ((5004, Reason.QUOTE_INVALID), (6024, Reason.TRANSLATED)):
        forged = sent[:at] + port.to_bytes(2, "big") + sent[at + 2 :]
        assert follower.from_wan(about(forged, errors.ROUTER6)).reason is reason


@pytest.mark.parametrize("code", range(8))
def test_a_peer_refuses(code: int, follower: Follower) -> None:
    """RFC 7599 section 8.3: who has no such CE says so. In MAP-E only the BR's word counts."""
    sent = left(follower, "203.0.113.9", 5000)
    for source in (IPv6Address(sent[24:40]), BR, errors.ROUTER6):
        outcome = follower.from_wan(about(sent, source, (1, code)))
        if code == 5 and (follower.ce.domain.mode.translates or source == BR):
            assert outcome.reason is Reason.BR_REFUSED


def test_who_may_speak_in_a_tunnel(loaded_ces: LoadedCes) -> None:
    """RFC 7597 section 8.1: the port is that of the packet in error."""
    follower = Follower(loaded_ces.get(mesh("map-e")))
    domain, (ipv4, port) = follower.ce.domain, ("203.0.113.9", 5000)
    sent = left(follower, ipv4, port)
    far_end = IPv6Address(sent[24:40])
    other = domain.destination_ipv6(IPv4Address(ipv4), port + 4)
    for outer, inner, reason in (
        (far_end, ipv4, Reason.TRANSLATED),
        (far_end, errors.ROUTER.replace("9", "10"), Reason.SOURCE_INCONSISTENT),
        (far_end, "8.8.8.8", Reason.SOURCE_INCONSISTENT),
        (other, ipv4, Reason.SOURCE_INCONSISTENT),
        (ROUTER_OF_A_PEER, ipv4, Reason.SOURCE_INCONSISTENT),
        (STRANGER, ipv4, Reason.TUNNEL_SOURCE),
        (BR, "8.8.8.8", Reason.TRANSLATED),
        (far_end, "127.0.0.1", Reason.SOURCE_MARTIAN),
    ):
        assert follower.from_wan(in_tunnel(domain, sent, outer, inner)).reason is reason
    forged = sent[:62] + (port + 4).to_bytes(2, "big") + sent[64:]
    outcome = follower.from_wan(in_tunnel(domain, forged, far_end, ipv4))
    assert outcome.reason is Reason.SOURCE_INCONSISTENT


@pytest.mark.parametrize(("ipv4", "port"), [entry[1:] for entry in DESTINATIONS])
def test_from_the_lan(ipv4: str, port: int, follower: Follower) -> None:
    """About a packet of a peer: back to that very CE, in its name for us."""
    domain = follower.ce.domain
    sent = left(follower, ipv4, port)
    answer = from_peer(domain, ipv4, port, source_port(sent))
    outcome = follower.from_wan(answer)
    assert outcome.reason is Reason.TRANSLATED
    for destination in (ipv4, "8.8.8.8"):
        error = errors.from_lan((3, 3), outcome.packets[0], destination=destination)
        made = carried(follower.from_lan(error))
        expected = domain.destination_ipv6(IPv4Address(destination), port)
        assert IPv6Address(made[24:40]) == expected
        quoted, at = (made[48:], 8) if domain.mode.translates else (made[68:], 12)
        crossed = answer if domain.mode.translates else answer[40:]
        assert quoted[at:] == crossed[at:]


def test_an_echo_reply_of_a_peer_that_nobody_waits_for(follower: Follower) -> None:
    """The identifier that the reply came with says which CE sent it."""
    domain, ipv4 = follower.ce.domain, "203.0.113.9"
    identifier = source_port(left(follower, ipv4, 0, "echo"))
    reply = from_peer(domain, ipv4, identifier, identifier, protocol=packets.ICMP)
    outcome = follower.from_wan(reply)
    assert outcome.reason is Reason.TRANSLATED
    error = errors.from_lan((3, 2), outcome.packets[0], destination=ipv4)
    made = carried(follower.from_lan(error))
    assert IPv6Address(made[24:40]) == domain.destination_ipv6(IPv4Address(ipv4), identifier)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", ["198.19.77.0", "198.19.77.200"])
def test_of_a_whole_prefix(
    host: str, mode: str, layout: InterfaceIdFormat, loaded_ces: LoadedCes
) -> None:
    """No NAPT44: the host's address is in the IPv6 address it sends from, and in errors to it."""
    follower = Follower(loaded_ces.get(prefix_ce(mode, layout), napt44=Napt44Kind.NONE))
    domain = follower.ce.domain
    for remote, port in (("8.8.8.8", 53), ("203.0.113.9", 5000)):
        packet = lan_packet("udp", host, 80, remote, port)
        sent = follower.from_lan(packet).packets[0]
        made = carried(follower.from_wan(about(sent, errors.ROUTER6)))
        assert made[12:20] == NO_IPV4 + packets.v4(host)
        assert made[40:48] == packets.v4(host) + packets.v4(remote)
        data = packets.udp(remote, host, port, 80, b"data")
        arrived = packets.ipv4(data, packets.UDP, remote, host)
        error = errors.from_lan((3, 3), arrived, source=host, destination=remote)
        made = carried(follower.from_lan(error))
        assert made[8:40] == sent[8:40]
        if domain.mode.translates:
            assert made[56:88] == sent[24:40] + sent[8:24]


def test_the_longest_prefix_over_dmr_and_rules(loaded_ces: LoadedCes) -> None:
    """A router under the DMR has an IPv4 address, unless it is under a rule in there."""
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    inside = fmr("2001:db8:ff09:8000::/52", "203.0.113.0/24", 8)
    dmr = IPv6Network("2001:db8:ff00::/40")
    follower = Follower(loaded_ces.get(mesh("map-t", (own, inside), dmr=dmr)))
    sent = left(follower, "8.8.8.8", 53)
    for router, expected in (
        (rfc6052.embed(dmr, IPv4Address("9.9.9.9")), packets.v4("9.9.9.9")),
        (rfc6052.embed(dmr, IPv4Address("127.0.0.1")), NO_IPV4),
        (IPv6Address("2001:db8:ff09:8700::1"), NO_IPV4),
        (STRANGER, NO_IPV4),
    ):
        assert carried(follower.from_wan(about(sent, router)))[12:16] == expected
