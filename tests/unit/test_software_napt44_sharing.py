# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does an unknown packet from the LAN get what docs/napt44.md says, step by step?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from nat_tools import (
    ACK,
    AUTO,
    EIF,
    EIM,
    FIN,
    HOST,
    ICMP,
    LARGE_SET,
    NO_FLAGS,
    OTHER_HOST,
    PORTS,
    RST,
    SHARED,
    SYN,
    TCP,
    UDP,
    Nat,
    endpoint,
    peer,
    policy,
    refused,
    web,
)

from mapxdp.model.napt44 import MappingPolicy, Napt44Policy, shared_reserve, shared_target
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.timeouts import Protocol, Timeouts
from mapxdp.observed import MappingKind
from mapxdp.reasons import Reason
from mapxdp.software.choices import choose_first, keyed_hash
from mapxdp.software.lifecycle import GRACE, Endpoint

OWN, FLOW = MappingKind.OWN, MappingKind.FLOW
TIMEOUTS = Timeouts()
QUIC = TIMEOUTS.quic_unanswered


def hosts(number: int, first: int = 0) -> list[Endpoint]:
    """Endpoints of as many hosts, none with a port of the small set; homes 0, 1 and so on."""
    return [endpoint(f"192.168.2.{n}", 12 * 100 + n) for n in range(first, first + number)]


def kinds(nat: Nat) -> list[tuple[MappingKind, int]]:
    return [(use.kind, use.port) for use in nat.uses()]


def all_owned(nat: Nat, protocol: Protocol = UDP) -> Nat:
    """Every port has an owner, of a host of its own."""
    for host in hosts(len(PORTS)):
        nat.out(host, protocol=protocol, flags=SYN if protocol is TCP else NO_FLAGS)
    nat.offered.clear()
    nat.news()
    return nat


# Step 1: who is shared-first.


@pytest.mark.parametrize(
    ("mapping", "protocol", "remote_port", "kind"),
    [
        (AUTO, UDP, 1023, FLOW),
        (AUTO, UDP, 1024, OWN),
        (AUTO, TCP, 443, FLOW),
        (AUTO, TCP, 1024, OWN),
        (AUTO, ICMP, 0, OWN),
        (EIM, UDP, 53, OWN),
        (EIM, TCP, 443, OWN),
        (SHARED, UDP, 40000, FLOW),
        (SHARED, TCP, 40000, FLOW),
        (SHARED, ICMP, 0, FLOW),
    ],
)
def test_1_what_is_shared_first(
    mapping: MappingPolicy, protocol: Protocol, remote_port: int, kind: MappingKind
) -> None:
    nat = Nat(policy(mapping))
    nat.out(remote=endpoint("198.51.100.1", remote_port), protocol=protocol, flags=SYN)
    assert [use.kind for use in nat.uses()] == [kind]


# Step 2: what is known.


def test_2_a_flow_is_found_before_an_own_port_by_shared_first_packets_alone() -> None:
    nat = Nat(policy())
    shared = nat.out(remote=web())
    own = nat.out(remote=peer())
    assert shared != own
    assert nat.out(remote=web()) == shared
    assert nat.out(remote=peer()) == own
    assert nat.out(remote=web(1)) == own, "a port the endpoint owns is used rather than a new flow"
    assert len(nat.uses(FLOW)) == 1


def test_2_own_first_packets_look_for_an_own_port_first() -> None:
    nat = Nat(policy())
    shared = nat.out(hosts(1)[0], web())
    for host in hosts(11, 1):
        nat.out(host)
    assert nat.out(HOST, peer(1)) == shared, "a flow, for want of a port of its own"
    nat.wait(TIMEOUTS.udp_unanswered)
    assert nat.out(HOST, peer(1)) == shared, "the flow is known"
    nat.wait(GRACE + 1)
    own = nat.out(HOST, peer(2))
    assert own != shared
    assert len(nat.uses(FLOW)) == 1
    assert nat.out(HOST, peer(1)) == own
    assert nat.back(shared, peer(1)) == HOST, "the flow is still there"


def test_2_own_first_prefers_its_expired_port_to_its_flow() -> None:
    nat = Nat(policy(AUTO))
    shared = nat.out(remote=web())
    own = nat.out(remote=peer())
    nat.wait(QUIC)
    assert nat.out(remote=web()) == shared
    nat.wait(TIMEOUTS.udp_unanswered - QUIC + 1)
    nat.news()
    assert nat.out(remote=peer()) == own
    assert nat.news()[Reason.MAPPING_REVIVED] == 1


def test_2_an_own_port_is_revived_for_a_shared_first_packet() -> None:
    nat = Nat(policy())
    own = nat.out(remote=peer())
    nat.wait(100_000)
    nat.news()
    assert nat.out(remote=web()) == own
    assert nat.news() == {Reason.MAPPING_REVIVED: 1}
    (use,) = nat.uses()
    assert (use.kind, use.timeout, use.age) == (OWN, QUIC, 0), "it begins anew"


def test_2_a_flow_is_revived_in_its_grace_and_gone_after_that() -> None:
    nat = Nat(policy())
    port = nat.out(remote=web())
    nat.wait(QUIC)
    assert nat.back(port, web()) == HOST
    nat.wait(TIMEOUTS.quic_answered + GRACE)
    refused(Reason.MAPPING_EXPIRED, lambda: nat.back(port, web()))
    nat.news()
    assert nat.out(remote=web()) == port
    assert nat.news() == {Reason.MAPPING_REVIVED: 1}
    assert nat.uses()[0].timeout == QUIC, "it begins anew"
    nat.wait(QUIC + GRACE + 1)
    refused(Reason.NO_MAPPING, lambda: nat.back(port, web()))
    assert nat.news() == {Reason.FLOW_RELEASED: 1, Reason.PORT_UNSHARED: 1}
    nat.out(remote=web())
    assert nat.news() == {Reason.FLOW_CREATED: 1, Reason.PORT_SHARED: 1}


# Step 3: what begins nothing.


@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN])
@pytest.mark.parametrize("pick_up", [True, False])
def test_3_a_reset_begins_nothing(flags: int, pick_up: bool) -> None:
    nat = Nat(policy(pick_up=pick_up))
    for remote in (web(), peer()):
        refused(Reason.NO_MAPPING, lambda r=remote: nat.out(HOST, r, flags, TCP))
    assert nat.uses() == []


@pytest.mark.parametrize("flags", [NO_FLAGS, ACK, SYN | ACK, FIN | ACK])
def test_3_without_pick_up_only_an_opening_begins_a_mapping(flags: int) -> None:
    nat = Nat(policy(pick_up=False))
    for remote in (web(), peer()):
        refused(Reason.TCP_NOT_OPENING, lambda r=remote: nat.out(HOST, r, flags, TCP))
    nat.out(remote=web(), flags=SYN, protocol=TCP)
    nat.out(remote=peer(), flags=SYN | FIN, protocol=TCP)
    nat.out(remote=web(), flags=flags, protocol=TCP)
    nat.out(protocol=UDP)
    nat.out(protocol=ICMP)
    assert Nat(policy()).out(flags=flags, protocol=TCP) in PORTS


# Step 4: own-first.


def test_4_1_the_own_number_else_any_free_port() -> None:
    nat = Nat(policy(reserved_ports=frozenset({PORTS[5]})), reserved=[PORTS[0]])
    nat.out(endpoint("192.168.1.2", PORTS[3]))
    nat.out(endpoint("192.168.1.3", PORTS[3]))
    nat.out(endpoint("192.168.1.4", PORTS[5]))
    free = [port for port in PORTS if port not in (PORTS[0], PORTS[3], PORTS[5])]
    assert nat.offered == [[PORTS[3]], free, free[1:]]


def test_4_1_a_shared_port_is_not_free() -> None:
    nat = Nat(policy())
    assert nat.out(endpoint("192.168.1.2", 12_000), web()) == PORTS[0]
    nat.out(endpoint("192.168.1.3", PORTS[0]))
    assert nat.offered == [PORTS[1:]]


def test_4_2_an_expired_port_of_somebody_else() -> None:
    nat = all_owned(Nat(policy(EIM)))
    nat.wait(TIMEOUTS.udp_unanswered)
    nat.out(hosts(1)[0])
    nat.wait(GRACE)
    refused(Reason.PORTS_EXHAUSTED, nat.out)
    nat.wait(1)
    nat.out()
    assert nat.offered == [PORTS[1:]]
    assert nat.news() == {Reason.MAPPING_RECLAIMED: 1, Reason.MAPPING_CREATED: 1}


def test_4_3_what_a_shared_first_packet_would_get() -> None:
    nat = Nat(policy())
    shared = nat.out(hosts(1)[0], web())
    for host in hosts(11, 1):
        nat.out(host)
    assert nat.out(HOST, peer(9)) == shared
    assert [use.host_port for use in nat.uses(FLOW)] == [1200, HOST.port]


def test_4_3_not_under_eim() -> None:
    nat = Nat(policy(EIM))
    for host in hosts(12):
        nat.out(host)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(OTHER_HOST, web()))


# Step 5 and 6: shared-first.


def test_5_a_shared_first_packet_never_owns_a_port() -> None:
    nat = Nat(policy(SHARED))
    for host in hosts(12):
        for number in range(12):
            nat.out(host, web(number))
    assert [use.kind for use in nat.uses()] == [FLOW] * 144
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST, web()))
    nat.out(HOST, web(13))


def test_6_1_the_home_port_while_the_pool_is_small() -> None:
    nat = Nat(policy())  # of 12 ports the pool grows to 6
    assert shared_target(12) == 6
    for number, host in enumerate(hosts(7)):
        assert nat.out(host, web(number)) == PORTS[min(number, 6) % 6]
    assert nat.news() == {Reason.PORT_SHARED: 6, Reason.FLOW_CREATED: 7}


def test_6_1_home_is_taken() -> None:
    nat = Nat(policy())
    nat.out(endpoint("192.168.1.9", PORTS[5]))  # owns port 5
    home_5 = endpoint("192.168.1.8", 12_005)
    assert nat.out(home_5, web()) == PORTS[6], "no shared port, so the first free one from home on"
    assert nat.out(home_5._replace(port=24_005), web(1)) == PORTS[6], "a shared one is preferred"


def test_6_2_the_first_shared_port_from_home_on_without_this_remote() -> None:
    nat = Nat(policy(SHARED))
    for host in hosts(6):
        nat.out(host, web())
    assert kinds(nat) == [(FLOW, port) for port in PORTS[:6]]
    late = endpoint("192.168.1.8", 12_004)
    assert nat.out(late, web(1)) == PORTS[4]
    assert nat.out(late._replace(port=24_004), web(1)) == PORTS[5]
    assert nat.out(late._replace(port=36_004), web(1)) == PORTS[0], "around the end"
    assert nat.out(endpoint("192.168.1.8", 12_011), web(2)) == PORTS[0]


def test_6_2_a_flow_in_its_grace_keeps_its_place() -> None:
    nat = Nat(policy(SHARED))
    for host in hosts(12):
        nat.out(host, web())
    nat.wait(QUIC + GRACE)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST, web()))
    nat.out(hosts(2)[1], web())
    nat.wait(1)
    nat.news()
    nat.out(HOST, web())
    assert nat.news() == {
        Reason.FLOW_RELEASED: 11,
        Reason.PORT_UNSHARED: 11,
        Reason.PORT_SHARED: 1,
        Reason.FLOW_CREATED: 1,
    }


def test_6_3_the_first_free_port_from_home_on() -> None:
    nat = Nat(policy(SHARED))
    for host in hosts(6):
        nat.out(host, web())
    late = endpoint("192.168.1.8", 12_003)
    assert nat.out(late, web()) == PORTS[6]
    assert nat.out(endpoint("192.168.1.8", 12_011), web()) == PORTS[11]
    assert nat.offered_shared[-1] == [PORTS[11], *PORTS[7:11]]


def test_6_4_an_expired_own_port_becomes_shared() -> None:
    nat = all_owned(Nat(policy()))
    nat.wait(TIMEOUTS.udp_unanswered + GRACE)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST, web()))
    nat.wait(1)
    assert nat.out(HOST, web()) == PORTS[40000 % 12]
    assert nat.news() == {
        Reason.MAPPING_RECLAIMED: 1,
        Reason.PORT_SHARED: 1,
        Reason.FLOW_CREATED: 1,
    }
    assert len(nat.uses(OWN)) == 11
    assert len(nat.offered_shared[-1]) == 12


def test_6_before_4_nothing_is_taken_while_a_port_is_shared() -> None:
    """An expired own port is the last resort: 6.2 and 6.3 come first."""
    nat = Nat(policy())
    nat.out(endpoint("192.168.1.9", PORTS[0]))
    nat.wait(100_000)
    assert nat.out(endpoint("192.168.1.8", 12_000), web()) == PORTS[1]


def test_a_port_is_shared_as_long_as_it_has_flows() -> None:
    nat = Nat(policy())
    port = nat.out(endpoint("192.168.1.9", 12_000), web())
    nat.table.choose_shared = lambda _, legal: port
    nat.out(OTHER_HOST, web(1))
    nat.wait(QUIC)
    nat.out(OTHER_HOST, web(1))
    nat.news()
    nat.wait(GRACE + 1)
    assert kinds(nat) == [(FLOW, port)]
    assert nat.news() == {Reason.FLOW_RELEASED: 1}
    nat.wait(QUIC)
    assert kinds(nat) == []
    assert nat.news() == {Reason.FLOW_RELEASED: 1, Reason.PORT_UNSHARED: 1}


def test_the_choices_of_a_ce_that_runs() -> None:
    """Home by a keyed hash: the same for an endpoint, others for others, never twice alike."""
    one, other = keyed_hash(), keyed_hash()
    several = [endpoint("192.168.1.2", number) for number in range(200)]
    assert [one(host) for host in several] == [one(host) for host in several]
    assert [one(host) for host in several] != [other(host) for host in several]
    assert len({one(host) % 12 for host in several}) == 12
    assert choose_first(UDP, [7, 3]) == 7


# Step 7: early reclaim.

EARLY = TIMEOUTS.tcp_early_closing


def closing_owners(rules: Napt44Policy) -> Nat:
    nat = all_owned(Nat(rules), TCP)
    for host in hosts(2):
        nat.out(host, flags=RST, protocol=TCP)
    return nat


@pytest.mark.parametrize("mapping", [AUTO, EIM])
def test_7_a_closing_own_mapping_early(mapping: MappingPolicy) -> None:
    nat = closing_owners(policy(mapping, early_reclaim=True))
    nat.wait(EARLY + GRACE)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(flags=SYN, protocol=TCP))
    nat.wait(1)
    assert nat.out(flags=SYN, protocol=TCP) in PORTS
    assert nat.offered[-1] == PORTS[:2]
    assert nat.news() == {
        Reason.EARLY_RECLAIMED: 1,
        Reason.MAPPING_RECLAIMED: 1,
        Reason.MAPPING_CREATED: 1,
    }


def test_7_not_unless_allowed() -> None:
    nat = closing_owners(policy())
    nat.wait(TIMEOUTS.tcp_closing + GRACE)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(flags=SYN, protocol=TCP))
    nat.wait(1)
    nat.out(flags=SYN, protocol=TCP)
    assert Reason.EARLY_RECLAIMED not in nat.news()


def test_7_a_closing_own_mapping_becomes_shared() -> None:
    nat = closing_owners(policy(early_reclaim=True))
    nat.wait(EARLY + GRACE + 1)
    assert nat.out(HOST, web(), SYN, TCP) in PORTS[:2]
    assert nat.news() == {
        Reason.EARLY_RECLAIMED: 1,
        Reason.MAPPING_RECLAIMED: 1,
        Reason.PORT_SHARED: 1,
        Reason.FLOW_CREATED: 1,
    }


def test_7_a_closing_flow_to_this_remote() -> None:
    nat = Nat(policy(SHARED, early_reclaim=True))
    for host in hosts(12):
        nat.out(host, web(), SYN, TCP)
    nat.out(hosts(4)[3], web(), RST, TCP)
    nat.wait(EARLY + GRACE)
    refused(Reason.PORTS_EXHAUSTED, lambda: nat.out(HOST, web(), SYN, TCP))
    nat.wait(1)
    nat.news()
    port = nat.out(HOST, web(), SYN, TCP)
    assert nat.offered_shared[-1] == [port]
    assert nat.news() == {
        Reason.EARLY_RECLAIMED: 1,
        Reason.FLOW_RELEASED: 1,
        Reason.FLOW_CREATED: 1,
    }
    assert nat.back(port, web(), protocol=TCP) == HOST
    assert len(nat.uses()) == 12
    nat.wait(100_000)
    assert nat.uses() == []
    assert nat.news() == {Reason.FLOW_RELEASED: 12, Reason.PORT_UNSHARED: 12}


def test_7_only_when_all_else_fails() -> None:
    nat = Nat(policy(early_reclaim=True))
    nat.out(endpoint("192.168.1.9", PORTS[0]), flags=SYN, protocol=TCP)
    nat.out(endpoint("192.168.1.9", PORTS[0]), flags=RST, protocol=TCP)
    nat.wait(EARLY + GRACE + 1)
    nat.out(flags=SYN, protocol=TCP)
    assert nat.offered[-1] == PORTS[1:]


# Step 8: nothing.


def test_8_no_port_at_all() -> None:
    refused(Reason.PORTS_EXHAUSTED, all_owned(Nat(policy())).out)
    refused(Reason.PORTS_EXHAUSTED, lambda: all_owned(Nat(policy())).out(HOST, web()))


def test_8_the_table_of_flows_is_full() -> None:
    nat = Nat(policy(host_flows_max=100), flows=2)
    nat.out(HOST, web(0))
    nat.out(HOST, web(1))
    refused(Reason.FLOWS_FULL, lambda: nat.out(HOST, web(2)))
    nat.out(OTHER_HOST, peer())  # which owns a port
    nat.wait(QUIC + GRACE + 1)
    nat.out(HOST, web(2))


def test_8_own_first_needs_no_flow() -> None:
    nat = all_owned(Nat(policy(EIM), flows=0))
    refused(Reason.PORTS_EXHAUSTED, nat.out)
    nat = all_owned(Nat(policy(AUTO), flows=0))
    refused(Reason.HOST_LIMIT, nat.out)  # half of no flows: the host's limit is reached


def test_8_the_limit_of_the_host_is_named_first() -> None:
    nat = Nat(policy(host_flows_max=2), flows=2)
    nat.out(HOST, web(0))
    nat.out(HOST, web(1))
    refused(Reason.HOST_LIMIT, lambda: nat.out(HOST, web(2)))
    refused(Reason.FLOWS_FULL, lambda: nat.out(OTHER_HOST, web(2)))


def test_a_live_mapping_is_never_taken_away() -> None:
    nat = all_owned(Nat(policy(early_reclaim=True)))
    nat.wait(TIMEOUTS.udp_unanswered)
    refused(Reason.PORTS_EXHAUSTED, nat.out)
    assert {nat.back(port, peer()) for port in PORTS} == set(hosts(12))


def test_a_port_of_the_large_set_is_found_from_home_on() -> None:
    ports = list(LARGE_SET)
    nat = Nat(policy(), LARGE_SET)
    late = endpoint("192.168.1.8", 256 * 100 + 255)
    assert nat.out(late, web()) == ports[255]
    assert nat.out(late._replace(port=late.port + 256), web()) == ports[0]
    assert (shared_target(256), shared_reserve(256)) == (64, 16)
    one = PortSet(PortParameters(psid_offset=0, psid_length=16), 2000)
    alone = Nat(policy(), one)
    assert alone.out(HOST, web()) == 2000, "one port alone is shared too"
    assert alone.out(HOST, web(1)) == 2000


def test_a_flow_is_not_endpoint_independent_and_an_own_mapping_is() -> None:
    nat = Nat(replace(policy(), filtering=dict.fromkeys(Protocol, EIF)))
    port = nat.out(HOST, web())
    assert nat.back(port, web()) == HOST
    refused(Reason.FILTERED, lambda: nat.back(port, web(1)))
    refused(Reason.FILTERED, lambda: nat.back(port, web()._replace(port=444)))
    own = nat.out(HOST, peer())
    assert nat.back(own, web(1)) == HOST
