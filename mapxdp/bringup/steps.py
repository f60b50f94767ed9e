# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Steps that every datapath takes; each notes its undoing."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv6Address

from mapxdp import host
from mapxdp.bringup.plan import Say
from mapxdp.links import Link, Links
from mapxdp.record import Record


def set_default_route(
    links: Links,
    link: Link,
    gateway: IPv6Address | None,
    mtu: int,
    former: Record | None,
    undo: ExitStack,
) -> None:
    """The IPv4 default route through ``link``, in place of that of a former ``up``."""
    links.set_ipv4_default_route(link, gateway, mtu)
    if former is None:
        undo.callback(links.delete_ipv4_default_route, link)
        return
    former_link = links.find(former.tun or former.wan)
    former_gateway = None if former.gateway is None else IPv6Address(former.gateway)
    undo.callback(
        links.set_ipv4_default_route,
        former_link,
        None if former.tun else former_gateway,
        former.ipv4_mtu,
    )


def set_sysctl(name: str, value: str, undo: ExitStack, say: Say) -> dict[str, str]:
    """Sets a kernel setting; its former value by its name, if it changed."""
    former = host.set_sysctl(name, value)
    if former is None:
        return {}
    undo.callback(host.set_sysctl, name, former)
    say(f"set {name} = {value} (was {former})")
    return {name: former}
