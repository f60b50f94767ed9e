# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF and the software path on ICMP errors of all kinds: the same reason, the same octets.

What is quoted has crossed before, or nearly: with octets changed, cut, with options, a Fragment
header or extensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import errors, packets, traffic
from harness.domains import BR, EXAMPLE_RULE, LW4O6, domain
from harness.exchange import lan_packet
from harness.follower import Follower, is_translated, source_port
from harness.loaded import LoadedCes
from harness.packets import SERVER
from harness.playing import own_address
from harness.policies import policy, shared, strict
from mapxdp.datapath.tables import Napt44Kind
from mapxdp.model.rule import MappingRule
from mapxdp.reasons import Reason

EXAMPLES = int(os.environ.get("MAPXDP_EXAMPLES", "25"))
ERRORS_OF_EACH = 20
pytestmark = pytest.mark.timeout(600 + EXAMPLES)
#: The server's addresses are those of other CEs.
PEERS = MappingRule(
    IPv6Network("2001:db8:4200::/40"), IPv4Network("198.51.100.0/24"), 8, forwarding=True
)
DOMAINS = {
    "map-t": domain("map-t"),
    "map-e": domain("map-e"),
    "lw4o6": LW4O6,
    "map-t mesh": replace(domain("map-t"), rules=(EXAMPLE_RULE, PEERS)),
    "map-e mesh": replace(domain("map-e"), rules=(EXAMPLE_RULE, PEERS)),
}
POLICIES = [policy(), strict(), shared()]
MTUS = [0, 68, 1260, 1279, 1280, 1400, 1480, 1500, 9000, 65535, 1 << 31]
OPTIONS = [None, None, None, b"\x01" * 4, b"\x01" * 20, b"\x01" * 40]
LENGTHS = [27, 28, 47, 48, 57, 58, 88, 128, 136, 548, 1232]


@dataclass
class Seen:
    """What has crossed, both ways."""

    left: list[bytes] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)


def exchange(follower: Follower, random: Random, seen: Seen) -> None:
    """A packet of the LAN, to a server or to another host's port, and the answer."""
    protocol, size = random.choice(["udp", "tcp", "echo"]), random.choice([0, 5, 40, 1300])
    host, port = f"192.168.1.{random.randint(2, 4)}", 40000 + random.randint(0, 3)
    remote, remote_port = SERVER, random.choice([80, 5000])
    if follower.ce.settings.napt44 is Napt44Kind.NONE:
        ports = follower.ce.domain.port_set
        host, port = own_address(follower), ports.port_at(random.randrange(len(ports)))
    elif seen.left and protocol != "echo" and random.random() < 0.3:
        remote, remote_port = own_address(follower), source_port(random.choice(seen.left))
    packet = lan_packet(protocol, host, port, remote, remote_port, payload=bytes(size))
    outcome = follower.from_lan(packet)
    if outcome.reason is Reason.HAIRPINNED:
        seen.arrived += outcome.packets
    elif outcome.packets:
        seen.left += outcome.packets
        public = source_port(outcome.packets[0])
        kind = "echo reply" if protocol == "echo" else protocol
        step = traffic.FromWan(kind, public, remote, remote_port, packets.ACK, b"", b"", 0, 0)
        answer = traffic.downstream_packet(follower.ce.domain, step, public)
        seen.arrived += follower.from_wan(answer).packets


def spoiled(packet: bytes, random: Random) -> bytes:
    """Sometimes with another octet somewhere in its headers."""
    if random.random() < 0.15 and packet:
        at = random.randrange(min(len(packet), 80))
        packet = packet[:at] + bytes([random.randrange(256)]) + packet[at + 1 :]
    return packet


def with_options(packet: bytes, options: bytes | None) -> bytes:
    """An IPv4 packet with a right header checksum, and perhaps options."""
    size = max(20, (packet[0] & 0xF) * 4)
    header, rest = bytearray(packet[:20]), packet[size:]
    if options is None:
        options = packet[20:size]
    else:
        total = int.from_bytes(packet[2:4], "big") + len(options)
        header[0] = 0x45 + len(options) // 4
        header[2:4] = min(total, 65535).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = packets.internet_checksum(bytes(header) + options).to_bytes(2, "big")
    return bytes(header) + options + rest


def quoted4(packet: bytes, random: Random) -> bytes:
    packet = spoiled(packet, random)
    if random.random() < 0.3:
        packet = packet[:6] + bytes([random.choice([0, 0x20, 0x40, 0x80])]) + packet[7:]
    return with_options(packet, random.choice(OPTIONS))


def quoted6(packet: bytes, random: Random) -> bytes:
    if random.random() < 0.2:
        header = bytes([packet[6], 0, 0, random.choice([0, 1, 1, 9])]) + random.randbytes(4)
        packet = packet[:6] + b"\x2c" + packet[7:40] + header + packet[40:]
    return spoiled(packet, random)


def quoted_in_tunnel(packet: bytes, random: Random) -> bytes:
    outer, inner = packet[:40], quoted4(packet[40:], random)
    if random.random() < 0.2:
        outer = outer[:6] + b"\x3c" + outer[7:] + bytes.fromhex("0400040104010100")
    return spoiled(outer, random) + inner


def body_and_length(quoted: bytes, unit: int, random: Random) -> tuple[bytes, int]:
    """The quote, cut or not, and what follows it; and its length in units as it is said to be."""
    if random.random() < 0.6:
        quoted = quoted[: random.choice([random.randrange(len(quoted) + 1), *LENGTHS])]
    if random.random() < 0.7:
        return quoted, 0
    units = random.choice([128 // unit, -(-max(128, len(quoted)) // unit), random.randrange(200)])
    objects = errors.OBJECTS * random.choice([0, 1, 1, 10, 40]) + bytes(random.randrange(4))
    return quoted[: units * unit].ljust(units * unit, b"\0") + objects, units & 0xFF


def word4(kind: tuple[int, int], length: int, random: Random) -> int:
    if kind[0] == 12:
        return random.randrange(24) << 24 | length << 16
    return length << 16 | (random.choice(MTUS) & 0xFFFF if kind[0] == 3 else 0)


def word6(kind: tuple[int, int], length: int, random: Random) -> int:
    if kind[0] == 2:
        return random.choice(MTUS)
    return random.choice([*range(44), 44, 44, 1 << 20]) if kind[0] == 4 else length << 24


def kind4(random: Random) -> tuple[int, int]:
    return random.choice([3, 3, 3, 11, 12, random.randrange(256)]), random.randrange(17)


def kind6(random: Random) -> tuple[int, int]:
    return random.choice([1, 1, 2, 3, 4, random.randrange(140)]), random.choice([0, 0, 0, 1, 4, 5])


def from_lan(follower: Follower, seen: Seen, random: Random) -> bytes:
    packet = random.choice(seen.arrived)
    kind = kind4(random)
    body, length = body_and_length(quoted4(packet, random), 4, random)
    host = ".".join(map(str, packet[16:20]))
    return errors.from_lan(
        kind,
        body[:1480],
        word=word4(kind, length, random),
        source=random.choice([host, "192.168.1.1"]),
        destination=random.choice([SERVER, errors.ROUTER, own_address(follower)]),
        ttl=random.randrange(256),
        tos=random.randrange(256),
    )


def from_wan(follower: Follower, seen: Seen, random: Random) -> bytes:
    ce_domain, packet = follower.ce.domain, random.choice(seen.left)
    if not ce_domain.mode.translates and random.random() < 0.5:
        kind = kind4(random)
        body, length = body_and_length(quoted4(packet[40:], random), 4, random)
        word = word4(kind, length, random)
        source = random.choice([errors.ROUTER, errors.ROUTER, "127.0.0.1"])
        return errors.in_tunnel(ce_domain, kind, body, word=word, source=source)
    kind = kind6(random)
    quote = quoted6 if ce_domain.mode.translates else quoted_in_tunnel
    body, length = body_and_length(quote(packet, random), 8, random)
    return errors.from_wan(
        ce_domain,
        kind,
        body,
        word=word6(kind, length, random),
        source=random.choice([errors.ROUTER6, BR]),
        hop_limit=random.randrange(256),
        traffic_class=random.randrange(256),
    )


def one_error(follower: Follower, seen: Seen, random: Random) -> None:
    upward = bool(seen.arrived) and random.random() < 0.5
    make: Callable[[Follower, Seen, Random], bytes] = from_lan if upward else from_wan
    packet = make(follower, seen, random)
    if random.random() < 0.05:
        at = random.randrange(min(24 if upward else 60, len(packet) - 1), len(packet))
        packet = packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]
    outcome = (follower.from_lan if upward else follower.from_wan)(packet)
    if is_translated(outcome):
        errors.assert_sound(outcome.packets[0])


@pytest.mark.parametrize("name", DOMAINS)
def test_errors(name: str, loaded_ces: LoadedCes) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.randoms(use_true_random=True))
    def check(random: Random) -> None:
        changes = {
            "policy": random.choice(POLICIES),
            "napt44": random.choice([Napt44Kind.BPF, Napt44Kind.BPF, Napt44Kind.NONE]),
        }
        follower, seen = Follower(loaded_ces.get(DOMAINS[name], **changes)), Seen()
        for _ in range(6):
            exchange(follower, random, seen)
        for _ in range(ERRORS_OF_EACH):
            if random.random() < 0.02:
                follower.advance(random.choice([1, 30, 300]))
            one_error(follower, seen, random)
        follower.assert_that_events_agree()

    check()
