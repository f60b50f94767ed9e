# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What holds of ICMP errors whatever they say: invariants, after each of many.

Right ones reach the host or the remote that the quoted packet is about, who knows it; wrong ones
are dropped for what is wrong with them; none changes a mapping.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from scapy_tools import Clock, new_ce

from harness import error_traffic, errors, packets, traffic
from harness.domains import DRAFT_03, LW4O6, RULES, domain
from harness.error_traffic import Error
from harness.traffic import Again, FromLan, FromWan
from mapxdp.model.domain import Domain
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.ce import CustomerEdge
from mapxdp.software.verdict import Outcome

DOMAINS = {
    "map-t": domain("map-t", RULES[63]),
    "map-e": domain("map-e", RULES[63]),
    "lw4o6": LW4O6,
    "draft-03": DRAFT_03,
}
#: What is always carried, in either protocol.
PLAIN = {(3, 1), (3, 3), (11, 0)}, {(1, 0), (1, 1), (3, 0)}
#: Why a wrong error is dropped, upstream and downstream; an empty set: it may cross.
BECAUSE: dict[str, tuple[set[Reason], set[Reason]]] = {
    "checksum": ({Reason.ICMP_CHECKSUM}, {Reason.ICMP_CHECKSUM}),
    "local port": ({Reason.NO_MAPPING}, {Reason.PORT_OUTSIDE_SET}),
    "local address": ({Reason.NO_MAPPING}, {Reason.QUOTE_INVALID}),
    "remote port": (set(), set()),
    "remote address": (set(), set()),
}
NOTHING = FromWan("udp", 0, packets.SERVER, 80, 0, b"", b"", 0, 0)
CROSSED = {Reason.TRANSLATED, Reason.HAIRPINNED}
#: Of the kind of message, which is looked at before anything else.
OF_KIND = {
    *(Reason.ICMP_NOT_CARRIED, Reason.SOURCE_OUTSIDE_DOMAIN, Reason.NOT_ENCAPSULATED),
    *(Reason.BR_REFUSED, Reason.TOO_BIG),
}


def generated(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def opened(ce_domain: Domain, data: st.DataObject) -> CustomerEdge:
    """A CE with some mappings, of whatever policy."""
    policy = data.draw(traffic.policies(ce_domain))
    ce = new_ce(ce_domain, policy=policy, clock=Clock())
    protocols = st.sampled_from(["tcp", "udp", "echo"])
    steps: list[FromLan] = data.draw(
        st.lists(traffic.from_lan(ce_domain, protocols), min_size=1, max_size=8)
    )
    for step in steps:
        ce.from_lan(traffic.upstream_packet(step))
    # And some between hosts of the LAN.
    for mapping, step in zip([*ce.napt44.mappings()][:2], reversed(steps), strict=False):
        inward = Again("hairpin", 0, step, NOTHING).about(mapping, own_address(ce_domain))
        assert isinstance(inward, FromLan)
        ce.from_lan(traffic.upstream_packet(inward))
    return ce


def own_address(ce_domain: Domain) -> str:
    return str(ce_domain.ipv4_address)


def run(ce: CustomerEdge, ce_domain: Domain, error: Error, mapping: Mapping) -> Outcome:
    if error.is_upstream:
        return ce.from_lan(error_traffic.upstream_packet(ce_domain, error, mapping))
    return ce.from_wan(error_traffic.downstream_packet(ce_domain, error, mapping))


@pytest.mark.parametrize("name", DOMAINS)
@generated(60)
@given(data=st.data())
def test_errors(name: str, data: st.DataObject) -> None:
    ce_domain = DOMAINS[name]
    ce, crossed = opened(ce_domain, data), 0
    mappings = list(ce.napt44.mappings())
    for error in data.draw(st.lists(error_traffic.icmp_errors(), min_size=1, max_size=6)):
        if not mappings:
            return
        mapping = mappings[error.number % len(mappings)]
        outcome = run(ce, ce_domain, error, mapping)
        event(f"{error.way} {error.wrong or 'right'}: {outcome.reason.name}")
        assert list(ce.napt44.mappings()) == mappings
        assert outcome.answers == ()
        check_reason(ce_domain, error, mapping, outcome)
        if outcome.reason in CROSSED:
            crossed += 1
            check_packet(ce_domain, error, mapping, mappings, outcome)
        else:
            assert outcome.packets == ()
    assert crossed == sum(
        ce.events(way)[Reason.ICMP_ERROR_CARRIED] for way in ("upstream", "downstream")
    )


def check_reason(ce_domain: Domain, error: Error, mapping: Mapping, outcome: Outcome) -> None:
    is_cut = error.quote.octets is not None or error.length is not None
    # Before objects a quote is filled up with zeros (RFC 4884): one that was cut behind
    # its header reads as that of an echo reply then, or of port 0.
    because_of_cut = {Reason.QUOTE_INVALID}
    if error.objects:
        because_of_cut |= {Reason.NO_MAPPING, Reason.PORT_OUTSIDE_SET}
    if error.wrong:
        because = BECAUSE.get(error.wrong, ({Reason.QUOTE_INVALID}, {Reason.QUOTE_INVALID}))
        allowed = because[0] if error.is_upstream else because[1]
        allowed = (allowed or CROSSED | {Reason.NO_MAPPING}) | OF_KIND
        assert outcome.reason in allowed | (because_of_cut if is_cut else set())
        return
    kinds, kind = PLAIN[0], error.kind4
    if error.is_icmpv6(ce_domain):
        kinds, kind = PLAIN[1], error.kind6
    # What was sent to a port of this CE may have found nobody there, who could be told.
    is_hairpin = error.is_upstream and mapping.peer == ce_domain.ipv4_address
    allowed = CROSSED | ({Reason.NO_MAPPING} if is_hairpin else set())
    if kind not in kinds or is_cut or is_too_long(ce_domain, error):
        allowed |= OF_KIND | {Reason.QUOTE_INVALID}
    assert outcome.reason in allowed


def is_too_long(ce_domain: Domain, error: Error) -> bool:
    """For the tunnel: an error is not cut there, but refused as any packet of its length is."""
    return error.is_upstream and not ce_domain.mode.translates and error.quote.payload > 1300


def check_packet(
    ce_domain: Domain, error: Error, mapping: Mapping, all_mappings: list[Mapping], outcome: Outcome
) -> None:
    (packet,) = outcome.packets
    errors.assert_sound(packet)
    if error.is_upstream and outcome.reason is Reason.TRANSLATED:
        check_upstream(ce_domain, error, mapping, all_mappings, packet)
    elif not error.is_upstream:
        check_downstream(ce_domain, error, mapping, packet)


def check_upstream(
    ce_domain: Domain, error: Error, mapping: Mapping, all_mappings: list[Mapping], packet: bytes
) -> None:
    ports = {
        other.port
        for other in all_mappings
        if (other.protocol, other.host, other.host_port)
        == (mapping.protocol, mapping.host, mapping.host_port)
    }
    if ce_domain.mode.translates:
        assert len(packet) <= 1280
        quoted, start = packet[48:], 88 + (8 if error.quote.fragment else 0)
        assert quoted[24:40] == ce_domain.map_address.packed
    else:
        quoted, start = packet[68:], 68 + (packet[68] & 0xF) * 4
        assert quoted[16:20] == ce_domain.ipv4.network_address.packed
    assert port_at(packet, start, mapping, destination=True) in ports
    check_quoted_checksums(error, quoted)


def check_downstream(ce_domain: Domain, error: Error, mapping: Mapping, packet: bytes) -> None:
    if error.is_icmpv6(ce_domain):
        assert len(packet) <= 576
    assert packet[16:20] == packet[40:44] == mapping.host.packed
    start = 28 + (packet[28] & 0xF) * 4
    assert port_at(packet, start, mapping, destination=False) == mapping.host_port
    check_quoted_checksums(error, packet[28:])


def port_at(packet: bytes, start: int, mapping: Mapping, *, destination: bool) -> int:
    at = start + 4 if mapping.protocol is Protocol.ICMP else start + 2 * destination
    return int.from_bytes(packet[at : at + 2], "big")


def check_quoted_checksums(error: Error, quoted: bytes) -> None:
    """Right before, right after; where all of the packet is there to tell."""
    if error.wrong or error.quote.fragment or error.quote.octets is not None:
        return
    if quoted[0] >> 4 == 6:
        length = 40 + int.from_bytes(quoted[4:6], "big")
    else:
        length = int.from_bytes(quoted[2:4], "big")
    there = error_traffic.MOST_BEFORE_OBJECTS if error.objects else len(quoted)
    if length <= there:
        assert packets.checksums_are_right(quoted[:length])


@generated(60)
@given(error=error_traffic.icmp_errors())
def test_errors_about_nothing_are_dropped(error: Error) -> None:
    """Without a single mapping nothing crosses, and nothing breaks."""
    ce_domain = DOMAINS["map-t"]
    nobody = Mapping(
        protocol=Protocol.UDP,
        host=IPv4Address(packets.HOST),
        host_port=40000,
        port=ce_domain.port_set.port_at(0),
        peer=IPv4Address(packets.SERVER),
        peer_port=80,
        idle=0,
        timeout=1,
        kind=MappingKind.OWN,
    )
    ce = new_ce(ce_domain)
    assert run(ce, ce_domain, error, nobody).packets == ()
    assert list(ce.napt44.mappings()) == []
