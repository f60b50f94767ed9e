# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where generated traffic once found the paths to differ, as short as it can be told."""

from __future__ import annotations

import pytest

from harness import fragments, packets
from harness.alterations import altered
from harness.domains import RULES, domain, mesh
from harness.exchange import HIGH, lan_packet, port_given
from harness.follower import Follower
from harness.fragment_follower import FragmentFollower
from harness.fragment_traffic import DONT_FRAGMENT, MORE
from harness.fragments import Cut, Part, parts_of
from harness.loaded import LoadedCes
from harness.packets import SERVER
from harness.policies import policy, shared, strict
from harness.traffic import FromWan, downstream_packet
from mapxdp.datapath.trial import TrialLink
from mapxdp.reasons import Reason
from mapxdp.software.wire import next_header_of

PORTS = 15
MOST = 20
CONGESTION_EXPERIENCED = 3
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


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_a_complete_datagram_that_is_refused_is_quoted_as_it_would_have_left(
    mode: str, loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    """Not as one packet, which it is nowhere."""
    ce = loaded_ces.get(domain(mode), policy=strict(host_ports_max=1))
    ce.link = trial_link
    follower = FragmentFollower(ce)
    assert follower.from_lan(lan_packet("udp", port=1)).reason is Reason.TRANSLATED
    cut, length = fragments.from_lan("udp", fragments.noise(4000), 2)
    assert follower.from_lan(cut(Part(1448, length - 1448, False))).reason is Reason.FRAGMENT_KEPT
    outcome = follower.from_lan(cut(Part(0, 1448, True)))
    assert outcome.reason is Reason.HOST_LIMIT
    (answer,) = outcome.answers
    assert int.from_bytes(answer[30:32], "big") < 1500
    assert answer[34] & 0x20


def following_fragments(loaded_ces: LoadedCes, trial_link: TrialLink) -> FragmentFollower:
    ce = loaded_ces.get(domain("map-e"))
    ce.link = trial_link
    return FragmentFollower(ce)


def too_long_for_the_kernel(follower: FragmentFollower, flags: int) -> bytes:
    """A packet to a port that has just been given."""
    port = port_given(follower.from_lan(lan_packet("udp")))
    own = str(follower.ce.domain.ipv4_address)
    data = packets.udp(SERVER, own, HIGH, port, fragments.noise(20000))
    return packets.ipv4(data, packets.UDP, SERVER, own, fragment=flags)


def cut_outside(follower: FragmentFollower, inner: bytes, **fields: int) -> Cut:
    """As it comes from the BR."""
    place = follower.ce.domain
    assert place.br is not None
    return fragments.ipv6_cut(inner, packets.IPV4, place.br, place.map_address, **fields)


@pytest.mark.parametrize("flags", [0, DONT_FRAGMENT], ids=["may be cut", "must not be"])
def test_a_packet_cut_outside_that_is_too_long_for_the_kernel(
    flags: int, loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    """It arrives in two pieces, which say of DF what the packet said."""
    follower = following_fragments(loaded_ces, trial_link)
    inner = too_long_for_the_kernel(follower, flags)
    numbers = set()
    for identification in range(3):
        cut = cut_outside(follower, inner, identification=identification)
        first, *later = parts_of(len(inner), 1400)
        for part in later:
            assert follower.from_wan(cut(part)).reason is Reason.FRAGMENT_KEPT
        pieces = follower.from_wan(cut(first)).packets
        assert [int.from_bytes(piece[6:8], "big") & 0xE000 for piece in pieces] == [
            flags | MORE,
            flags,
        ]
        (number,) = {piece[4:6] for piece in pieces}
        numbers.add(number)
    # RFC 6864: what must not be cut may have the same number as all others; not so its pieces.
    assert len(numbers) > 1 if flags else numbers == {inner[4:6]}
    follower.assert_that_events_agree()


def test_a_packet_cut_outside_that_is_dropped_leaves_its_buffer(
    loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    """Its inner packet is looked at only when it is whole: here it has lost a mark (RFC 6040)."""
    follower = following_fragments(loaded_ces, trial_link)
    inner = too_long_for_the_kernel(follower, flags=0)
    outer = cut_outside(follower, inner, traffic_class=CONGESTION_EXPERIENCED)
    *first, last = parts_of(len(inner), 1400)
    for part in first:
        assert follower.from_wan(outer(part)).reason is Reason.FRAGMENT_KEPT
    assert follower.from_wan(outer(last)).reason is Reason.CONGESTION_MARK_LOST
    follower.advance(100)
    cut, _ = fragments.from_lan("udp", fragments.noise(4000), 40000, 100)
    assert follower.from_lan(cut(Part(1448, 1448, True))).reason is Reason.FRAGMENT_KEPT
    follower.assert_that_events_agree()


def test_a_source_that_is_wrong_behind_extension_headers(
    loaded_ces: LoadedCes, trial_link: TrialLink
) -> None:
    """They are gone by the time that it shows, and so from the error about the packet."""
    ce = loaded_ces.get(mesh("map-t", RULES[PORTS]), lowest_ipv6_mtu=1280)
    ce.link = trial_link
    follower = FragmentFollower(ce)
    port = next(iter(ce.domain.port_set))
    step = FromWan("udp", port, "203.0.113.50", HIGH, 0, b"y", b"", 0, 0)
    packet = altered(downstream_packet(ce.domain, step, port), [("extensions", 0, False)])
    forged = packet[:23] + bytes([packet[23] ^ 1]) + packet[24:]
    outcome = follower.from_wan(forged)
    assert outcome.reason is Reason.SOURCE_INCONSISTENT
    (error,) = outcome.answers
    assert next_header_of(error[48:]) == packets.UDP != next_header_of(forged)
    follower.assert_that_events_agree()
