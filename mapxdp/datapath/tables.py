# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A CE's settings as the values of the datapath's maps. Pure: nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network
from typing import Any

from mapxdp.contract import Contract, Struct, read_contract
from mapxdp.datapath import rules
from mapxdp.datapath.clock import TickClock
from mapxdp.errors import InvalidValue
from mapxdp.model.accelerator import AcceleratorPolicy
from mapxdp.model.domain import Domain
from mapxdp.model.interface_id import interface_identifier
from mapxdp.model.napt44 import (
    WELL_KNOWN_PORTS,
    Filtering,
    LogLevel,
    MappingPolicy,
    Napt44Policy,
    shared_target,
)
from mapxdp.model.port_set import PortSet
from mapxdp.model.timeouts import (
    MappingFacts,
    Protocol,
    TimeoutClass,
    Timeouts,
    timeout_of,
    under_pressure,
)
from mapxdp.model.translation import TranslationPolicy
from mapxdp.model.virtual_range import virtual_base

_INDEX_HEADROOM = 1024
_FEWEST_FLOWS, _MOST_FLOWS, _FLOWS_PER_PORT = 16384, 65536, 16
_PERMISSIONS = 16384
#: Where nothing is accelerated: as many as one connection may choose from.
FEWEST_SHORTCUTS = 4
_EVENT_BYTES = 1 << 16
_REFUSALS_PER_TICK = 10
_LOG_PER_TICK = 200


class Napt44Kind(Enum):
    """Who does NAPT44."""

    NONE = "NAPT44_NONE"
    BPF = "NAPT44_BPF"
    NETFILTER = "NAPT44_NETFILTER"


PROTOCOL_INDEX = {
    Protocol.TCP: "INDEX_TCP",
    Protocol.UDP: "INDEX_UDP",
    Protocol.ICMP: "INDEX_ICMP",
}


_TIMEOUT_CLASS = {which: f"TIMEOUT_{which.name}" for which in TimeoutClass}
_MAPPING = {policy: f"MAPPING_{policy.name}" for policy in MappingPolicy}
_FILTERING = {filtering: f"FILTERING_{filtering.name}" for filtering in Filtering}
_LOG = {level: f"LOG_{level.name}" for level in LogLevel}


@dataclass(frozen=True, slots=True)
class DatapathSettings:
    """What the BPF programs are configured with. ``mss`` None leaves the MSS alone.

    ``lowest_ipv6_mtu`` None is the MTU of the WAN. ``accelerator`` None: every packet is
    the kernel's.
    """

    domain: Domain
    napt44: Napt44Kind
    ipv4_mtu: int
    mss: int | None
    clock: TickClock
    on_link: tuple[IPv4Network, ...] = ()
    policy: Napt44Policy = field(default_factory=Napt44Policy)
    translation: TranslationPolicy = field(default_factory=TranslationPolicy)
    lowest_ipv6_mtu: int | None = None
    accelerator: AcceleratorPolicy | None = None
    hash_key: int = 0

    @property
    def ipv6_mtu(self) -> int:
        """The MTU of the WAN."""
        return self.ipv4_mtu + self.domain.mode.overhead


def contract_for(port_set: PortSet, shortcuts: int = FEWEST_SHORTCUTS) -> Contract:
    """The contract with room for every port of the set, for each protocol; for no FMRs.

    ``shortcuts``: connections that may be accelerated, a power of two.
    """
    word_bits = 64
    slots = -(-len(port_set) // word_bits) * word_bits
    wanted = min(max(_FLOWS_PER_PORT * slots, _FEWEST_FLOWS), _MOST_FLOWS)
    flows = 1 << (wanted - 1).bit_length()
    return read_contract(
        SLOTS=slots,
        EIM_ENTRIES=3 * slots + _INDEX_HEADROOM,
        FLOWS=flows,
        PERMISSIONS=_PERMISSIONS,
        EVENT_BYTES=_EVENT_BYTES,
        SHORTCUTS=shortcuts,
        **rules.NO_ROOM,
    )


def contract_in(domain: Domain, shortcuts: int = FEWEST_SHORTCUTS) -> Contract:
    """The contract with room for the FMRs of a domain too."""
    contract = contract_for(domain.port_set, shortcuts)
    return read_contract(**{**contract.capacities, **rules.room_for(contract, domain)})


def contract_of(settings: DatapathSettings) -> Contract:
    """The contract with room for what the settings ask for."""
    domain, accelerator = settings.domain, settings.accelerator
    shortcuts = FEWEST_SHORTCUTS if accelerator is None else accelerator.connections
    return contract_in(domain, shortcuts)


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
        "napt44": contract.number(settings.napt44.value),
        "psid_offset": parameters.psid_offset,
        "psid_length": parameters.psid_length,
        "psid": domain.port_set.psid,
        "port_count": len(domain.port_set),
        "usable_ports": len(domain.port_set) - len(reserved_positions(settings)),
        "ipv4_mtu": settings.ipv4_mtu,
        "mss": settings.mss or 0,
        "tick_shift": settings.clock.shift,
        "tick_offset": settings.clock.offset,
        "on_link_count": len(settings.on_link),
        "on_link": _on_link(contract, settings.on_link),
        "virtual_base": virtual_base(domain.port_set),
        "hash_key": settings.hash_key,
        **_accelerator_values(contract, settings),
        **_mesh_values(contract, domain),
        **_policy_values(contract, settings),
        **_translation_values(contract, settings),
    }


def _accelerator_values(contract: Contract, settings: DatapathSettings) -> dict[str, Any]:
    accelerator = settings.accelerator
    return {
        "shortcut_ticks": 0
        if accelerator is None
        else settings.clock.ticks(accelerator.revalidate),
        "shortcut_mask": contract.number("SHORTCUTS") - 1,
    }


def _mesh_values(contract: Contract, domain: Domain) -> dict[str, Any]:
    shows_hosts = domain.mode.translates
    host_mask = int(domain.ipv4.hostmask) if shows_hosts else 0
    shown = interface_identifier(domain.interface_id, host_mask, 0)
    return {
        "host_mask": host_mask.to_bytes(4, "big"),
        "map_mask": ((1 << 128) - 1 - shown).to_bytes(16, "big"),
        "identifier_shift": rules.identifier_shift(domain.interface_id),
        "rule_count": len(domain.forwarding_rules),
        "rules_in_dmr": int(rules.are_in_dmr(domain)),
        **rules.roots(contract, domain),
    }


def _translation_values(contract: Contract, settings: DatapathSettings) -> dict[str, Any]:
    translation = settings.translation
    copied = contract.number("TRAFFIC_CLASS_COPY")
    fixed = translation.traffic_class
    return {
        "ipv6_mtu": settings.ipv6_mtu,
        "lowest_ipv6_mtu": settings.lowest_ipv6_mtu or settings.ipv6_mtu,
        "traffic_class": copied if fixed is None else fixed,
        "compute_udp_checksum": int(translation.compute_udp_checksum),
        "icmp_error_source": translation.icmp_error_source.packed,
        "fragment_inner": int(translation.fragment_inner),
    }


def _policy_values(contract: Contract, settings: DatapathSettings) -> dict[str, Any]:
    policy = settings.policy
    flows = contract.number("FLOWS")
    return {
        "mapping": [contract.number(_MAPPING[policy.mapping[p]]) for p in PROTOCOL_INDEX],
        "filtering": [contract.number(_FILTERING[policy.filtering[p]]) for p in PROTOCOL_INDEX],
        "shared_below": WELL_KNOWN_PORTS,
        "shared_target": shared_target(len(settings.domain.port_set)),
        "host_ports_min": policy.host_ports_min,
        "host_ports_max": policy.host_ports_max or len(settings.domain.port_set),
        "host_flows_max": policy.host_flows_max or flows // 2,
        "pick_up": int(policy.pick_up),
        "early_reclaim": int(policy.early_reclaim),
        "refusal_code": policy.refusal,
        "refusals_per_tick": _REFUSALS_PER_TICK,
        "log": contract.number(_LOG[policy.log]),
        "log_per_tick": _LOG_PER_TICK,
        "timeout": [
            *_timeouts(contract, settings.clock, policy.timeouts),
            *_timeouts(contract, settings.clock, under_pressure(policy.timeouts)),
        ],
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


def _timeouts(contract: Contract, clock: TickClock, timeouts: Timeouts) -> Iterator[int]:
    """Ticks for each class and combination of flags, in the order C looks them up."""
    by_number = {contract.number(name): which for which, name in _TIMEOUT_CLASS.items()}
    for entry in range(contract.number("TIMEOUTS")):
        number, flags = divmod(entry, contract.number("FLAG_COMBINATIONS"))
        which = by_number.get(number)
        if which is None:
            yield 0
            continue
        yield clock.ticks(timeout_of(timeouts, which, facts_of(contract, flags)))


def facts_of(contract: Contract, flags: int) -> MappingFacts:
    """What the flags of a slot mean."""

    def has(name: str) -> bool:
        return bool(flags & contract.number(name))

    return MappingFacts(
        answered=has("FLAG_ANSWERED") and has("FLAG_CONFIRMED"),
        closing=has("FLAG_RST") or (has("FLAG_FIN_46") and has("FLAG_FIN_64")),
        several_peers=has("FLAG_SEVERAL_PEERS"),
    )


def reserved_positions(settings: DatapathSettings) -> set[int]:
    """The positions in the set of the ports that are never handed out."""
    reserved = settings.policy.reserved_ports | frozenset(settings.domain.reserved_ports)
    port_set = settings.domain.port_set
    return {position for position, port in enumerate(port_set) if port in reserved}


def initial_pool(contract: Contract, settings: DatapathSettings) -> bytes:
    """The pool of an empty table: taken are reserved ports and what lies past the set."""
    protocols = contract.number("PROTOCOLS")
    slots = contract.number("SLOTS")
    word_bits = contract.number("WORD_BITS")
    taken = (1 << slots) - (1 << len(settings.domain.port_set))
    for position in reserved_positions(settings):
        taken |= 1 << position
    words = [
        taken >> (word_bits * number) & ((1 << word_bits) - 1)
        for number in range(slots // word_bits)
    ]
    layout = contract["pool"]
    return layout.pack(**_zeros(layout) | {"taken": words * protocols})


def reserved_slot(contract: Contract) -> bytes:
    """A slot that is nobody's and never will be."""
    layout = contract["mapping"]
    owner = contract.number("SLOT_RESERVED") << contract.number("OWNER_STATE_SHIFT")
    return layout.pack(**_zeros(layout) | {"owner": owner})


def _zeros(layout: Struct) -> dict[str, Any]:
    return {
        field.name: 0 if field.count is None else [0] * field.count
        for field in layout.fields
        if not field.name.startswith("reserved")
    }
