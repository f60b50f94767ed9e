# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does the C text read packets as the software path does, and never an octet behind them?

``frames.c`` is compiled with the address sanitizer. Packets are made whole, then damaged and
cut: what is left lies at the very end of its memory.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import packets
from harness.host_c import flags
from mapxdp.reasons import Reason
from mapxdp.software.transport import TcpFlags, Transport, read_first_transport, read_transport
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    read_ipv4,
    read_ipv6,
    refuse_extension_headers,
)

LIMIT = 1200
V6_SOURCE, V6_DESTINATION = "2001:db8::1", "2001:db8::2"
BY_NUMBER = {reason.number: reason for reason in Reason}


@dataclass(frozen=True)
class Case:
    """A packet of which ``readable`` octets lie in memory, though it may be longer."""

    version: int
    packet: bytes
    readable: int

    @property
    def record(self) -> bytes:
        head = struct.pack("=HHHH", self.version, self.readable, len(self.packet), LIMIT)
        return head + self.packet[: self.readable]


@dataclass(frozen=True)
class Answer:
    """What C made of a case; offsets from the start of the packet."""

    reason: Reason
    source_port: int
    destination_port: int
    mss_found_at: int
    mss_changed_at: int
    checksum: int
    others: int  # a bit for each MSS option of a header with room for several


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Case]], list[Answer]]:
    """Runs cases through C; fails if the sanitizer has anything to say."""

    def without(reason: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(f"tests of C may not be skipped in CI, but {reason}")
        pytest.skip(reason)

    compiler = shutil.which("cc")
    if compiler is None:
        without("cc is missing: apt install gcc libc6-dev")
    made = tmp_path_factory.mktemp("frames") / "frames"
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = [compiler, *sanitizers, "-xc", "-", "-o", made]
    if subprocess.run(probe, input=b"int main(void) { return 0; }", capture_output=True).returncode:
        without("cc has no address sanitizer: apt install libasan8")
    done = subprocess.run(
        [
            *(compiler, "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *(*sanitizers, *flags()),
            *(Path(__file__).with_name("frames.c"), "-o", made),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    def run(cases: list[Case]) -> list[Answer]:
        done = subprocess.run(
            [made],
            input=b"".join(case.record for case in cases),
            capture_output=True,
            env={"ASAN_OPTIONS": "detect_leaks=0"},
        )
        assert done.returncode == 0, done.stderr.decode()
        lines = [[int(number) for number in line.split()] for line in done.stdout.splitlines()]
        assert len(lines) == len(cases)
        return [Answer(BY_NUMBER[reason], *numbers) for reason, *numbers in lines]

    return run


#: No operation, end, MSS of 1460, of 536, too short, window scale, cut off, and of no length.
PIECES = [
    *(b"\1", b"\0", b"\2\4\5\xb4", b"\2\4\2\x18", b"\2\3\5"),
    *(b"\3\3\7", b"\2", b"\2\4\5", b"\x09\x00", b"\x09"),
]


def options(chance: random.Random) -> bytes:
    """TCP options of 0 to 40 octets: sound pieces, broken pieces, and noise."""
    made = b"".join(
        chance.choice(PIECES) if chance.random() < 0.9 else chance.randbytes(chance.randint(1, 5))
        for _ in range(chance.randint(0, 14))
    )
    length = min(len(made) - len(made) % 4, 40)
    return made[:length]


def whole_packets(chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """A sound packet of each kind, again and again."""
    while True:
        ports = chance.getrandbits(16), chance.getrandbits(16)
        flags = chance.choice([packets.SYN, packets.SYN | packets.ACK, packets.ACK])
        payload = chance.randbytes(chance.choice([0, 0, 1, 9]))
        v4, v6 = ("192.0.2.1", "192.0.2.2"), (V6_SOURCE, V6_DESTINATION)
        for _ in range(3):
            tcp = packets.tcp(*v4, *ports, flags=flags, options=options(chance), payload=payload)
            yield 4, packets.ipv4(tcp, packets.TCP, *v4)
            tcp = packets.tcp(*v6, *ports, flags=flags, options=options(chance), payload=payload)
            yield 6, packets.ipv6(tcp, packets.TCP, *v6)
        yield 4, packets.ipv4(packets.udp(*v4, *ports, payload), packets.UDP, *v4)
        yield 6, packets.ipv6(packets.udp(*v6, *ports, payload), packets.UDP, *v6)
        yield 4, packets.ipv4(packets.echo(ports[0], payload=payload), packets.ICMP, *v4)
        yield 6, packets.ipv6(packets.echo6(*v6, ports[0], payload=payload), packets.ICMPV6, *v6)


def damaged(packet: bytes, chance: random.Random) -> bytes:
    """The packet with an octet or two changed, mostly of the headers."""
    data = bytearray(packet)
    for _ in range(chance.randint(1, 2)):
        data[chance.randrange(min(len(data), 62))] = chance.choice(
            [0, 1, 4, 6, 17, 44, 50, 58, 60, 0x40, 0x45, 0x46, 0x60, 255, chance.getrandbits(8)]
        )
    return bytes(data)


def read(version: int, packet: bytes) -> Transport:
    """What the software path reads in a packet, or Refused."""
    if version == 4:
        ipv4 = read_ipv4(packet)
        if ipv4.is_fragment and ipv4.options:
            raise Refused(Reason.FRAGMENT_INVALID)
        of_what = read_first_transport if ipv4.is_fragment else read_transport
        return of_what(ipv4.protocol, ipv4.payload, PROTO_ICMP)
    ipv6 = read_ipv6(packet)
    refuse_extension_headers(ipv6.next_header)
    return read_transport(ipv6.next_header, ipv6.payload, PROTO_ICMPV6)


def others_of(transport: Transport) -> int:
    """The MSS options of a SYN, if there may be several."""
    if not transport.tcp_flags & TcpFlags.SYN or transport.data[12] >> 4 <= 6:
        return 0
    return sum(1 << at - 22 for at in transport._all_mss())


def assert_same(case: Case, answer: Answer) -> None:
    try:
        transport = read(case.version, case.packet)
    except Refused as refused:
        assert answer.reason is refused.reason
        return
    assert answer.reason is Reason.TRANSLATED
    ports = transport.source_port, transport.destination_port
    assert (answer.source_port, answer.destination_port) == ports
    assert answer.others == others_of(transport)
    clamped = transport.with_mss_at_most(LIMIT)
    if clamped is transport or answer.others:
        assert answer.mss_changed_at == 0
        return
    at = answer.mss_changed_at - ((case.packet[0] & 0xF) * 4 if case.version == 4 else 40)
    data = bytearray(transport.data)
    data[at : at + 2] = LIMIT.to_bytes(2, "big")
    data[16:18] = answer.checksum.to_bytes(2, "big")
    assert data.hex() == clamped.data.hex()


def test_whole_and_damaged_packets(answers: Callable[[list[Case]], list[Answer]]) -> None:
    chance = random.Random(7597)
    cases = []
    for _, (version, packet) in zip(range(6000), whole_packets(chance), strict=False):
        cases.append(Case(version, packet, len(packet)))
        changed = damaged(packet, chance)
        cases.append(Case(version, changed, len(changed)))
    found = answers(cases)
    for case, answer in zip(cases, found, strict=True):
        assert_same(case, answer)
    assert sum(answer.mss_changed_at > 0 for answer in found) > 30
    assert sum(answer.others > 0 for answer in found) > 500
    assert len({answer.reason for answer in found}) >= 9


def test_packets_cut_at_every_octet(answers: Callable[[list[Case]], list[Answer]]) -> None:
    """A frame that was cut short, as it is seen from its own length."""
    chance = random.Random(7599)
    cases = [
        Case(version, packet[:length], length)
        for _, (version, packet) in zip(range(300), whole_packets(chance), strict=False)
        for length in range(len(packet))
    ]
    for case, answer in zip(cases, answers(cases), strict=True):
        assert answer.reason is not Reason.TRANSLATED
        assert_same(case, answer)


def test_octets_that_cannot_be_read_are_not(
    answers: Callable[[list[Case]], list[Answer]],
) -> None:
    """The frame is whole, but only its first octets lie in memory: the rest is elsewhere."""
    chance = random.Random(6052)
    cases = [
        Case(version, packet, readable)
        for _, (version, packet) in zip(range(300), whole_packets(chance), strict=False)
        for readable in range(len(packet))
    ]
    for case, answer in zip(cases, answers(cases), strict=True):
        if answer.mss_changed_at:
            assert answer.mss_changed_at + 2 <= case.readable
