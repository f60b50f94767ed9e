# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where generated traffic once found the paths to differ, as short as it can be told."""

from __future__ import annotations

from harness import fragments, packets
from harness.domains import RULES, domain
from harness.exchange import lan_packet
from harness.follower import Follower
from harness.fragments import Part
from harness.loaded import LoadedCes
from harness.policies import policy, shared
from mapxdp.datapath.trial import TrialLink
from mapxdp.reasons import Reason

PORTS = 15
MOST = 20
FULL, WEB, OTHER = "203.0.113.9", "198.51.100.7", "198.51.100.8"


def test_a_limit_of_the_host_comes_before_ports_that_are_exhausted(
    loaded_ces: LoadedCes,
) -> None:
    """One host finds no port towards a server; another, at its limit, is told of that limit."""
    ce_domain = domain("map-t", RULES[PORTS])
    rules = policy(host_ports_min=0, host_flows_max=MOST)
    follower = Follower(loaded_ces.get(ce_domain, flows=64, policy=rules))

    def sent(host: str, number: int, server: str) -> Reason:
        packet = lan_packet("udp", host, 40000 + number, server, 80)
        return follower.from_lan(packet).reason

    for number in range(MOST):
        server = WEB if number < MOST // 2 else OTHER
        assert sent("192.168.1.2", number, server) is Reason.TRANSLATED
    reasons = [sent("192.168.1.3", number, FULL) for number in range(PORTS + 1)]
    assert reasons == [Reason.TRANSLATED] * PORTS + [Reason.PORTS_EXHAUSTED]
    assert sent("192.168.1.2", 99, FULL) is Reason.HOST_LIMIT
    follower.assert_that_events_agree()


def test_a_host_that_lost_a_flow_is_below_its_limit_at_once(loaded_ces: LoadedCes) -> None:
    """Another host takes over a closing flow: what was refused in the same tick goes through."""
    rules = shared(host_flows_max=PORTS, early_reclaim=True)
    follower = Follower(loaded_ces.get(domain("map-t", RULES[PORTS]), flows=64, policy=rules))

    def sent(host: str, number: int, server: str, flags: int = packets.SYN) -> Reason:
        packet = lan_packet("tcp", host, 40000 + number, server, 80, flags)
        return follower.from_lan(packet).reason

    for flags in (packets.SYN, packets.RST):
        for number in range(PORTS):
            assert sent("192.168.1.2", number, FULL, flags) is Reason.TRANSLATED
    follower.advance(rules.timeouts.tcp_early_closing + 2)
    assert sent("192.168.1.2", 99, WEB) is Reason.HOST_LIMIT
    assert sent("192.168.1.3", 99, FULL) is Reason.TRANSLATED
    assert sent("192.168.1.2", 99, WEB) is Reason.TRANSLATED
    follower.assert_that_events_agree()


def test_a_host_at_its_limit_shares_a_closing_port_of_another(loaded_ces: LoadedCes) -> None:
    """Under pressure, when it has none to give back itself."""
    rules = policy(host_ports_max=1, early_reclaim=True)
    follower = Follower(loaded_ces.get(domain("map-t", RULES[PORTS]), flows=64, policy=rules))

    def sent(host: int, port: int = 40000, flags: int = packets.SYN) -> Reason:
        return follower.from_lan(lan_packet("tcp", f"192.168.1.{host}", port, flags=flags)).reason

    for host in range(PORTS):
        assert sent(host) is Reason.TRANSLATED
    assert sent(0, flags=packets.RST) is Reason.TRANSLATED
    assert sent(1, 40001) is Reason.HOST_LIMIT
    follower.advance(rules.timeouts.tcp_early_closing + 2)
    assert sent(1, 40001) is Reason.TRANSLATED
    assert sent(1, 40002) is Reason.HOST_LIMIT
    follower.assert_that_events_agree()


def test_fragments_expire_whatever_becomes_of_the_next_one(
    loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    """The last fragment waits, alone; the others have DF and are too long to be sent."""
    ce = loaded_ces.get(domain("map-t"))
    ce.link = trial_link
    follower = Follower(ce)
    cut, _ = fragments.from_lan("udp", fragments.noise(17000), 40000, 100)
    assert follower.from_lan(cut(Part(16016, 984, False))).reason is Reason.FRAGMENT_KEPT
    follower.advance(16)
    later = bytearray(cut(Part(4368, 1456, True)))
    later[6] |= 0x40
    later[10:12] = bytes(2)
    later[10:12] = packets.internet_checksum(bytes(later[:20])).to_bytes(2, "big")
    assert follower.from_lan(bytes(later)).reason is Reason.TOO_BIG
    follower.assert_that_events_agree()
    assert ce.events()[Reason.FRAGMENTS_EXPIRED] == 1
