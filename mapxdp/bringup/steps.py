# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Steps that every datapath takes.

Each is written down before it is taken, for ``down`` should ``up`` be killed, and notes its
undoing, should a later one fail.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface
from typing import Any

from mapxdp import host, record
from mapxdp.bringup.plan import Plan, Say
from mapxdp.links import DefaultRoute, Link, Links
from mapxdp.record import Record


class Journal:
    """The record while ``up`` works: what it is about to add is saved before it does.

    The rest of it describes what is in force: the former instance until ``finish``.
    """

    def __init__(self, plan: Plan, former: Record | None, undo: ExitStack) -> None:
        self.record = former or plan.record()
        self.record.save()
        if former is None:
            undo.callback(record.delete, self.record.name)
        else:
            undo.callback(former.save)

    def note(self, **changes: Any) -> None:
        """Saves the record with these fields changed."""
        self.record = replace(self.record, **changes)
        self.record.save()

    def finish(self, plan: Plan, **changes: Any) -> Record:
        """Saves the record of the plan carried out, with all that was added."""
        self.record = replace(
            plan.record(),
            added_addresses=self.record.added_addresses,
            accelerated=self.record.accelerated,
            added_clsact=self.record.added_clsact,
            added_clsact_on=self.record.added_clsact_on,
            added_proxies=self.record.added_proxies,
            former_sysctls=self.record.former_sysctls,
            forwards=self.record.forwards,
            nft_table=self.record.nft_table,
            **changes,
        )
        self.record.save()
        return self.record


def set_default_route(
    links: Links, link: Link, gateway: IPv6Address | None, mtu: int, undo: ExitStack
) -> None:
    """The IPv4 default route through ``link``, in place of that of a former ``up``."""
    former = links.our_ipv4_default_route()
    links.set_ipv4_default_route(link, gateway, mtu)
    if former is None:
        undo.callback(links.delete_ipv4_default_route, link)
    else:
        undo.callback(_restore_default_route, links, former)


def _restore_default_route(links: Links, former: DefaultRoute) -> None:
    gateway = None if former.via is None else IPv6Address(former.via)
    links.set_ipv4_default_route(links.find(former.interface), gateway, former.mtu)


def set_sysctl(name: str, value: str, journal: Journal, undo: ExitStack, say: Say) -> None:
    """Sets a kernel setting; its value before the first ``up`` is what ``down`` restores."""
    former = host.sysctl(name)
    if former == value:
        return
    journal.note(former_sysctls={name: former, **journal.record.former_sysctls})
    host.set_sysctl(name, value)
    undo.callback(host.set_sysctl, name, former)
    say(f"set {name} = {value} (was {former})")


def add_address(plan: Plan, links: Links, journal: Journal, undo: ExitStack, say: Say) -> None:
    """The MAP address on the WAN, unless it is there."""
    address = plan.map_interface
    if links.has_ipv6_address(plan.link, address):
        return
    added = {*journal.record.added_addresses, str(address.ip)}
    journal.note(added_addresses=tuple(sorted(added)))
    links.add_ipv6_address(plan.link, address)
    undo.callback(links.delete_ipv6_address, plan.link, address)
    say(f"added the MAP address {address} to {plan.link.name}")


def add_proxy(plan: Plan, links: Links, journal: Journal, undo: ExitStack) -> None:
    """Neighbours on the WAN that look for the MAP address find this host."""
    address = plan.map_interface.ip
    if links.has_proxy_neighbour(plan.link, address):
        return
    added = {*journal.record.added_proxies, str(address)}
    journal.note(added_proxies=tuple(sorted(added)))
    links.add_proxy_neighbour(plan.link, address)
    undo.callback(links.delete_proxy_neighbour, plan.link, address)


def remove_former_addresses(plan: Plan, links: Links, journal: Journal, say: Say) -> None:
    """Takes away the MAP addresses that ``up`` added before this one."""
    ours = str(plan.map_interface.ip)
    for text in journal.record.added_addresses:
        if text != ours:
            links.delete_ipv6_address(plan.link, IPv6Interface(f"{text}/128"))
            say(f"removed the former MAP address {text}/128")
    for text in journal.record.added_proxies:
        if text != ours:
            links.delete_proxy_neighbour(plan.link, IPv6Address(text))
    journal.note(
        added_addresses=tuple(x for x in journal.record.added_addresses if x == ours),
        added_proxies=tuple(x for x in journal.record.added_proxies if x == ours),
    )
