# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reserved ports and port forwards: what runs is made what the configuration says.

The last step of bringing a CE up, on the datapath that is in force. What the user wrote wins:
sessions on a port that is to be a forward are ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from mapxdp import forwards
from mapxdp.bringup.plan import Plan, Say
from mapxdp.bringup.steps import Journal
from mapxdp.config import Napt44Mode
from mapxdp.datapath import control, instance, observe
from mapxdp.datapath.control import Control, Result
from mapxdp.model.napt44 import Forward
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind


def reconcile(plan: Plan, journal: Journal, kept_mappings: bool, say: Say) -> None:
    """Makes reserved ports and forwards those of the plan and of the record.

    New tables begin with the right ports reserved; only kept ones are looked at.
    """
    if plan.config.napt44 is not Napt44Mode.BPF:
        return
    name, domain = plan.config.name, plan.config.domain
    with instance.opened(name, domain) as maps, control.opened(name, domain) as running:
        mappings = observe.read_mappings(maps)
        if kept_mappings:
            _reserve(plan, running, observe.read_reserved(maps), say)
        _forward(plan, journal, running, mappings, say)


def _reserve(
    plan: Plan, running: Control, there: AbstractSet[tuple[Protocol, int]], say: Say
) -> None:
    reserved = plan.config.policy.reserved_ports | frozenset(plan.config.domain.reserved_ports)
    wanted = {
        (protocol, port) for protocol in Protocol for port in reserved if port in running.port_set
    }
    for protocol, port in there - wanted:
        control.unreserve(running, protocol, port)
    late = {
        port
        for protocol, port in wanted - there
        if control.reserve(running, protocol, port) is not Result.DONE
    }
    if late:
        ports = ", ".join(map(str, sorted(late)))
        say(f"reserved ports in use: {ports}; reload again once they are free")


def _forward(
    plan: Plan, journal: Journal, running: Control, mappings: list[Mapping], say: Say
) -> None:
    wanted = dict.fromkeys((*plan.config.policy.forwards, *forwards.remembered(journal.record)))
    there = [mapping for mapping in mappings if mapping.kind is MappingKind.FORWARD]
    for mapping in there:
        if not any(_is(forward, mapping) for forward in wanted):
            control.release(running, mapping)
            say(f"removed the forward of {_name(mapping)}")
    others = [mapping for mapping in mappings if mapping.kind is not MappingKind.FORWARD]
    for forward in wanted:
        if not any(_is(forward, mapping) for mapping in there):
            _make(plan, running, forward, others, say)


def _is(forward: Forward, mapping: Mapping) -> bool:
    return (forward.protocol, forward.host, forward.host_port) == (
        mapping.protocol,
        mapping.host,
        mapping.host_port,
    ) and forward.port in (None, mapping.port)


def _name(mapping: Mapping) -> str:
    protocol = mapping.protocol.name.lower()
    return f"{protocol} {mapping.port} to {mapping.host}:{mapping.host_port}"


def _make(
    plan: Plan, running: Control, forward: Forward, others: Iterable[Mapping], say: Say
) -> None:
    in_the_way = [
        mapping
        for mapping in others
        if mapping.protocol is forward.protocol
        and (
            mapping.port == forward.port
            or (mapping.host, mapping.host_port, mapping.kind)
            == (forward.host, forward.host_port, MappingKind.OWN)
        )
    ]
    for mapping in in_the_way:
        control.release(running, mapping)
    for port in _ports(plan, forward):
        if control.forward(running, forward, port) is Result.DONE:
            ended = f"; ended {len(in_the_way)} sessions for it" if in_the_way else ""
            protocol = forward.protocol.name.lower()
            say(f"forward {protocol} {port} to {forward.host}:{forward.host_port}{ended}")
            return
    say(f"could not forward {forward}: the port is in use; reload again")


def _ports(plan: Plan, forward: Forward) -> Iterator[int]:
    """Ports to try: the one that was asked for, or the host's own number and then any."""
    if forward.port is not None:
        yield forward.port
        return
    port_set = plan.config.domain.port_set
    if forward.host_port in port_set:
        yield forward.host_port
    yield from port_set
