"""Generated traffic of a household: steps for hypothesis, and the packets they stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

from hypothesis import strategies as st

from harness import packets
from harness.domains import BR
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import (
    Filtering,
    Forward,
    LogLevel,
    MappingPolicy,
    Napt44Policy,
    Refusal,
)
from mapxdp.model.timeouts import Protocol, Timeouts
from mapxdp.observed import Mapping

#: The datapath does not tell the first and the last one apart.
HOSTS = ["192.168.1.2", "192.168.1.3", "10.0.0.9", "192.168.17.2"]
SERVERS = ["198.51.100.7", "203.0.113.9", "8.8.8.8"]
MARTIANS = ["0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.5", "240.0.0.1", "255.255.255.255"]
LAST_PORT = -1


@dataclass(frozen=True)
class FromLan:
    protocol: str
    host: str
    port: int
    server: str
    server_port: int
    flags: int
    payload: bytes
    options: bytes
    tos: int


@dataclass(frozen=True)
class FromWan:
    """``port`` may be LAST_PORT: that of the last packet that left."""

    protocol: str
    port: int
    server: str
    server_port: int
    flags: int
    payload: bytes
    options: bytes
    tos: int
    outer: int


@dataclass(frozen=True)
class Burst:
    """As many endpoints of one host, one after the other, to one server or to all."""

    first: FromLan
    count: int
    spread: bool

    def packets(self) -> list[FromLan]:
        return [
            dataclasses.replace(
                self.first,
                port=(self.first.port + number) % 65536,
                server=SERVERS[number % len(SERVERS)] if self.spread else self.first.server,
            )
            for number in range(self.count)
        ]


@dataclass(frozen=True)
class Talk:
    """An endpoint and its server, turn by turn; what the packets carry is in the two."""

    first: FromLan
    answer: FromWan
    flags: tuple[int, ...]

    def packets(self) -> Iterator[FromLan | FromWan]:
        for flags in self.flags:
            yield dataclasses.replace(self.first, flags=flags)
            yield dataclasses.replace(
                self.answer,
                protocol=self.first.protocol,
                port=LAST_PORT,
                server=self.first.server,
                server_port=self.first.server_port,
                flags=flags,
            )


@dataclass(frozen=True)
class Again:
    """A packet about the ``number``-th mapping there is; what ``way`` leaves open is in the two.

    ``own``, ``elsewhere``: of its endpoint to its remote, or to any. ``rival``, ``hairpin``: of
    any endpoint to its remote, or to its port. ``peer``, ``address``, ``stranger``: to its port,
    of its remote, of another port of it, or of anybody.
    """

    way: str
    number: int
    lan: FromLan
    wan: FromWan

    def about(self, mapping: Mapping, own: str) -> FromLan | FromWan:
        protocol = _NAMES[mapping.protocol]
        if self.way in ("peer", "address", "stranger"):
            if mapping.protocol is Protocol.ICMP:
                protocol = "echo reply"
            packet = dataclasses.replace(self.wan, protocol=protocol, port=mapping.port)
            if self.way != "stranger":
                packet = dataclasses.replace(packet, server=str(mapping.peer))
            if self.way == "peer":
                packet = dataclasses.replace(packet, server_port=mapping.peer_port)
            return packet
        sent = dataclasses.replace(self.lan, protocol=protocol)
        if self.way in ("own", "elsewhere"):
            sent = dataclasses.replace(sent, host=str(mapping.host), port=mapping.host_port)
        if self.way in ("own", "rival"):
            remote, port = str(mapping.peer), mapping.peer_port
            sent = dataclasses.replace(sent, server=remote, server_port=port)
        if self.way == "hairpin":
            sent = dataclasses.replace(sent, server=own, server_port=mapping.port)
        return sent


@dataclass(frozen=True)
class Each:
    """The same packet about every mapping there is, up to a number of them."""

    again: Again
    most: int


@dataclass(frozen=True)
class Wait:
    ticks: int


Step = FromLan | FromWan | Burst | Talk | Again | Each | Wait


@dataclass(frozen=True)
class Household:
    """What a CE is told, and what happens then."""

    policy: Napt44Policy
    steps: list[Step]


_NAMES = {Protocol.TCP: "tcp", Protocol.UDP: "udp", Protocol.ICMP: "echo"}
WAYS = ["own", "elsewhere", "rival", "hairpin", "peer", "address", "stranger"]

TCP_OPTIONS = st.sampled_from(
    [
        b"",
        bytes([2, 4, 0x05, 0xB4]),
        bytes([1, 2, 4, 0x05, 0xB4, 0, 0, 0]),
        bytes([1, 1, 2, 4, 0x23, 0x28, 1, 1]),
        bytes([3, 3, 7, 2, 4, 0xFF, 0xFF, 0]),
        bytes([2, 4, 0x02, 0x18]),
        bytes([4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 0x05, 0xB4]),
        bytes([2, 3, 0x05, 0xB4, 2, 4, 5, 200]),
        bytes([9, 1, 2, 4]),
        bytes([8, 40, 2, 4]),
        bytes([1] * 37 + [2, 4, 9]),
        bytes([1] * 36 + [2, 4, 9, 9]),
        bytes([0, 2, 4, 9, 9, 0, 0, 0]),
    ]
)
TCP_FLAGS = st.sampled_from(
    [
        packets.SYN,
        packets.SYN | packets.ACK,
        packets.ACK,
        packets.FIN | packets.ACK,
        packets.RST,
        packets.RST | packets.ACK,
        0,
        0xFF,
    ]
)
PROTOCOLS = st.sampled_from(["tcp", "udp", "echo", "echo reply"])
#: Few at a time, so that they meet each other.
FEW_PROTOCOLS = [["tcp"], ["tcp"], ["udp"], ["udp"], ["echo"], ["tcp", "udp"]]
TOS = st.sampled_from([0, 1, 2, 3, 0xB8, 0xFF])
PAYLOADS = st.sampled_from([b"", b"x", b"odd", bytes(40), b"\xff" * 37])
#: Web, QUIC, DNS, NTP, and what is nobody's; most are below 1024, so towards them ports are shared.
SERVER_PORTS = [80, 443, 53, 123, 1023, 1024, 5000, 0, 65535]
#: Seconds that are all different: no timeout is taken for another.
SHORT = Timeouts(29, 97, 41, 19, 13, 53, 7, 3, 11, 23, 17)


def from_lan(
    ce_domain: Domain, protocols: st.SearchStrategy[str] = PROTOCOLS
) -> st.SearchStrategy[FromLan]:
    """From few endpoints to few remotes, sometimes to a port of the CE's own address."""
    ports, own = list(ce_domain.port_set), str(ce_domain.ipv4.network_address)
    return st.builds(
        lambda remote, **others: FromLan(server=remote[0], server_port=remote[1], **others),
        remote=_remotes(ce_domain),
        protocol=protocols,
        host=st.sampled_from([*HOSTS * 30, *MARTIANS, own]),
        port=st.sampled_from([40000, 40001, 40002, 53, ports[0], ports[5], ports[-1]]),
        flags=TCP_FLAGS,
        payload=PAYLOADS,
        options=TCP_OPTIONS,
        tos=TOS,
    )


def from_wan(
    ce_domain: Domain, protocols: st.SearchStrategy[str] = PROTOCOLS
) -> st.SearchStrategy[FromWan]:
    ports = list(ce_domain.port_set)
    return st.builds(
        lambda remote, **others: FromWan(server=remote[0], server_port=remote[1], **others),
        remote=_remotes(ce_domain),
        protocol=protocols,
        port=st.one_of(st.sampled_from(ports), st.integers(0, 65535), st.just(LAST_PORT)),
        flags=TCP_FLAGS,
        payload=PAYLOADS,
        options=TCP_OPTIONS,
        tos=TOS,
        outer=TOS,
    )


def _remotes(ce_domain: Domain) -> st.SearchStrategy[tuple[str, int]]:
    """Servers, and now and then this CE, or what is no address on the Internet."""
    own, ports = str(ce_domain.ipv4.network_address), list(ce_domain.port_set)
    servers = [(server, port) for server in SERVERS for port in SERVER_PORTS]
    inside = [(own, port) for port in [*ports[:8], ports[-1], 81]]
    return st.sampled_from([*servers * 8, *inside * 2, *((martian, 80) for martian in MARTIANS)])


def _weighted(*choices: tuple[int, st.SearchStrategy]) -> st.SearchStrategy:
    """One of several, each as often as its number says."""
    numbers = [number for number, (weight, _) in enumerate(choices) for _ in range(weight)]
    return st.sampled_from(numbers).flatmap(lambda number: choices[number][1])


def talks(
    lan: st.SearchStrategy[FromLan], wan: st.SearchStrategy[FromWan]
) -> st.SearchStrategy[Talk]:
    """Mostly what opens nothing and closes nothing."""
    usual = packets.ACK
    flags = st.sampled_from([usual] * 8 + [packets.SYN, packets.FIN | usual, packets.RST])
    return st.builds(Talk, lan, wan, st.lists(flags, min_size=2, max_size=6).map(tuple))


def waits(timeouts: Timeouts) -> st.SearchStrategy[Wait]:
    """Around every timeout there is."""
    lengths = sorted({getattr(timeouts, field.name) for field in fields(timeouts)})
    around = [length + more for length in lengths for more in (-1, 0, 1, 2)]
    return st.builds(Wait, st.one_of(st.sampled_from([0, 1]), st.sampled_from(around)))


def policies(ce_domain: Domain) -> st.SearchStrategy[Napt44Policy]:
    """Everything that can be chosen, and limits so narrow that they are met."""
    ports = [port for port in ce_domain.port_set if port not in ce_domain.reserved_ports]

    def each(of: type[MappingPolicy | Filtering]) -> st.SearchStrategy:
        return st.fixed_dictionaries({protocol: st.sampled_from([*of]) for protocol in Protocol})

    forwards = st.builds(
        Forward,
        protocol=st.sampled_from([*Protocol]),
        port=st.sampled_from([ports[0], ports[5], ports[-1]]),
        host=st.sampled_from([IPv4Address(host) for host in HOSTS]),
        host_port=st.sampled_from([40000, 53, ports[0]]),
    )
    return st.builds(
        Napt44Policy,
        mapping=each(MappingPolicy),
        filtering=each(Filtering),
        timeouts=st.sampled_from([SHORT, SHORT, Timeouts()]),
        host_ports_min=st.sampled_from([0, 2, 8, 65535, 65535]),
        host_ports_max=st.sampled_from([None, None, None, 1, 3, 9]),
        host_flows_max=st.sampled_from([None, None, 1, 20, 100]),
        pick_up=st.sampled_from([True, True, False]),
        early_reclaim=st.booleans(),
        refusal=st.sampled_from([*Refusal]),
        log=st.just(LogLevel.OFF),
        reserved_ports=st.sampled_from(
            [frozenset(), frozenset(), frozenset(ports[1:5]), frozenset(ports[6:-1])]
        ),
        forwards=st.lists(
            forwards, max_size=2, unique_by=lambda forward: (forward.protocol, forward.port)
        ).map(tuple),
    )


@st.composite
def households(draw: st.DrawFn, ce_domain: Domain) -> Household:
    """A policy, packets in both directions, most of them about mappings, and time that passes."""
    policy = draw(policies(ce_domain))
    protocols = st.one_of(st.sampled_from(draw(st.sampled_from(FEW_PROTOCOLS))), PROTOCOLS)
    lan, wan = from_lan(ce_domain, protocols), from_wan(ce_domain, protocols)
    opening = st.builds(lambda first: dataclasses.replace(first, flags=packets.SYN), lan)
    again = st.builds(Again, st.sampled_from(WAYS), st.integers(0, 300), lan, wan)
    burst = st.builds(Burst, opening, st.sampled_from([4, 8, 16, 24]), st.booleans())
    step = _weighted(
        (2, opening),
        (1, lan),
        (1, wan),
        (2, burst),
        (2, talks(lan, wan)),
        (5, again),
        (1, st.builds(Each, again, st.sampled_from([4, 16]))),
        (2, waits(policy.timeouts)),
    )
    steps = _weighted((19, step.map(lambda one: [one])), (1, _pressure(policy.timeouts, burst)))
    return Household(policy, [*chain(*draw(st.lists(steps, min_size=12, max_size=40)))])


def _pressure(timeouts: Timeouts, burst: st.SearchStrategy[Burst]) -> st.SearchStrategy[list[Step]]:
    """TCP connections that all close, and the next ones before the ports of these are free."""

    def steps(bursts: list[Burst], way: str, flags: int, late: int, number: int) -> list[Step]:
        lan = dataclasses.replace(bursts[0].first, flags=flags)
        wan = FromWan("tcp", LAST_PORT, lan.server, lan.server_port, flags, b"", b"", 0, 0)
        close = Each(Again(way, number, lan, wan), 300)
        return [
            *(_of_tcp(burst, 41000) for burst in bursts),
            close,
            Wait(timeouts.tcp_early_closing + late),
            *(_of_tcp(burst, 42000) for burst in bursts),
        ]

    return st.builds(
        steps,
        st.lists(burst, min_size=1, max_size=4),
        st.sampled_from(["own", "peer"]),
        st.sampled_from([packets.RST, packets.RST, packets.FIN | packets.ACK]),
        st.sampled_from([1, 2, 2, 3]),
        st.integers(0, 300),
    )


def _of_tcp(burst: Burst, port: int) -> Burst:
    first = dataclasses.replace(burst.first, protocol="tcp", port=port)
    return dataclasses.replace(burst, first=first)


Address = str | IPv6Address


def _transport(
    step: FromLan | FromWan, source: Address, destination: Address, ports: tuple[int, int]
) -> tuple[bytes, int]:
    """The transport packet of a step and its protocol number, under these addresses."""
    if step.protocol == "tcp":
        data = packets.tcp(
            source,
            destination,
            *ports,
            flags=step.flags,
            options=step.options,
            payload=step.payload,
        )
        return data, packets.TCP
    if step.protocol == "udp":
        return packets.udp(source, destination, *ports, step.payload), packets.UDP
    identifier = ports[0] if isinstance(step, FromLan) else ports[1]
    reply = step.protocol == "echo reply"
    if isinstance(source, IPv6Address):
        data = packets.echo6(source, destination, identifier, reply=reply, payload=step.payload)
        return data, packets.ICMPV6
    return packets.echo(identifier, reply=reply, payload=step.payload), packets.ICMP


def upstream_packet(step: FromLan) -> bytes:
    """The IPv4 packet a host of the LAN sends."""
    ports = (step.port, step.server_port)
    data, protocol = _transport(step, step.host, step.server, ports)
    return packets.ipv4(data, protocol, step.host, step.server, tos=step.tos)


def downstream_packet(ce_domain: Domain, step: FromWan, port: int) -> bytes:
    """The IPv6 packet the BR sends for an IPv4 packet to the CE's address and ``port``.

    In a mesh the CE that has the server's address sends what comes from an even port.
    """
    ports = (step.server_port, port)
    source = _sender(ce_domain, step, port)
    if ce_domain.dmr is not None:
        data, protocol = _transport(step, source, ce_domain.map_address, ports)
        return packets.ipv6(data, protocol, source, ce_domain.map_address, traffic_class=step.tos)
    ce_ipv4 = str(ce_domain.ipv4_address)
    data, protocol = _transport(step, step.server, ce_ipv4, ports)
    inner = packets.ipv4(data, protocol, step.server, ce_ipv4, tos=step.tos)
    return packets.ipv6(
        inner, packets.IPV4, source, ce_domain.map_address, traffic_class=step.outer
    )


def _sender(ce_domain: Domain, step: FromWan, port: int) -> IPv6Address:
    if ce_domain.forwarding_rules and step.server_port % 2 == 0:
        its_port = port if step.protocol.startswith("echo") else step.server_port
        return ce_domain.destination_ipv6(IPv4Address(step.server), its_port)
    return BR if ce_domain.dmr is None else rfc6052.embed(ce_domain.dmr, IPv4Address(step.server))
