"""A software CE that makes BPF's choices, once it has found them legal."""

from __future__ import annotations

import mmap
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness import packets
from harness.ce import LoadedCe, inconsistencies, used_slots
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import PROTOCOL_INDEX, Napt44Kind
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.lifecycle import Endpoint
from mapxdp.software.napt44 import Napt44
from mapxdp.software.verdict import Outcome

_OWNER_STATE_SHIFT = 48
_PROTOCOLS = {
    packets.TCP: Protocol.TCP,
    packets.UDP: Protocol.UDP,
    packets.ICMP: Protocol.ICMP,
}


#: Packets of this process on which both paths agreed, by their reason.
AGREED: Counter[Reason] = Counter()


class Follower:
    """Runs each packet on both paths and asserts that they agree.

    The one thing BPF may choose is the port of a new mapping or flow: the software path says
    which choices were legal, and follows. A flow's follows from its endpoint's home, which the
    software path takes where BPF has it.
    """

    def __init__(self, ce: LoadedCe) -> None:
        self.ce = ce
        self.last_port: int | None = None
        self._packet = b""
        policy = ce.settings.policy
        napt44 = Napt44(
            ce.domain.port_set,
            policy,
            lambda: ce.now,
            reserved=ce.domain.reserved_ports,
            flows=ce.maps.contract.number("FLOWS"),
            choose=self._choose,
            choose_shared=self._choose_shared,
            home=self._home,
        )
        settings = CeSettings(
            ipv4_mtu=ce.settings.ipv4_mtu,
            mss=ce.settings.mss,
            translates_ports=ce.settings.napt44 is Napt44Kind.BPF,
            on_link=ce.settings.on_link,
            policy=policy,
            translation=ce.settings.translation,
            lowest_ipv6_mtu=ce.settings.lowest_ipv6_mtu,
        )
        self.software = CustomerEdge(ce.domain, settings, napt44)

    def _choose(self, protocol: Protocol, legal: Sequence[int]) -> int:
        port = self.last_port
        if port is None:
            port = self._port_without_packet(protocol)
        assert port is not None, "BPF dropped a packet although a port was to be had"
        assert port in legal, f"BPF chose port {port}, legal were {legal}"
        return port

    def _choose_shared(self, protocol: Protocol, legal: Sequence[int]) -> int:
        """The first legal one, unless it is an expired owner's: any of those will do.

        BPF looks around the end of a word of 64 ports before it looks at the next for a free one.
        """
        port = self._choose(protocol, legal)
        is_one_word = len(self.ce.domain.port_set) <= self.ce.maps.contract.number("WORD_BITS")
        is_owned = self.software.napt44._tables.ports[protocol].slot(port) is not None
        assert is_owned or not is_one_word or port == legal[0], f"BPF chose {port} of {legal}"
        return port

    def _home(self, endpoint: Endpoint) -> int:
        """The position that BPF begins at for the packet: home_of() of napt44_share.h."""
        key, protocol = self.ce.settings.hash_key, _PROTOCOLS[self._packet[9]]
        word = _native(endpoint.address) | endpoint.port << 32
        word += self.ce.maps.contract.number(PROTOCOL_INDEX[protocol]) << _OWNER_STATE_SHIFT
        hashed = _mixed(key ^ _mixed((key + word) % (1 << 64)))
        return (hashed >> 32) * len(self.ce.domain.port_set) >> 32

    def _port_without_packet(self, protocol: Protocol) -> int | None:
        """The port BPF gave to a packet that does not show it, from BPF's tables.

        A packet that turned back and was refused for its destination, or an echo message, which
        has no room for the sender's new identifier.
        """
        contract, ports = self.ce.maps.contract, list(self.ce.domain.port_set)
        endpoint, remote = _words(self._packet)
        index = contract.number(PROTOCOL_INDEX[protocol])
        own = contract.number("SLOT_EIM") << _OWNER_STATE_SHIFT | endpoint
        for (slot_index, position), slot in used_slots(self.ce.maps).items():
            if slot_index == index and slot["owner"] == own:
                return ports[position]
        flow = contract.number("SLOT_FLOW") << _OWNER_STATE_SHIFT | endpoint
        for mapping in _used_flows(self.ce.maps):
            slot_index, position = divmod(mapping["slot"], contract.number("SLOTS"))
            if (slot_index, mapping["owner"], mapping["peer"]) == (index, flow, remote):
                return ports[position]
        return None

    def advance(self, ticks: int) -> None:
        """Moves the clock of both; the harness completes BPF's sweep in the new tick."""
        self.ce.advance(ticks)
        self.software.napt44.now()

    def from_lan(self, packet: bytes, ether_type: int = 0x0800) -> Outcome:
        actual = self.ce.from_lan(packet, ether_type=ether_type)
        self._note(packet, actual)
        return self._agreed(actual, self.software.from_lan(packet))

    def from_wan(self, packet: bytes, ether_type: int = 0x86DD) -> Outcome:
        actual = self.ce.from_wan(packet, ether_type=ether_type)
        return self._agreed(actual, self.software.from_wan(packet))

    def _agreed(self, actual: Outcome, expected: Outcome) -> Outcome:
        self._compared(actual, expected)
        AGREED[actual.reason] += 1
        return actual

    def _note(self, packet: bytes, actual: Outcome) -> None:
        """What BPF made of a packet of the LAN, before the software path is asked."""
        self._packet = packet
        has_ports = len(packet) >= 20 and packet[9] in _PROTOCOLS
        self.last_port = self._given_port(actual) if has_ports else None

    def _given_port(self, outcome: Outcome) -> int | None:
        """The source port a packet from the LAN left with; None where no packet shows it."""
        if not outcome.packets or is_error(outcome.packets[0]):
            return None
        (packet,) = outcome.packets
        hairpinned = outcome.reason is Reason.HAIRPINNED
        return source_port_of_hairpin(packet) if hairpinned else source_port(packet)

    def _compared(self, actual: Outcome, expected: Outcome) -> None:
        assert actual.reason is expected.reason, (
            f"BPF: {actual.reason}, software path: {expected.reason}"
        )
        assert actual.answers == expected.answers
        if self.ce.domain.mode.translates or self._is_about_tunnel(actual):
            assert [*map(_without_identification, actual.packets)] == [
                *map(_without_identification, expected.packets)
            ]
        else:
            assert actual.packets == expected.packets

    def _is_about_tunnel(self, outcome: Outcome) -> bool:
        """Whether the CE made an error itself, for one about a packet of its tunnel."""
        source = self.ce.settings.translation.icmp_error_source.packed
        return any(packet[12:16] == source for packet in outcome.packets if packet[0] >> 4 == 4)

    def assert_that_events_agree(self) -> None:
        """What happened beside the verdicts, too; and every count of BPF is right."""
        self.software.napt44.now()
        expected = self.software.events("upstream") + self.software.events("downstream")
        counted = self.ce.events()
        differences = {
            str(reason): (counted.get(reason, 0), expected[reason])
            for reason in {*counted, *expected}
            if counted.get(reason, 0) != expected[reason]
        }
        assert not differences, f"BPF and software counted {differences}"
        assert not inconsistencies(self.ce.maps, self.ce.domain)


def _mixed(x: int) -> int:
    """mixed() of napt44_share.h."""
    for _ in range(2):
        x = (x ^ x >> 32) * 0xD6E8FEB86659FD93 % (1 << 64)
    return x ^ x >> 32


def _words(packet: bytes) -> tuple[int, int]:
    """Endpoint and remote of a packet from the LAN, as BPF's tables hold them."""
    is_echo = packet[9] == packets.ICMP
    at = (packet[0] & 0xF) * 4
    source_at, remote_port = (at + 4, 0) if is_echo else (at, _number(packet, at + 2))
    endpoint = _native(packet[12:16]) | _number(packet, source_at) << 32
    return endpoint, _native(packet[16:20]) | remote_port << 32


def _number(packet: bytes, at: int) -> int:
    return int.from_bytes(packet[at : at + 2], "big")


def _native(address: bytes) -> int:
    return int.from_bytes(address, sys.byteorder)


def _used_flows(maps: MapSet) -> Iterator[dict[str, Any]]:
    spec, layout = maps.spec("flows"), maps.contract["mapping"]
    size = spec.entries * spec.value_size
    with mmap.mmap(maps.fds["flows"], size, prot=mmap.PROT_READ) as memory:
        for start in range(0, size, spec.value_size):
            if any(memory[start : start + 8]):
                yield layout.unpack(memory[start : start + layout.size])


def is_error(packet: bytes) -> bool:
    """Whether a packet on either side is an ICMP error, in a tunnel or not."""
    if packet[0] >> 4 == 6 and packet[6] == packets.IPV4:
        packet = packet[40:]
    if packet[0] >> 4 == 6:
        return packet[6] == packets.ICMPV6 and packet[40] < 128
    return packet[9] == packets.ICMP and packet[(packet[0] & 0xF) * 4] not in (0, 8)


def source_port_of_hairpin(packet: bytes) -> int | None:
    """That of a packet that went back into the LAN; echo messages do not show it."""
    return None if packet[9] == packets.ICMP else _number(packet, (packet[0] & 0xF) * 4)


def source_port(packet: bytes) -> int:
    """Source port or identifier of the IPv6 packet that left, whatever is around it."""
    tunnelled = packet[6] == packets.IPV4
    at, protocol = 40, packet[6]
    if tunnelled:
        at, protocol = 40 + (packet[40] & 0xF) * 4, packet[49]
    if protocol in (packets.ICMP, packets.ICMPV6):
        at += 4
    return int.from_bytes(packet[at : at + 2], "big")


def _without_identification(packet: bytes) -> bytes:
    """A translated packet without what each path may choose: the identification of IPv4.

    With it goes the header checksum, once it was found right.
    """
    if packet[0] >> 4 == 6:
        return packet
    assert packets.internet_checksum(packet[:20]) == 0
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


def is_translated(outcome: Outcome) -> bool:
    return outcome.reason.reason_class is ReasonClass.TRANSLATED
