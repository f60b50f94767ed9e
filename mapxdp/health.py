# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is everything in place that a running CE needs? Others may have changed it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Interface

from mapxdp import host, netdev, netns, nftables
from mapxdp.bringup import places
from mapxdp.bringup.places import Place
from mapxdp.errors import HostError
from mapxdp.links import Hook, Link, Links, open_links
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.record import Record
from mapxdp.software import daemon


@dataclass(frozen=True, slots=True)
class Health:
    """One thing that has to be in place, and what is wrong if it is not."""

    what: str
    problem: str | None = None


def check(running: Record) -> list[Health]:
    """Looks at the interface, the routes and the settings of a running instance."""
    again = f"{running.up_command} puts it right"
    try:
        with netns.entered(running.netns), open_links() as links:
            link = links.find(running.wan)
            own = _process if running.datapath == "software" else _programs
            return [
                *own(links, link, running, again),
                _route(links, running, again),
                _gateway(links, link, running, again),
                _mtu(link, running, again),
                _forwarding(again),
                *_netfilter(running, again),
            ]
    except HostError as error:
        return [Health(f"WAN interface {running.wan}", error.problem)]


def _programs(links: Links, link: Link, running: Record, again: str) -> list[Health]:
    """What the BPF datapath needs: both programs, and the MAP address on the WAN."""

    def attached(hook: Hook) -> Health:
        what = f"TC {hook.name.lower()} of {link.name}"
        owner = links.attached(link, hook)
        return Health(what, None if owner == running.name else f"not attached; {again}")

    address = IPv6Interface(f"{running.map_address}/128")
    there = links.has_ipv6_address(link, address)
    return [
        *(attached(hook) for hook in Hook),
        *_accelerator(links, link, running, again),
        Health(f"MAP address on {link.name}", None if there else f"missing; {again}"),
    ]


def _accelerator(links: Links, wan: Link, running: Record, again: str) -> list[Health]:
    """What the accelerator needs: each of its programs at its interface."""
    lans = []
    for name in running.accelerated:
        try:
            lans.append(links.find(name))
        except HostError as error:
            return [Health(f"accelerator at {name}", f"{error.problem}; {again}")]
    hook = AcceleratorHook(running.accelerator)
    return [
        Health(f"accelerator: {place}", _problem_at(place, links, running, again))
        for place in places.of_accelerator(hook, wan, tuple(lans))
    ]


def _problem_at(place: Place, links: Links, running: Record, again: str) -> str | None:
    """The other end of a veth may have stopped to take what XDP sends."""
    if place.occupant(links, running.name) is None:
        return f"not attached; {again}"
    if place.hook is not None:
        return None
    device = netdev.look_at(place.link)
    if device.why_no_target is None:
        return None
    return "; ".join(filter(None, (device.why_no_target, device.xdp_remedy)))


def _process(_: Links, __: Link, running: Record, again: str) -> list[Health]:
    """What the software datapath needs: its process."""
    alive = running.process is not None and daemon.is_running(running.process)
    what = f"process {running.process} behind {running.tun}"
    return [Health(what, None if alive else f"has ended; {again}")]


def _route(links: Links, running: Record, again: str) -> Health:
    ours = [route for route in links.ipv4_default_routes() if route.metric == 0]
    there = any(route.interface == (running.tun or running.wan) for route in ours)
    return Health("IPv4 default route", None if there else f"missing; {again}")


def _gateway(links: Links, link: Link, running: Record, again: str) -> Health:
    found = links.ipv6_gateway(link) if link.has_neighbours else None
    now = None if found is None else str(found)
    problem = None if now == running.gateway else f"was {running.gateway}, now {now}; {again}"
    return Health("IPv6 gateway", problem)


def _mtu(link: Link, running: Record, again: str) -> Health:
    problem = None
    if link.mtu < running.wan_mtu:
        problem = f"{link.name} has {link.mtu} now, less than {running.wan_mtu}; {again}"
    return Health("MTU of the WAN", problem)


def _forwarding(again: str) -> Health:
    on = host.sysctl(host.IPV4_FORWARDING) == "1"
    return Health("IPv4 forwarding", None if on else f"is off; {again}")


def _netfilter(running: Record, again: str) -> list[Health]:
    """What ``napt44.mode = "netfilter"`` needs beside the programs: its table."""
    if running.nft_table is None:
        return []
    what = f"nftables table ip {running.nft_table}"
    try:
        there = nftables.listing(running.nft_table) is not None
    except HostError as error:
        return [Health(what, error.problem)]
    return [Health(what, None if there else f"missing; {again}")]
