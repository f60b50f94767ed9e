# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A CE's settings as the values of the datapath's maps. Pure: nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from mapxdp.contract import Contract, read_contract
from mapxdp.datapath.clock import TickClock
from mapxdp.errors import InvalidValue
from mapxdp.model.domain import Domain
from mapxdp.model.port_set import PortSet
from mapxdp.model.timeouts import MappingFacts, Protocol, Timeouts, timeout_of

_INDEX_HEADROOM = 1024

PROTOCOL_INDEX = {
    Protocol.TCP: "INDEX_TCP",
    Protocol.UDP: "INDEX_UDP",
    Protocol.ICMP: "INDEX_ICMP",
}


@dataclass(frozen=True, slots=True)
class DatapathSettings:
    """What the BPF programs are configured with. ``mss`` None leaves the MSS alone."""

    domain: Domain
    translates_ports: bool
    ipv4_mtu: int
    mss: int | None
    clock: TickClock
    on_link: tuple[IPv4Network, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)


def contract_for(port_set: PortSet) -> Contract:
    """The contract with room for every port of the set, for each protocol."""
    word_bits = 64
    slots = -(-len(port_set) // word_bits) * word_bits
    return read_contract(SLOTS=slots, EIM_ENTRIES=3 * slots + _INDEX_HEADROOM)


def config_values(contract: Contract, settings: DatapathSettings) -> dict[str, Any]:
    """The fields of ``struct config``."""
    domain = settings.domain
    parameters = domain.port_set.parameters
    far_end = domain.dmr.network_address if domain.dmr else domain.br
    assert far_end is not None  # by Domain
    return {
        "map_address": domain.map_address.packed,
        "far_end": far_end.packed,
        "ipv4": domain.ipv4.network_address.packed,
        "ipv4_mask": domain.ipv4.netmask.packed,
        "dmr_length": domain.dmr.prefixlen if domain.dmr else 0,
        "napt44": contract.number("NAPT44_BPF" if settings.translates_ports else "NAPT44_NONE"),
        "psid_offset": parameters.psid_offset,
        "psid_length": parameters.psid_length,
        "psid": domain.port_set.psid,
        "port_count": len(domain.port_set),
        "ipv4_mtu": settings.ipv4_mtu,
        "mss": settings.mss or 0,
        "tick_shift": settings.clock.shift,
        "tick_offset": settings.clock.offset,
        "on_link_count": len(settings.on_link),
        "on_link": _on_link(contract, settings.on_link),
        "timeout": list(_timeouts(contract, settings)),
    }


def _on_link(contract: Contract, prefixes: tuple[IPv4Network, ...]) -> list[dict[str, bytes]]:
    room = contract.number("ON_LINK_MAX")
    if len(prefixes) > room:
        raise InvalidValue(
            "on-link IPv4 prefixes",
            len(prefixes),
            f"the datapath has room for {room}",
            "remove IPv4 addresses from the WAN interface",
        )
    nothing = IPv4Network("255.255.255.255/32")
    padded = prefixes + (nothing,) * (room - len(prefixes))
    return [
        {"address": prefix.network_address.packed, "mask": prefix.netmask.packed}
        for prefix in padded
    ]


def _timeouts(contract: Contract, settings: DatapathSettings) -> Iterator[int]:
    """Ticks for each protocol and combination of flags, in the order C looks them up."""
    by_index = {contract.number(name): protocol for protocol, name in PROTOCOL_INDEX.items()}
    for entry in range(contract.number("TIMEOUTS")):
        index, flags = divmod(entry, contract.number("FLAG_COMBINATIONS"))
        protocol = by_index.get(index)
        if protocol is None:
            yield 0
            continue
        seconds = timeout_of(settings.timeouts, protocol, facts_of(contract, flags))
        yield settings.clock.ticks(seconds)


def facts_of(contract: Contract, flags: int) -> MappingFacts:
    """What the flags of a slot mean."""

    def has(name: str) -> bool:
        return bool(flags & contract.number(name))

    return MappingFacts(
        answered=has("FLAG_ANSWERED"),
        closing=has("FLAG_RST") or (has("FLAG_FIN_46") and has("FLAG_FIN_64")),
        several_peers=has("FLAG_SEVERAL_PEERS"),
    )


def reserved_positions(domain: Domain) -> list[int]:
    """The positions in the set of the ports that are never handed out."""
    reserved = domain.reserved_ports
    return [position for position, port in enumerate(domain.port_set) if port in reserved]


def initial_bitmap(contract: Contract, domain: Domain) -> bytes:
    """The bitmap of an empty table: taken are reserved ports and what lies past the set."""
    protocols = contract.number("PROTOCOLS")
    slots = contract.number("SLOTS")
    word_bits = contract.number("BITMAP_WORD_BITS")
    taken = (1 << slots) - (1 << len(domain.port_set))
    for position in reserved_positions(domain):
        taken |= 1 << position
    words = [
        taken >> (word_bits * number) & ((1 << word_bits) - 1)
        for number in range(slots // word_bits)
    ]
    return contract["bitmap"].pack(full_tick=[0] * protocols, taken=words * protocols)


def reserved_slot(contract: Contract) -> bytes:
    """A slot that is nobody's and never will be."""
    state_shift = 48
    owner = contract.number("SLOT_RESERVED") << state_shift
    return contract["slot"].pack(owner=owner, tick_46=0, tick_64=0, flags=0, peer=0, created=0)
