# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Changing what the datapath keeps: commands to the pinned control program.

The tables are written by BPF programs only, because only they can change them under traffic
without a lock. So a command is a packet, given to a program that is attached nowhere; its
verdict is the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mapxdp.contract import Contract
from mapxdp.datapath import instance, libbpf, shortcuts
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import PROTOCOL_INDEX
from mapxdp.errors import StateError
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Forward
from mapxdp.model.port_set import PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind

_ETHERNET_HEADER = 14
_SHORTEST_FRAME = 60
_STATES = {
    MappingKind.OWN: "SLOT_EIM",
    MappingKind.FORWARD: "SLOT_STATIC",
    MappingKind.FLOW: "SLOT_FLOW",
}


class Result(Enum):
    """What became of a command."""

    DONE = "COMMAND_DONE"
    CHANGED = "COMMAND_CHANGED"  # it was somebody else's by then, and was left alone
    INDEX_FULL = "COMMAND_INDEX_FULL"
    MALFORMED = "COMMAND_MALFORMED"


@dataclass(frozen=True)
class Control:
    """A datapath that takes commands: ``run`` gives a frame to its control program.

    ``element`` reads one of the slots or flows, ``flow_at`` the index of flows.
    """

    contract: Contract
    port_set: PortSet
    run: Callable[[bytes], int]
    element: Callable[[str, int], bytes]
    flow_at: Callable[[bytes], int | None]


@contextmanager
def opened(name: str, domain: Domain) -> Iterator[Control]:
    """The control program of the running instance of ``domain``; StateError without one.

    Afterwards every shortcut has ended: the accelerator looks at mappings once a tick, and a port
    that was released may be another's by then.
    """
    with instance.opened(name, domain) as maps, _program(name) as fd:
        try:
            yield Control(
                contract=maps.contract,
                port_set=domain.port_set,
                run=lambda frame: libbpf.run_program(fd, frame).verdict,
                element=maps.value,
                flow_at=lambda key: _look_up(maps, key),
            )
        finally:
            shortcuts.end_all_of(name, maps.contract["shortcut"])


@contextmanager
def _program(name: str) -> Iterator[int]:
    fd = libbpf.open_pinned(instance.pinned(name) / instance.CONTROL_PIN)
    try:
        yield fd
    finally:
        os.close(fd)


def _look_up(maps: MapSet, key: bytes) -> int | None:
    value = libbpf.lookup(maps.fds["flow_index"], key, maps.spec("flow_index").value_size)
    return None if value is None else int.from_bytes(value, sys.byteorder)


def release(control: Control, mapping: Mapping) -> Result:
    """Ends a mapping or flow that was seen; nothing happens if it ended by itself."""
    if mapping.kind is MappingKind.FLOW:
        position = control.flow_at(flow_key(control, mapping))
        owner = None if position is None else _owner(control, "flows", position, mapping)
        if position is None or owner is None:
            return Result.CHANGED
        return release_flow(control, position, owner)
    slot = slot_index(control, mapping.protocol, mapping.port)
    owner = _owner(control, "slots", slot, mapping)
    return Result.CHANGED if owner is None else release_slot(control, slot, owner)


def release_slot(control: Control, slot: int, owner: int) -> Result:
    """Frees a slot, if ``owner`` still is its owner word."""
    return _command(control, "COMMAND_RELEASE_SLOT", slot, owner)


def release_flow(control: Control, position: int, owner: int) -> Result:
    """Ends the flow at a position of the flows, if ``owner`` still is its owner word."""
    return _command(control, "COMMAND_RELEASE_FLOW", position, owner)


def forward(control: Control, wanted: Forward, port: int) -> Result:
    """Makes a port a forward, if it is free."""
    endpoint = {
        "ipv4": wanted.host.packed,
        "port": wanted.host_port,
        "protocol": control.contract.number(PROTOCOL_INDEX[wanted.protocol]),
        "zero": 0,
    }
    slot = slot_index(control, wanted.protocol, port)
    return _command(control, "COMMAND_FORWARD", slot, 0, endpoint)


def reserve(control: Control, protocol: Protocol, port: int) -> Result:
    """Takes a port out of use, if it is free."""
    return _command(control, "COMMAND_RESERVE", slot_index(control, protocol, port), 0)


def unreserve(control: Control, protocol: Protocol, port: int) -> Result:
    """Gives a port back that was taken out of use."""
    slot = slot_index(control, protocol, port)
    return release_slot(control, slot, reserved_word(control.contract))


def reserved_word(contract: Contract) -> int:
    """The owner word of a port that is out of use."""
    return contract.number("SLOT_RESERVED") << contract.number("OWNER_STATE_SHIFT")


def slot_index(control: Control, protocol: Protocol, port: int) -> int:
    """Where the slot of a port of the set is."""
    first = control.contract.number(PROTOCOL_INDEX[protocol]) * control.contract.number("SLOTS")
    return first + control.port_set.index_of(port)


def _owner(control: Control, name: str, index: int, mapping: Mapping) -> int | None:
    """The owner word of what is at a position; None if that is not ``mapping`` any more."""
    found: int = control.contract["mapping"].unpack(control.element(name, index))["owner"]
    return found if found == owner_word(control.contract, mapping) else None


def owner_word(contract: Contract, mapping: Mapping) -> int:
    """Endpoint and state, as the owner of struct mapping has them."""
    address = int.from_bytes(mapping.host.packed, sys.byteorder)
    port = mapping.host_port << contract.number("OWNER_PORT_SHIFT")
    return (
        address
        | port
        | contract.number(_STATES[mapping.kind]) << contract.number("OWNER_STATE_SHIFT")
    )


def flow_key(control: Control, mapping: Mapping) -> bytes:
    """The key of a flow from the side of the WAN: the claim of (port, remote)."""
    return control.contract["flow_key"].pack(
        local=slot_index(control, mapping.protocol, mapping.port),
        remote=mapping.peer.packed,
        port=0,
        remote_port=mapping.peer_port,
        protocol=control.contract.number(PROTOCOL_INDEX[mapping.protocol]),
        way=control.contract.number("FLOW_64"),
        zero=0,
    )


def command_frame(
    contract: Contract, kind: str, slot: int, owner: int, endpoint: dict[str, Any] | None = None
) -> bytes:
    """The packet that a command is: struct command where an Ethernet frame has its payload."""
    nobody = {"ipv4": bytes(4), "port": 0, "protocol": 0, "zero": 0}
    command = contract["command"].pack(
        kind=contract.number(kind), slot=slot, owner=owner, endpoint=endpoint or nobody
    )
    return (bytes(_ETHERNET_HEADER) + command).ljust(_SHORTEST_FRAME, b"\0")


def _command(
    control: Control,
    kind: str,
    slot: int,
    owner: int,
    endpoint: dict[str, Any] | None = None,
) -> Result:
    verdict = control.run(command_frame(control.contract, kind, slot, owner, endpoint))
    by_number = {control.contract.number(result.value): result for result in Result}
    result = by_number.get(verdict, Result.MALFORMED)
    if result is Result.MALFORMED:
        raise StateError(
            f"the control program did not understand {kind} (answer {verdict})",
            "mapxdp up -c FILE, which brings the programs up to date and keeps port mappings",
        )
    return result
