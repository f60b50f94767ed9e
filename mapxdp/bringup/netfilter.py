# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The kernel's part in ``napt44.mode = "netfilter"``: a table that does NAPT44 to one range."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address

from mapxdp import conntrack, nftables
from mapxdp.bringup.plan import Plan, Say
from mapxdp.bringup.steps import Journal
from mapxdp.config import Napt44Mode
from mapxdp.conntrack import Arrival, Judgement
from mapxdp.links import Links
from mapxdp.model.virtual_range import virtual_range


def install(plan: Plan, journal: Journal, undo: ExitStack, say: Say) -> None:
    """Puts the table in place of a former one, where netfilter is wanted."""
    if plan.config.napt44 is not Napt44Mode.NETFILTER:
        return
    domain = plan.config.domain
    assert domain.ipv4_address is not None  # by Config
    table = nftables.table_name(plan.config.name)
    ports = virtual_range(domain)
    journal.note(nft_table=table)
    undo.callback(nftables.restore, table, nftables.listing(table))
    nftables.install(
        table, nftables.source_nat(plan.link.name, domain.ipv4_address, ports, plan.on_link)
    )
    say(f"nftables table ip {table}: virtual ports {ports.first}-{ports.last}")


def finish(plan: Plan, links: Links, journal: Journal, say: Say) -> None:
    """What cannot be undone, and therefore comes last.

    A table that is no longer wanted goes. So do connections that were begun under other rules:
    the kernel asks the table for new ones only, and a stream that never pauses would be dropped
    for ever.
    """
    table = journal.record.nft_table
    if plan.config.napt44 is Napt44Mode.NETFILTER:
        _forget(_not_of_the_table(plan, links), say)
    elif table is not None:
        nftables.remove(table)
        journal.note(nft_table=None)
        say(f"removed nftables table ip {table}")
        _forget(_of_the_table(plan), say)


def _forget(is_wrong: Judgement, say: Say) -> None:
    try:
        forgotten = conntrack.forget(is_wrong)
    except OSError as error:
        say(f"left the connections that netfilter knows as they are: {error}")
        return
    if forgotten:
        say(f"made netfilter forget {forgotten} connections begun under other rules")


def _not_of_the_table(plan: Plan, links: Links) -> Judgement:
    """Comes through the WAN, and not to the address and a port that the table gives."""
    domain = plan.config.domain
    ports = virtual_range(domain)
    beyond_wan: dict[IPv4Address, bool] = {}

    def is_wrong(arrival: Arrival) -> bool:
        source = arrival.source
        if arrival.destination == domain.ipv4_address and arrival.port in range(
            ports.first, ports.last + 1
        ):
            return False
        if source not in beyond_wan:
            beyond_wan[source] = links.ipv4_goes_through(plan.link, source) and not any(
                source in prefix for prefix in plan.on_link
            )
        return beyond_wan[source]

    return is_wrong


def _of_the_table(plan: Plan) -> Judgement:
    """Comes to the address that the table gave."""
    return lambda arrival: arrival.destination == plan.config.domain.ipv4_address
