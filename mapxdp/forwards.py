# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Port forwards of a running CE: adding and deleting them, and remembering which.

Those of the configuration come and go with it. Those added at run time are kept in the
record of the instance, so that an ``up`` or ``reload`` keeps them; ``down`` forgets them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from mapxdp import config_forward, record
from mapxdp.config import Napt44Mode
from mapxdp.datapath import control
from mapxdp.datapath.control import Control, Result
from mapxdp.errors import InvalidValue, StateError
from mapxdp.model.napt44 import Forward
from mapxdp.model.port_set import PORT_COUNT, PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.record import Record
from mapxdp.sessions import require_commands
from mapxdp.snapshot import Snapshot

_RANGES_SHOWN = 64
_TRIES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """A port that can become a forward, and what expired on it but was not taken over."""

    port: int
    expired: tuple[Mapping, ...] = ()


def endpoint(text: str) -> tuple[IPv4Address, int]:
    """``192.168.1.10:443``; InvalidValue for anything else."""
    return config_forward.endpoint("to", text)


def _require_port(port: int) -> int:
    if not 0 < port < PORT_COUNT:
        raise ValueError(port)
    return port


def parse(text: str) -> Forward:
    """The inverse of ``str(Forward)``; InvalidValue for anything else."""
    words = text.split()
    try:
        name, port, to, where = words
        if to != "to":
            raise ValueError(to)
        number = None if port == "any" else _require_port(int(port))
        return Forward(Protocol[name.upper()], number, *endpoint(where))
    except (ValueError, KeyError) as error:
        raise InvalidValue(
            "forward", text, "it is not one", "write 'tcp 4930 to 192.168.1.10:443'"
        ) from error


def remembered(running: Record) -> tuple[Forward, ...]:
    """The forwards that were added at run time."""
    return tuple(parse(text) for text in running.forwards)


def is_configured(now: Snapshot, mapping: Mapping) -> bool:
    """Whether a forward is in the configuration."""
    return any(
        (forward.protocol, forward.host, forward.host_port)
        == (mapping.protocol, mapping.host, mapping.host_port)
        and forward.port in (None, mapping.port)
        for forward in now.config.policy.forwards
    )


def add(now: Snapshot, wanted: Forward) -> Forward:
    """Adds a forward and remembers it; with its port, where any would do."""
    _require_napt44(now)
    anywhere = replace(wanted, port=None)  # the port is looked at below
    config_forward.require_possible("forward", anywhere, now.config.domain, frozenset())
    own = _endpoint_is_free(now, wanted)
    places = list(_places(now, wanted))
    with control.opened(now.record.name, now.config.domain) as running:
        for mapping in own:
            control.release(running, mapping)
        made = replace(wanted, port=_first_that_works(now, running, wanted, places))
    _change_record(now, add=made)
    return made


def _require_napt44(now: Snapshot) -> None:
    require_commands(now)
    if now.config.napt44 is not Napt44Mode.BPF:
        raise StateError(
            f'napt44.mode is "{now.config.napt44}": BPF forwards no ports of {now.record.name}',
            'forward it in nftables, or set napt44.mode = "bpf"',
        )


def _endpoint_is_free(now: Snapshot, wanted: Forward) -> list[Mapping]:
    """Expired mappings of the endpoint; StateError where it uses a port already.

    What it sends leaves by its first port: answers through a second one would come from there.
    """
    own = [
        mapping
        for mapping in now.mappings
        if (mapping.protocol, mapping.host, mapping.host_port)
        == (wanted.protocol, wanted.host, wanted.host_port)
        and mapping.kind is not MappingKind.FLOW
    ]
    for mapping in own:
        if mapping.is_live and mapping.port != wanted.port:
            raise _used(mapping, f"{wanted.host}:{wanted.host_port} already has")
    return [mapping for mapping in own if not mapping.is_live]


def _used(mapping: Mapping, whose: str) -> StateError:
    protocol = mapping.protocol.name.lower()
    if mapping.kind is MappingKind.FORWARD:
        return StateError(
            f"{whose} {protocol} port {mapping.port} as a forward",
            f"mapxdp forward del {protocol} {mapping.port}",
        )
    return StateError(
        f"{whose} {protocol} port {mapping.port} in use ({mapping.kind}, {mapping.state})",
        f"mapxdp sessions --protocol {protocol} --port {mapping.port} --delete, then again",
    )


def _places(now: Snapshot, wanted: Forward) -> Iterator[Place]:
    """Ports to try, the best first; InvalidValue or StateError where there are none."""
    used: dict[int, list[Mapping]] = defaultdict(list)
    for mapping in now.mappings:
        if mapping.protocol is wanted.protocol:
            used[mapping.port].append(mapping)
    if wanted.port is not None:
        yield _place(now, wanted.port, used[wanted.port])
        return
    reserved = now.config.policy.reserved_ports | frozenset(now.config.domain.reserved_ports)
    ports = [port for port in now.config.domain.port_set if port not in reserved]
    ports.sort(key=lambda port: (bool(used.get(port)), port != wanted.host_port))
    places = [
        Place(port, tuple(used.get(port, ())))
        for port in ports
        if not any(mapping.is_live for mapping in used.get(port, ()))
    ]
    if not places:
        protocol = wanted.protocol.name.lower()
        raise StateError(
            f"every {protocol} port of the set is in use",
            f"mapxdp sessions --protocol {protocol} --sort left shows by whom",
        )
    yield from places[:_TRIES]


def _place(now: Snapshot, port: int, used: list[Mapping]) -> Place:
    port_set = now.config.domain.port_set
    if port not in port_set or port == 0:
        raise InvalidValue(
            "port", port, "it is not in this CE's set", f"use any, or one of {ranges(port_set)}"
        )
    if port in now.config.policy.reserved_ports:
        raise InvalidValue(
            "port", port, "it is reserved", "take it out of napt44.reserved_ports, or use another"
        )
    live = [mapping for mapping in used if mapping.is_live]
    if live:
        others = f" and {len(live) - 1} more" if len(live) > 1 else ""
        raise _used(live[0], f"{live[0].host}:{live[0].host_port}{others} has")
    return Place(port, tuple(used))


def ranges(port_set: PortSet) -> str:
    """``1232-1235, 2256-2259 …``: the ports of a set for a message."""
    owned = port_set.ranges()
    shown = [
        str(first) if first == last else f"{first}-{last}" for first, last in owned[:_RANGES_SHOWN]
    ]
    return ", ".join(shown) + (" …" if len(owned) > _RANGES_SHOWN else "")


def _first_that_works(now: Snapshot, running: Control, wanted: Forward, places: list[Place]) -> int:
    """Makes the first of ``places`` the forward that nobody took meanwhile."""
    for place in places:
        if _forward_at(running, wanted, place):
            return place.port
    if wanted.port in now.config.domain.reserved_ports:
        raise StateError(
            f"port {wanted.port} is reserved: NAPT44 uses no well-known port of this address",
            "use a port from 1024 on, or any",
        )
    raise StateError(
        "the ports were taken by others at the same moment", "try again, or name another port"
    )


def _forward_at(running: Control, wanted: Forward, place: Place) -> bool:
    """False if the port was taken meanwhile."""
    for mapping in place.expired:
        control.release(running, mapping)  # of several flows the last one frees the port
    result = control.forward(running, wanted, place.port)
    if result is Result.INDEX_FULL:
        raise StateError(
            "the index of mappings is full",
            f"mapxdp sessions --protocol {wanted.protocol.name.lower()} --all shows by what",
        )
    return result is Result.DONE


def delete(now: Snapshot, protocol: Protocol, port: int) -> str:
    """Deletes a forward that was added at run time, and forgets it; what it was."""
    require_commands(now)
    what = (protocol, port)
    name = f"{protocol.name.lower()} port {port}"
    known = [each for each in remembered(now.record) if (each.protocol, each.port) == what]
    there = [
        mapping
        for mapping in now.mappings
        if (mapping.protocol, mapping.port) == what and mapping.kind is MappingKind.FORWARD
    ]
    if not known and not there:
        raise StateError(f"{name} is not forwarded", "mapxdp forward list")
    if any(is_configured(now, mapping) for mapping in there):
        raise StateError(
            f"{name} is forwarded by the configuration",
            f"remove its [[forward]] from {now.record.config_path}, then mapxdp reload",
        )
    if there:
        _release(now, name, there[0])
    _change_record(now, forget=what)
    first = known[0] if known else there[0]
    return f"{protocol.name.lower()} {port} to {first.host}:{first.host_port}"


def _release(now: Snapshot, name: str, mapping: Mapping) -> None:
    with control.opened(now.record.name, now.config.domain) as running:
        if control.release(running, mapping) is not Result.DONE:
            raise StateError(
                f"{name} changed at this moment", "mapxdp forward list, then try again"
            )


def _change_record(
    now: Snapshot, add: Forward | None = None, forget: tuple[Protocol, int] | None = None
) -> None:
    running = record.load(now.record.name) or now.record
    kept = [each for each in remembered(running) if (each.protocol, each.port) != forget]
    if add is not None and add not in kept:
        kept.append(add)
    replace(running, forwards=tuple(map(str, kept))).save()
