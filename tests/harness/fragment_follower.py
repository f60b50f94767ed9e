# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A follower for packets that come or leave in pieces."""

from __future__ import annotations

from harness import packets
from harness.ce import LoadedCe
from harness.follower import Follower, is_error, source_port_of_hairpin
from harness.fragments import FRAGMENT
from mapxdp.reasons import Reason
from mapxdp.software.verdict import Outcome


class FragmentFollower(Follower):
    """Takes the identification that BPF chose, too, and compares each packet that leaves."""

    def __init__(self, ce: LoadedCe) -> None:
        super().__init__(ce)
        self.software.choose_identification = self._identification
        self._left: tuple[bytes, ...] = ()
        self._heads: dict[bytes, bytes] = {}

    def _identification(self, old: int) -> int:
        """A whole packet that is cut outside keeps its own, whatever is chosen."""
        assert self._left, "BPF let nothing out of what the software path cuts"
        found = identification_of(self._left[0])
        assert found in self.ce.domain.port_set or found == old
        return found

    def _note(self, packet: bytes, actual: Outcome) -> None:
        """Ports are in the first fragment, whichever completes the datagram."""
        super()._note(packet, actual)
        self._left = actual.packets
        if len(packet) < 20 or not int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return
        datagram = packet[4:6] + packet[9:10] + packet[12:20]
        if not int.from_bytes(packet[6:8], "big") & 0x1FFF:
            self._heads[datagram] = packet
        self._packet = self._heads.get(datagram, packet)

    def _given_port(self, outcome: Outcome) -> int | None:
        if not outcome.packets or is_error(outcome.packets[0]):
            return None
        if outcome.reason is Reason.HAIRPINNED:
            return source_port_of_hairpin(outcome.packets[0])
        return first_port(outcome.packets[0])

    def _compared(self, actual: Outcome, expected: Outcome) -> None:
        assert actual.reason is expected.reason, (
            f"BPF: {actual.reason}, software path: {expected.reason}"
        )
        assert [*map(comparable, actual.packets)] == [*map(comparable, expected.packets)]
        assert actual.answers == expected.answers


def identification_of(packet: bytes) -> int:
    """That of a fragment to the WAN; in a tunnel, of the inner packet."""
    if packet[6] == packets.IPV4:
        return int.from_bytes(packet[44:46], "big")
    if packet[40] == packets.IPV4:
        return int.from_bytes(packet[52:54], "big")
    return int.from_bytes(packet[44:48], "big")


def first_port(packet: bytes) -> int | None:
    """The source port or identifier in a packet that left; None if its transport header is in
    another."""
    at, protocol = 40, packet[6]
    if protocol == FRAGMENT:
        at, protocol = 48, packet[40]
        if protocol != packets.IPV4 and packet[42:44] > b"\0\1":
            return None
    if protocol == packets.IPV4:
        if packet[at + 7] or packet[at + 6] & 0x1F:
            return None
        protocol, at = packet[at + 9], at + (packet[at] & 0xF) * 4
    at += 4 if protocol in (packets.ICMP, packets.ICMPV6) else 0
    return int.from_bytes(packet[at : at + 2], "big")


def comparable(packet: bytes) -> bytes:
    """Without what each path chooses at random: the identification of fragments of a tunnel, of
    whole translated packets, and of pieces of what must not be cut. A header checksum that was
    wrong stays as wrong as it was."""
    if packet[0] >> 4 == 6:
        if packet[6] == FRAGMENT and packet[40] == packets.IPV4:
            return packet[:44] + bytes(4) + packet[48:]
        return packet
    if (packet[6] & 0x3F or packet[7]) and not packet[6] & 0x40:
        return packet
    wrong_by = packets.internet_checksum(packet[: (packet[0] & 0xF) * 4]).to_bytes(2, "big")
    return packet[:4] + packet[6:10] + wrong_by + packet[12:]
