"""A software CE that makes BPF's choices, once it has found them legal."""

from __future__ import annotations

from collections.abc import Sequence

from harness import packets
from harness.ce import LoadedCe
from mapxdp.model.timeouts import MappingFacts, Protocol, Timeouts, timeout_of
from mapxdp.reasons import ReasonClass
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.napt44 import Napt44
from mapxdp.software.verdict import Outcome


class Follower:
    """Runs each packet on both paths and asserts that they agree.

    The one thing BPF may choose is the port of a new mapping: the software path says which
    choices were legal, and follows.
    """

    def __init__(self, ce: LoadedCe) -> None:
        self.ce = ce
        self.last_port: int | None = None
        napt44 = Napt44(
            ce.domain.port_set, ce.domain.reserved_ports, lambda: ce.now, _timeout, self._choose
        )
        settings = CeSettings(
            ipv4_mtu=ce.settings.ipv4_mtu,
            mss=ce.settings.mss,
            translates_ports=ce.settings.translates_ports,
            on_link=ce.settings.on_link,
        )
        self.software = CustomerEdge(ce.domain, settings, napt44)

    def _choose(self, _: Protocol, legal: Sequence[int]) -> int:
        assert self.last_port is not None, "BPF dropped a packet although a port was to be had"
        assert self.last_port in legal, f"BPF chose port {self.last_port}, legal were {legal}"
        return self.last_port

    def from_lan(self, packet: bytes, ether_type: int = 0x0800) -> Outcome:
        actual = self.ce.from_lan(packet, ether_type=ether_type)
        self.last_port = source_port(actual.packets[0]) if actual.packets else None
        return self._compared(actual, self.software.from_lan(packet))

    def from_wan(self, packet: bytes, ether_type: int = 0x86DD) -> Outcome:
        actual = self.ce.from_wan(packet, ether_type=ether_type)
        return self._compared(actual, self.software.from_wan(packet))

    def _compared(self, actual: Outcome, expected: Outcome) -> Outcome:
        assert actual.reason is expected.reason
        if self.ce.domain.mode.translates:
            assert [*map(_without_identification, actual.packets)] == [
                *map(_without_identification, expected.packets)
            ]
        else:
            assert actual.packets == expected.packets
        return actual

    def events_agree(self) -> bool:
        """What happened beside the verdicts, too; races that only BPF can have left out."""
        counted = self.ce.events()
        expected = self.software.events("upstream") + self.software.events("downstream")
        return counted == dict(expected)


def _timeout(protocol: Protocol, facts: MappingFacts) -> int:
    return timeout_of(Timeouts(), protocol, facts)


def source_port(packet: bytes) -> int:
    """Source port or identifier of the IPv6 packet that left, whatever is around it."""
    tunnelled = packet[6] == packets.IPV4
    at, protocol = (60, packet[49]) if tunnelled else (40, packet[6])
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
