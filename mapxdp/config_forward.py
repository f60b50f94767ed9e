# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The tables ``forward`` of a configuration, and what a CE can forward at all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from mapxdp.errors import InvalidValue, shown
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import Forward
from mapxdp.model.port_set import PORT_COUNT, PortSet
from mapxdp.model.timeouts import Protocol
from mapxdp.table_reader import TableReader

_ENDPOINT = re.compile(r"([0-9.]{7,15}):([0-9]{1,5})")
_ANY = "any"
_RANGES_SHOWN = 8
#: Addresses that no host of a LAN can have (RFC 6890).
_NO_HOSTS = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/3"))


class _Forwardable(StrEnum):
    """The protocols whose ports can be forwarded."""

    TCP = "tcp"
    UDP = "udp"


def read_forwards(
    tables: list[TableReader], domain: Domain, reserved: frozenset[int]
) -> tuple[Forward, ...]:
    """The tables ``forward``, checked against the domain and against each other."""
    made: list[Forward] = []
    for number, table in enumerate(tables):
        field = f"forward[{number}]"
        forward = _forward(
            field,
            protocol=table.choice("protocol", _Forwardable),
            port=table.raw("port"),
            to=table.raw("to"),
        )
        table.finish()
        require_possible(field, forward, domain, reserved)
        require_new(field, forward, made)
        made.append(forward)
    return tuple(made)


def _forward(field: str, *, protocol: _Forwardable, port: object, to: object) -> Forward:
    if port != _ANY and not (
        isinstance(port, int) and not isinstance(port, bool) and 0 <= port < PORT_COUNT
    ):
        raise InvalidValue(
            f"{field}.port",
            port,
            f'it is a port of the set, or "{_ANY}"',
            f'write port = 4928, or "{_ANY}" for a free one',
        )
    host, host_port = endpoint(f"{field}.to", to)
    return Forward(
        protocol=Protocol[protocol.name],
        port=port if isinstance(port, int) else None,
        host=host,
        host_port=host_port,
    )


def endpoint(field: str, text: object) -> tuple[IPv4Address, int]:
    """A unicast IPv4 address and a port other than 0."""
    match = _ENDPOINT.fullmatch(text) if isinstance(text, str) else None
    try:
        if match is None or not 0 < int(match[2]) < PORT_COUNT:
            raise ValueError("it has to be an IPv4 address and a port")
        address = IPv4Address(match[1])
        if any(address in network for network in _NO_HOSTS):
            raise ValueError(f"{address} is not the address of a host")
    except ValueError as error:
        raise InvalidValue(field, text, shown(error), 'write to = "192.168.1.10:443"') from None
    return address, int(match[2])


def require_possible(
    field: str, forward: Forward, domain: Domain, reserved: frozenset[int]
) -> None:
    """InvalidValue for a forward this CE cannot have, whatever other forwards there are."""
    if forward.host in domain.ipv4:
        raise InvalidValue(
            f"{field}.to",
            f"{forward.host}:{forward.host_port}",
            f"{forward.host} is this CE's public address",
            "name a host of the LAN; for the router itself, its LAN address",
        )
    if forward.port is None:
        return
    name = f"{field}.port"
    require_owned(name, forward.port, forward.port, domain.port_set, "forward")
    if forward.port in reserved:
        raise InvalidValue(
            name,
            forward.port,
            "napt44.reserved_ports holds it, and nobody gets a reserved port",
            f"remove {forward.port} from reserved_ports, or forward another port",
        )
    if forward.port in domain.reserved_ports:
        raise InvalidValue(
            name,
            forward.port,
            f"ports below {domain.reserved_ports.stop} are never handed out",
            f"forward a port from {domain.reserved_ports.stop} on",
        )


def require_new(field: str, forward: Forward, others: Iterable[Forward]) -> None:
    """InvalidValue for a forward whose port, or whose endpoint, has another one already.

    An endpoint sends from one port only: through a second one, its answers would come from
    where nobody asked.
    """
    for other in others:
        if other.protocol is not forward.protocol:
            continue
        if forward.port is not None and forward.port == other.port:
            raise InvalidValue(
                f"{field}.port",
                forward.port,
                f"there is a forward of this port: {other}",
                "remove one of the two, or forward another port",
            )
        if (forward.host, forward.host_port) == (other.host, other.host_port):
            raise InvalidValue(
                f"{field}.to",
                f"{forward.host}:{forward.host_port}",
                f"there is a forward to it: {other}; what it sends can leave from one port only",
                "remove one of the two, or have the host listen on another port too",
            )


def require_owned(field: str, value: object, port: int, port_set: PortSet, purpose: str) -> None:
    """InvalidValue for a port that is not in the set; ``purpose`` is what it was for."""
    if port in port_set:
        return
    nearest = min(port_set, key=lambda owned: abs(owned - port))
    raise InvalidValue(
        field,
        value,
        f"port {port} is not in this CE's set of {len(port_set)} ports: {ranges_shown(port_set)}",
        f"{purpose} a port of the set: the nearest is {nearest}",
    )


def ranges_shown(port_set: PortSet) -> str:
    """The ranges of a port set in a line; of many, the first few and the last."""
    ranges = [
        f"{first}-{last}" if first < last else str(first) for first, last in port_set.ranges()
    ]
    if len(ranges) <= _RANGES_SHOWN:
        return ", ".join(ranges)
    return f"{', '.join(ranges[:3])}, … {ranges[-1]} ({len(ranges)} ranges)"
