# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors between two CEs of a mesh: a forwarding rule says who the other end is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6
from scapy_tools import HOST, MODES, OWN_IPV4, PORT, assert_sound, from_host, new_ce, sole

from harness.domains import BR, EXAMPLE_RULE, domain
from mapxdp.model.domain import Domain, Mode
from mapxdp.reasons import Reason
from mapxdp.software.ce import CustomerEdge
from mapxdp.software.verdict import Outcome

PEER_HOST, ROUTER6 = "192.168.7.7", "2001:db8:77::1"


def own_domain(mode: Mode) -> Domain:
    return domain(mode, replace(EXAMPLE_RULE, forwarding=True))


def peer_domain(mode: Mode) -> Domain:
    """Another address and PSID."""
    return replace(own_domain(mode), end_user_prefix=IPv6Network("2001:db8:13:3500::/56"))


def exchanged(mode: Mode) -> tuple[CustomerEdge, CustomerEdge, bytes, bytes]:
    """Both have sent UDP to each other: the CEs, the last packet on its way, and as it arrived."""
    own, peer = new_ce(own_domain(mode)), new_ce(peer_domain(mode))
    peer_port = peer_domain(mode).port_set.port_at(0)
    peer_ipv4 = str(peer_domain(mode).ipv4_address)
    to_peer = bytes(from_host(UDP(sport=40000, dport=peer_port) / b"there", dst=peer_ipv4))
    sole(own.from_lan(to_peer))
    from_peer = IP(src=PEER_HOST, dst=OWN_IPV4) / UDP(sport=50000, dport=PORT) / b"here"
    sole(peer.from_lan(bytes(from_peer)))
    left = sole(own.from_lan(to_peer))
    return own, peer, left, sole(peer.from_wan(left))


@pytest.mark.parametrize("mode", MODES)
def test_a_host_behind_another_ce_refuses(mode: Mode) -> None:
    own, peer, left, arrived = exchanged(mode)
    error = bytes(IP(src=PEER_HOST, dst=OWN_IPV4) / ICMP(type=3, code=3) / arrived)
    told = sole(peer.from_lan(error))
    assert_sound(told)
    assert IPv6(told).dst == IPv6(left).src
    made = IP(sole(own.from_wan(told)))
    assert_sound(bytes(made))
    assert (made.src, made.dst) == (str(peer_domain(mode).ipv4_address), HOST)
    quoted = IP(bytes(made[ICMP].payload))
    assert (quoted.src, quoted[UDP].sport) == (HOST, 40000)
    assert own.events("downstream")[Reason.ICMP_ERROR_CARRIED] == 1


@pytest.mark.parametrize("mode", MODES)
def test_an_error_about_what_another_ce_was_not_sent(mode: Mode) -> None:
    """The far end in IPv6 and the port have to belong together."""
    own, _, left, _ = exchanged(mode)
    quote = IPv6(left)
    about = IPv6(src=ROUTER6, dst=quote.src) / ICMPv6TimeExceeded()
    assert own.from_wan(bytes(about / quote)).reason is Reason.TRANSLATED
    quote[UDP].dport += 16
    assert own.from_wan(bytes(about / quote)) == Outcome(Reason.QUOTE_INVALID)


def test_another_ce_cannot_speak_for_others_in_a_tunnel() -> None:
    """RFC 7597 section 8.1: the port is that of the packet in error; the BR may say anything."""
    own, _, left, _ = exchanged(Mode.MAP_E)
    to_us, peer_ipv6 = IPv6(left).src, IPv6(left).dst

    def told(outer: str, inner: str, port: int) -> Outcome:
        quote = IPv6(left)[IP].copy()
        quote[UDP].dport = port
        error = IP(src=inner, dst=OWN_IPV4) / ICMP(type=3, code=3) / quote
        return own.from_wan(bytes(IPv6(src=outer, dst=to_us) / error))

    peer = peer_domain(Mode.MAP_E)
    address, port = str(peer.ipv4_address), peer.port_set.port_at(0)
    assert told(peer_ipv6, address, port).reason is Reason.TRANSLATED
    assert told(peer_ipv6, "203.0.113.9", port) == Outcome(Reason.SOURCE_INCONSISTENT)
    assert told(peer_ipv6, address, port + 16) == Outcome(Reason.SOURCE_INCONSISTENT)
    assert told(str(BR), "203.0.113.9", port).reason is Reason.TRANSLATED
