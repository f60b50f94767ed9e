# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""CE to CE by forwarding rules: both paths agree, and the model says where packets go.

A peer is another datapath of the same domain; where there is none, the model stands in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import packets
from harness.ce import LoadedCe
from harness.domains import BR, DMR, END_USER_PREFIX, EXAMPLE_RULE, LW4O6
from harness.follower import Follower, source_port
from harness.loaded import LoadedCes
from mapxdp.datapath import libbpf, state
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.map_address import forwarding_destination
from mapxdp.model.rule import MappingRule, select_forwarding_rule
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Outcome

MODES = ["map-t", "map-e"]


def fmr(
    ipv6: str,
    ipv4: str,
    ea_length: int,
    psid_offset: int = 6,
    psid: int | None = None,
    psid_length: int | None = None,
) -> MappingRule:
    return MappingRule(
        IPv6Network(ipv6), IPv4Network(ipv4), ea_length, psid_offset, psid_length, psid, True
    )


#: The CE's own rule, as an FMR too.
BMR = fmr("2001:db8::/40", "192.0.2.0/24", 16)
SHARED = fmr("2001:db8:4000::/40", "203.0.113.0/24", 16)
OTHER_GEOMETRY = fmr("2001:db8:4100::/40", "198.18.0.0/24", 14, psid_offset=4)
UNSHARED = fmr("2001:db8:4200::/40", "198.51.100.0/24", 8)
PREFIX = fmr("2001:db8:4300::/40", "198.19.0.0/16", 8)
LONG = fmr("2001:db8:4400:1:ab00::/72", "100.70.0.0/16", 24)
ONE_TO_ONE = [
    fmr(f"2001:db8:45{psid:02x}:100::/56", "203.0.114.9/32", 0, psid=psid, psid_length=8)
    for psid in (0x11, 0x12, 0xFE)
]
EXCEPTION = fmr("2001:db8:4600::/56", "203.0.113.77/32", 0, psid=0x22, psid_length=8)
RULES = (BMR, SHARED, OTHER_GEOMETRY, UNSHARED, PREFIX, LONG, *ONE_TO_ONE, EXCEPTION)


def mesh(
    mode: str,
    rules: tuple[MappingRule, ...] = RULES,
    layout: InterfaceIdFormat = InterfaceIdFormat.RFC7597,
    dmr: IPv6Network = DMR,
) -> Domain:
    translates = Mode(mode).translates
    return Domain(
        mode=Mode(mode),
        end_user_prefix=END_USER_PREFIX,
        rules=rules,
        dmr=dmr if translates else None,
        br=None if translates else BR,
        interface_id=layout,
    )


@pytest.fixture(params=[f"{mode} {layout}" for mode in MODES for layout in InterfaceIdFormat])
def follower(request: pytest.FixtureRequest, loaded_ces: LoadedCes) -> Follower:
    mode, layout = request.param.split()
    return Follower(loaded_ces.get(mesh(mode, layout=InterfaceIdFormat(layout))))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def udp(destination: str | IPv4Address, port: int, source_port: int = 4000) -> bytes:
    destination = str(destination)
    data = packets.udp(packets.HOST, destination, source_port, port, b"data")
    return packets.ipv4(data, packets.UDP, packets.HOST, destination)


def destination_of(outcome: Outcome) -> IPv6Address:
    assert outcome.reason is Reason.TRANSLATED
    (packet,) = outcome.packets
    assert packets.checksums_are_right(packet)
    return IPv6Address(packet[24:40])


def through_the_br(domain: Domain, ipv4: str) -> IPv6Address:
    unruled = mesh(domain.mode, (EXAMPLE_RULE,), domain.interface_id)
    return unruled.destination_ipv6(IPv4Address(ipv4), 80)


#: What the rule's CE owns, and ports that nobody or another rule has.
DESTINATIONS: list[tuple[MappingRule | None, str, int]] = [
    (SHARED, "203.0.113.9", 5000),
    (SHARED, "203.0.113.255", 65535),
    (None, "203.0.113.9", 1023),
    (SHARED, "203.0.113.9", 1024),
    (BMR, "192.0.2.200", 5000),
    (BMR, "192.0.2.18", 1236),  # the CE's own address, and another's port
    (OTHER_GEOMETRY, "198.18.0.5", 4096),
    (None, "198.18.0.5", 4095),
    (UNSHARED, "198.51.100.7", 80),
    (UNSHARED, "198.51.100.0", 0),
    (PREFIX, "198.19.77.8", 80),
    (LONG, "100.70.200.3", 40000),
    (None, "100.71.0.0", 40000),
    (ONE_TO_ONE[0], "203.0.114.9", 1024 + 4 * 0x11),
    (ONE_TO_ONE[1], "203.0.114.9", 1024 + 4 * 0x12 + 3),
    (ONE_TO_ONE[2], "203.0.114.9", 64512 + 4 * 0xFE),
    (None, "203.0.114.9", 1024 + 4 * 0x13),
    (None, "203.0.114.9", 4 * 0x11),
    (EXCEPTION, "203.0.113.77", 1024 + 4 * 0x22),
    (SHARED, "203.0.113.77", 1024 + 4 * 0x23),  # the longer prefix has no owner for it
    (None, "203.0.113.77", 4 * 0x22),
    (None, "8.8.8.8", 53),
]


@pytest.mark.parametrize(("rule", "ipv4", "port"), DESTINATIONS)
def test_where_a_packet_goes(
    rule: MappingRule | None, ipv4: str, port: int, follower: Follower
) -> None:
    domain = follower.ce.domain
    found = destination_of(follower.from_lan(udp(ipv4, port)))
    if rule is None:
        assert found == through_the_br(domain, ipv4)
        return
    assert select_forwarding_rule(domain.rules, IPv4Address(ipv4), port) == rule
    expected = forwarding_destination(rule, IPv4Address(ipv4), port, domain.interface_id)
    if rule is PREFIX and domain.mode.translates:
        assert found != expected, "MAP-T has to say which host it is for"
        assert domain.peer_ipv4(rule, found) == IPv4Address(ipv4)
    else:
        assert found == expected


def test_tcp_and_echo(follower: Follower) -> None:
    domain, host = follower.ce.domain, packets.HOST
    tcp = packets.tcp(host, "203.0.113.9", 4000, 5000, flags=packets.SYN, options=b"\2\4\5\xb4")
    found = follower.from_lan(packets.ipv4(tcp, packets.TCP, host, "203.0.113.9"))
    assert destination_of(found) == domain.destination_ipv6(IPv4Address("203.0.113.9"), 5000)
    echo = packets.ipv4(packets.echo(77), packets.ICMP, host, "203.0.113.9")
    outcome = follower.from_lan(echo)
    # The identifier it leaves with stands for the peer's port too (RFC 7597 section 8.2).
    identifier = source_port(outcome.packets[0])
    assert identifier in domain.port_set
    expected = domain.destination_ipv6(IPv4Address("203.0.113.9"), identifier)
    assert destination_of(outcome) == expected


def test_an_own_port_is_a_hairpin(follower: Follower) -> None:
    """And any other of the own address is not."""
    own = [*follower.ce.domain.port_set][9]
    assert follower.from_lan(udp("192.0.2.18", own)).reason is Reason.NO_MAPPING
    assert follower.from_lan(udp("192.0.2.18", own + 4)).reason is Reason.TRANSLATED


# From the domain


def from_peer(
    domain: Domain,
    ipv4: str,
    port: int,
    own_port: int,
    source: IPv6Address | None = None,
    protocol: int = packets.UDP,
) -> bytes:
    """What the CE that has (ipv4, port) sends, or who claims to be it from ``source``."""
    source = source or domain.destination_ipv6(IPv4Address(ipv4), port)
    own = str(domain.ipv4.network_address)
    if domain.mode.translates:
        if protocol == packets.UDP:
            data = packets.udp(source, domain.map_address, port, own_port, b"data")
            return packets.ipv6(data, packets.UDP, source, domain.map_address)
        data = packets.echo6(source, domain.map_address, port, reply=True)
        return packets.ipv6(data, packets.ICMPV6, source, domain.map_address)
    if protocol == packets.UDP:
        inner = packets.ipv4(
            packets.udp(ipv4, own, port, own_port, b"data"), packets.UDP, ipv4, own
        )
    else:
        inner = packets.ipv4(packets.echo(port, reply=True), packets.ICMP, ipv4, own)
    return packets.ipv6(inner, packets.IPV4, source, domain.map_address)


OWNED = [(rule, ipv4, port) for rule, ipv4, port in DESTINATIONS if rule not in (None, BMR)]


@pytest.mark.parametrize(("rule", "ipv4", "port"), OWNED)
def test_the_answer_of_a_peer(rule: MappingRule, ipv4: str, port: int, follower: Follower) -> None:
    domain = follower.ce.domain
    sent = follower.from_lan(udp(ipv4, port))
    own_port = source_port(sent.packets[0])
    outcome = follower.from_wan(from_peer(domain, ipv4, port, own_port))
    assert outcome.reason is Reason.TRANSLATED
    (packet,) = outcome.packets
    assert packets.checksums_are_right(packet)
    assert packet[12:20] == packets.v4(ipv4) + packets.v4(packets.HOST)
    # A bit of the source changed: wherever it is, it is not that CE.
    source = domain.destination_ipv6(IPv4Address(ipv4), port)
    for bit in (0, 3, 15, 17, 40, 47, 60, 64, 77, 79):
        forged = IPv6Address(int(source) ^ 1 << bit)
        reason = follower.from_wan(from_peer(domain, ipv4, port, own_port, forged)).reason
        seems = domain.rule_of_source(forged)
        if seems is None:
            assert reason is nowhere(domain)
        elif domain.mode.translates and domain.is_source_of(
            seems, forged, domain.peer_ipv4(seems, forged), port
        ):  # another CE, or another host of it
            assert reason in (Reason.FILTERED, Reason.NO_MAPPING)
        else:
            assert reason is Reason.SOURCE_INCONSISTENT


def nowhere(domain: Domain) -> Reason:
    return Reason.SOURCE_OUTSIDE_DOMAIN if domain.mode.translates else Reason.TUNNEL_SOURCE


def test_an_echo_reply_of_a_peer(follower: Follower) -> None:
    domain = follower.ce.domain
    echo = packets.ipv4(packets.echo(77), packets.ICMP, packets.HOST, "203.0.113.9")
    identifier = source_port(follower.from_lan(echo).packets[0])
    reply = from_peer(domain, "203.0.113.9", identifier, identifier, protocol=packets.ICMP)
    assert follower.from_wan(reply).reason is Reason.TRANSLATED
    other = domain.destination_ipv6(IPv4Address("203.0.113.9"), identifier + 4)
    forged = from_peer(domain, "203.0.113.9", identifier, identifier, other, packets.ICMP)
    assert follower.from_wan(forged).reason is Reason.SOURCE_INCONSISTENT


def test_a_source_port_of_another(follower: Follower) -> None:
    domain, (ipv4, port) = follower.ce.domain, ("203.0.113.9", 5000)
    own_port = source_port(follower.from_lan(udp(ipv4, port)).packets[0])
    source = domain.destination_ipv6(IPv4Address(ipv4), port)
    for wrong in (port + 4, port - 4, 4 * 0xE2, 0):
        forged = from_peer(domain, ipv4, wrong, own_port, source)
        assert follower.from_wan(forged).reason is Reason.SOURCE_INCONSISTENT
    same_psid = from_peer(domain, ipv4, port + 1024, own_port, source)
    assert follower.from_wan(same_psid).reason is Reason.TRANSLATED


def test_the_port_set_comes_first(follower: Follower) -> None:
    """RFC 7599 section 8.2: what is for another CE's port is dropped silently."""
    domain = follower.ce.domain
    source = domain.destination_ipv6(IPv4Address("203.0.113.9"), 5000)
    outcome = follower.from_wan(from_peer(domain, "203.0.113.9", 5004, 1236, source))
    assert outcome.reason is Reason.PORT_OUTSIDE_SET


def test_from_nowhere(follower: Follower) -> None:
    domain = follower.ce.domain
    stranger = IPv6Address("2001:db8:9900::1")
    outcome = follower.from_wan(from_peer(domain, "203.0.113.9", 5000, 1232, stranger))
    assert outcome.reason is nowhere(domain)


def test_from_ourselves(follower: Follower) -> None:
    domain = follower.ce.domain
    packet = from_peer(domain, "192.0.2.18", 1232, 1233, domain.map_address)
    assert follower.from_wan(packet).reason is Reason.SOURCE_MARTIAN


def test_from_a_neighbour_on_the_same_address(follower: Follower) -> None:
    domain = follower.ce.domain
    own_port = source_port(follower.from_lan(udp("192.0.2.18", 1236)).packets[0])
    outcome = follower.from_wan(from_peer(domain, "192.0.2.18", 1236, own_port))
    assert outcome.reason is Reason.TRANSLATED


def test_the_br_speaks_for_everybody(follower: Follower) -> None:
    """Hub and spoke beside mesh: sources that an FMR covers may come through the BR."""
    domain, ipv4 = follower.ce.domain, "203.0.113.9"
    own_port = source_port(follower.from_lan(udp(ipv4, 5000)).packets[0])
    br = through_the_br(domain, ipv4)
    assert follower.from_wan(from_peer(domain, ipv4, 5000, own_port, br)).reason is (
        Reason.TRANSLATED
    )


def test_what_is_no_ipv4_from_a_peer(loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.get(mesh("map-e")))
    domain = follower.ce.domain
    source = domain.destination_ipv6(IPv4Address("203.0.113.9"), 5000)
    for next_header, reason in ((17, Reason.NOT_ENCAPSULATED), (60, Reason.EXTENSION_HEADER)):
        packet = packets.ipv6(bytes(40), next_header, source, domain.map_address)
        assert follower.from_wan(packet).reason is reason


# Prefixes that meet


def test_an_fmr_under_the_dmr_and_around_it(loaded_ces: LoadedCes) -> None:
    """RFC 7599 section 8.2: the longest match over both."""
    inside = fmr("2001:db8:ff00:8000::/52", "203.0.113.0/24", 8)
    around = fmr("2001:db8::/32", "198.51.100.0/24", 8)
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    dmr = IPv6Network("2001:db8:ff00::/40")
    follower = Follower(loaded_ces.get(mesh("map-t", (own, inside, around), dmr=dmr)))
    domain = follower.ce.domain
    for ipv4 in ("203.0.113.9", "198.51.100.9", "8.8.8.8"):
        sent = follower.from_lan(udp(ipv4, 5000))
        own_port = source_port(sent.packets[0])
        assert follower.from_wan(from_peer(domain, ipv4, 5000, own_port)).reason is (
            Reason.TRANSLATED
        )


def test_a_rule_for_every_address(mode: str, loaded_ces: LoadedCes) -> None:
    """r = 0: all of the address and the port are in the EA bits, beyond bit 64."""
    everybody = fmr("2001:dba::/32", "0.0.0.0/0", 48, psid_offset=0)
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    follower = Follower(loaded_ces.get(mesh(mode, (own, everybody))))
    sent = follower.from_lan(udp("198.51.100.7", 5000))
    found = destination_of(sent)
    assert found == IPv6Address("2001:dba:c633:6407:1388:c633:6407:1388")
    answer = from_peer(follower.ce.domain, "198.51.100.7", 5000, source_port(sent.packets[0]))
    assert follower.from_wan(answer).reason is Reason.TRANSLATED


def test_more_rules_than_can_be_asked_are_refused(loaded_ces: LoadedCes) -> None:
    nested = tuple(
        fmr(f"2001:db8:50{number:02x}::/48", "203.0.113.4/32", 0, 6, psid, length)
        for number, (psid, length) in enumerate([(1, 8), (1, 7), (1, 6), (1, 5), (1, 4)])
    )
    with pytest.raises(InvalidValue, match=r"more than 4 forwarding rules compete"):
        loaded_ces.get(mesh("map-e", (BMR, *nested)))


# Other places in the domain


def test_the_other_side_of_each_exchange(mode: str, loaded_ces: LoadedCes) -> None:
    """Two datapaths of one domain: what leaves one is what the other lets in."""
    ours = loaded_ces.get(mesh(mode))
    peer_domain = Domain(
        mode=Mode(mode),
        end_user_prefix=IPv6Network("2001:db8:4207::/48"),
        rules=RULES,
        dmr=ours.domain.dmr,
        br=ours.domain.br,
    )
    assert str(peer_domain.ipv4) == "198.51.100.7/32"
    peer = Follower(loaded_ces.get(peer_domain, napt44=Napt44Kind.NONE))
    to_peer = Follower(ours).from_lan(udp("198.51.100.7", 80))
    received = peer.from_wan(to_peer.packets[0])
    assert received.reason is Reason.TRANSLATED
    seen = received.packets[0]
    assert seen[12:16] == packets.v4("192.0.2.18")
    port = int.from_bytes(seen[20:22], "big")
    data = packets.udp("198.51.100.7", "192.0.2.18", 80, port, b"answer")
    answer = peer.from_lan(packets.ipv4(data, packets.UDP, "198.51.100.7", "192.0.2.18"))
    assert answer.reason is Reason.TRANSLATED
    assert ours.from_wan(answer.packets[0]).reason is Reason.TRANSLATED


def prefix_ce(mode: str, layout: InterfaceIdFormat) -> Domain:
    return Domain(
        mode=Mode(mode),
        end_user_prefix=IPv6Network("2001:db8:434d::/48"),
        rules=RULES,
        dmr=DMR if Mode(mode).translates else None,
        br=None if Mode(mode).translates else BR,
        interface_id=layout,
    )


@pytest.mark.parametrize("layout", InterfaceIdFormat)
@pytest.mark.parametrize("host", ["198.19.77.0", "198.19.77.1", "198.19.77.200", "198.19.77.255"])
def test_a_whole_prefix(
    host: str, layout: InterfaceIdFormat, mode: str, loaded_ces: LoadedCes
) -> None:
    """No NAPT44: each host of the prefix with an address of its own, there and back."""
    domain = prefix_ce(mode, layout)
    assert domain.ipv4 == IPv4Network("198.19.77.0/24")
    follower = Follower(loaded_ces.get(domain, napt44=Napt44Kind.NONE))
    for remote, port in (("8.8.8.8", 53), ("203.0.113.9", 5000)):
        data = packets.udp(host, remote, 80, port, b"question")
        outcome = follower.from_lan(packets.ipv4(data, packets.UDP, host, remote))
        assert outcome.reason is Reason.TRANSLATED
        (sent,) = outcome.packets
        assert packets.checksums_are_right(sent)
        own, far_end = IPv6Address(sent[8:24]), IPv6Address(sent[24:40])
        assert own in domain.end_user_prefix
        if domain.mode.translates:
            assert domain.own_ipv4(own) == IPv4Address(host)
            back = packets.udp(far_end, own, port, 80, b"answer")
            answer = packets.ipv6(back, packets.UDP, far_end, own)
        else:
            assert own == domain.map_address
            data = packets.udp(remote, host, port, 80, b"answer")
            inner = packets.ipv4(data, packets.UDP, remote, host)
            answer = packets.ipv6(inner, packets.IPV4, far_end, own)
        outcome = follower.from_wan(answer)
        assert outcome.reason is Reason.TRANSLATED
        assert packets.checksums_are_right(outcome.packets[0])
        assert outcome.packets[0][12:20] == packets.v4(remote) + packets.v4(host)
    outside = packets.udp("198.19.78.1", "8.8.8.8", 80, 53)
    outcome = follower.from_lan(packets.ipv4(outside, packets.UDP, "198.19.78.1", "8.8.8.8"))
    assert outcome.reason is Reason.SOURCE_NOT_OURS


def test_lw4o6_has_no_mesh(loaded_ces: LoadedCes) -> None:
    follower = Follower(loaded_ces.get(LW4O6))
    assert destination_of(follower.from_lan(udp("203.0.113.9", 5000))) == BR


# Any rules


@pytest.fixture(scope="module", params=MODES)
def shifting(request: pytest.FixtureRequest, bpf: None) -> Iterator[LoadedCe]:
    """A datapath whose rules are changed under it: tests only, ``up`` makes new maps."""
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    rules = tuple(fmr(f"2001:db8:40{n:02x}::/48", "203.0.113.0/32", 0) for n in range(12))
    with LoadedCe(mesh(request.param, (own, *rules)), RULES=64, TREE_NODES=1024) as ce:
        yield ce


def learn(ce: LoadedCe, rules: list[MappingRule]) -> Follower:
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    by_psid = ce.maps.fds["rule_by_psid"]
    for key in list(libbpf.keys(by_psid, ce.maps.spec("rule_by_psid").key_size)):
        libbpf.delete(by_psid, key)
    ce.domain = mesh(ce.domain.mode, (own, *rules))
    state.write_rules(ce.maps, ce.domain)
    ce.reset()
    return Follower(ce)


#: Rules that nest and meet: few networks, few PSIDs, two geometries.
MEETING = st.builds(
    lambda number, length, ea, offset, explicit: (number, length, ea, offset, explicit),
    st.integers(0, 255),
    st.sampled_from([24, 28, 30, 31, 32]),
    st.integers(0, 8),
    st.sampled_from([6, 0, 4]),
    st.none() | st.integers(0, 3),
)


def meeting_rules(drawn: list[tuple[int, int, int, int, int | None]]) -> list[MappingRule]:
    rules = []
    for number, (host, length, bits, offset, psid) in enumerate(drawn):
        ipv4 = IPv4Network((f"203.0.113.{host & 0x13}", length), strict=False)
        ea_length = 32 - length + (bits if psid is None else 0)
        ipv6 = f"2001:db8:40{number:02x}::/48" if ea_length <= 80 else "::/0"
        explicit = {} if psid is None else {"psid": psid, "psid_length": 2}
        rules.append(fmr(ipv6, str(ipv4), ea_length, offset, **explicit))
    return rules


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    drawn=st.lists(MEETING, min_size=1, max_size=9),
    asked=st.lists(
        st.tuples(st.integers(0, 255).map(lambda host: host & 0x13), st.integers(0, 65535)),
        min_size=4,
        max_size=12,
    ),
)
def test_rules_that_meet(
    drawn: list[tuple[int, int, int, int, int | None]],
    asked: list[tuple[int, int]],
    shifting: LoadedCe,
) -> None:
    rules = meeting_rules(drawn)
    try:
        follower = learn(shifting, rules)
    except InvalidValue as refused:
        assert "forwarding rules compete" in refused.rule
        return
    domain = follower.ce.domain
    for host, port in asked:
        ipv4 = IPv4Address(f"203.0.113.{host}")
        sent = follower.from_lan(udp(ipv4, port))
        if sent.reason is Reason.PORTS_EXHAUSTED:
            return
        rule = select_forwarding_rule(rules, ipv4, port)
        expected = (
            through_the_br(domain, str(ipv4))
            if rule is None
            else forwarding_destination(rule, ipv4, port, domain.interface_id)
        )
        assert destination_of(sent) == expected
        answer = from_peer(domain, str(ipv4), port, source_port(sent.packets[0]))
        assert follower.from_wan(answer).reason is Reason.TRANSLATED


@pytest.mark.parametrize("mode", MODES)
def test_rules_of_every_length(mode: str, bpf: None) -> None:
    """IPv6 prefixes that part from the first at each bit, and IPv4 prefixes that nest."""
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    base = int(IPv6Address("2001:db9::"))
    rules = tuple(
        MappingRule(
            IPv6Network((base | 1 << (128 - length), length)),
            IPv4Network((f"20.0.{length}.1", min(length - 16, 32)), strict=False),
            max(48 - length, 0),
            forwarding=True,
        )
        for length in range(33, 129)
    )
    with LoadedCe(mesh(mode, (own, *rules))) as ce:
        follower = Follower(ce)
        for rule in rules:
            for ipv4 in {rule.ipv4[0], rule.ipv4[-1]}:
                towards = select_forwarding_rule(rules, ipv4, 5000)
                assert towards is not None
                sent = follower.from_lan(udp(ipv4, 5000))
                expected = forwarding_destination(towards, ipv4, 5000, ce.domain.interface_id)
                assert destination_of(sent) == expected
                answer = from_peer(ce.domain, str(ipv4), 5000, source_port(sent.packets[0]))
                assert follower.from_wan(answer).reason is Reason.TRANSLATED


# Many rules


@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_rules(mode: str, bpf: None) -> None:
    own = MappingRule(BMR.ipv6, BMR.ipv4, BMR.ea_length)
    rules = tuple(
        fmr(
            f"2001:db9:{number:x}::/48",
            f"{IPv4Address(int(IPv4Address('20.0.0.0')) + 256 * number)}/24",
            16,
        )
        for number in range(9000)
    ) + tuple(
        fmr(f"2001:dba:{number:x}::/56", f"21.0.0.{number >> 8}/32", 0, 6, number & 255, 8)
        for number in range(1000)
    )
    chance = random.Random(7597)
    with LoadedCe(mesh(mode, (own, *rules))) as ce:
        follower = Follower(ce)
        for _ in range(60):
            number = chance.randrange(10000)
            if number < 9000:
                ipv4 = IPv4Address(int(rules[number].ipv4[chance.randrange(256)]))
                port = chance.randrange(1024, 65536)
            else:
                ipv4 = rules[number].ipv4[0]
                port = 1024 * chance.randrange(1, 64) + 4 * (rules[number].psid or 0)
            sent = follower.from_lan(udp(ipv4, port))
            expected = forwarding_destination(rules[number], ipv4, port, ce.domain.interface_id)
            assert destination_of(sent) == expected
            own_port = source_port(sent.packets[0])
            answer = from_peer(ce.domain, str(ipv4), port, own_port)
            assert follower.from_wan(answer).reason is Reason.TRANSLATED
