# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing up the BPF datapath: TC programs on the WAN, pinned, with no process left behind."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Interface

from mapxdp import host
from mapxdp.bringup import netfilter, steps
from mapxdp.bringup.plan import Plan, Say
from mapxdp.datapath import bpffs, instance
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.instance import Instance
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.links import Hook, Links
from mapxdp.record import Record


def bring_up(plan: Plan, links: Links, former: Record | None, say: Say) -> Record:
    """Loads next to what runs, then takes its place; raises and undoes if a step fails."""
    if bpffs.ensure_mounted():
        say(f"mounted the BPF file system at {bpffs.MOUNT_POINT}")
    with instance.prepare(plan.config.name, _settings(plan), plan.link.l2_length) as prepared:
        say(f"compiled and loaded {len(list(prepared.programs))} BPF programs")
        if prepared.kept_mappings:
            say("kept the port mappings of the running datapath")
        elif prepared.replaced_mappings:
            say("the IPv4 address or the port set changed: began with no port mappings")
        with ExitStack() as undo:
            made = _change_network(plan, prepared, links, former, undo, say)
            made.save()
            prepared.commit()
            undo.pop_all()
    _remove_former_address(plan, links, former, say)
    netfilter.finish(plan, links, made, former, say)
    return made


def _settings(plan: Plan) -> DatapathSettings:
    return DatapathSettings(
        domain=plan.config.domain,
        napt44=Napt44Kind[plan.config.napt44.name],
        ipv4_mtu=plan.ipv4_mtu,
        mss=plan.mss,
        clock=TickClock.of_this_kernel(),
        on_link=plan.on_link,
        policy=plan.config.policy,
    )


def _change_network(
    plan: Plan,
    prepared: Instance,
    links: Links,
    former: Record | None,
    undo: ExitStack,
    say: Say,
) -> Record:
    """The steps that others can see. Undone in reverse order if one of them fails."""
    added_address = _add_address(plan, links, undo, say)
    added_clsact = links.add_clsact(plan.link)
    if added_clsact:
        undo.callback(links.delete_clsact, plan.link)
    nft_table = netfilter.install(plan, undo, say)
    _attach(plan, prepared, links, undo)
    say(f"attached to {plan.link.name}: TC egress and ingress")
    steps.set_default_route(links, plan.link, plan.gateway, plan.ipv4_mtu, former, undo)
    through = "" if plan.gateway is None else f" via {plan.gateway}"
    say(f"IPv4 default route{through} dev {plan.link.name} mtu {plan.ipv4_mtu}")
    sysctls = steps.set_sysctl(host.IPV4_FORWARDING, "1", undo, say)
    prepared.stage()
    undo.callback(prepared.unstage)
    made = replace(
        plan.record(),
        added_address=added_address,
        added_clsact=added_clsact,
        former_sysctls=sysctls,
        nft_table=nft_table,
    )
    return _with_former(made, former)


def _add_address(plan: Plan, links: Links, undo: ExitStack, say: Say) -> bool:
    added = links.add_ipv6_address(plan.link, plan.map_interface)
    if added:
        undo.callback(links.delete_ipv6_address, plan.link, plan.map_interface)
        say(f"added the MAP address {plan.map_interface} to {plan.link.name}")
    return added


def _attach(plan: Plan, prepared: Instance, links: Links, undo: ExitStack) -> None:
    """Attaches both programs; the former ones come back if anything fails later."""
    programs = {
        Hook.INGRESS: (prepared.programs.downstream.fd, prepared.former_downstream),
        Hook.EGRESS: (prepared.programs.upstream.fd, prepared.former_upstream),
    }
    for hook, (fd, former_fd) in programs.items():
        links.attach(plan.link, hook, fd, plan.config.name)
        if former_fd is None:
            undo.callback(links.detach, plan.link, hook)
        else:
            undo.callback(links.attach, plan.link, hook, former_fd, plan.config.name)


def _with_former(made: Record, former: Record | None) -> Record:
    """What a former ``up`` added is still this instance's to take away."""
    if former is None:
        return made
    same_address = former.map_address == made.map_address
    return replace(
        made,
        added_address=made.added_address or (same_address and former.added_address),
        added_clsact=made.added_clsact or former.added_clsact,
        former_sysctls=made.former_sysctls | former.former_sysctls,
    )


def _remove_former_address(plan: Plan, links: Links, former: Record | None, say: Say) -> None:
    if former is None or not former.added_address:
        return
    address = IPv6Interface(f"{former.map_address}/128")
    if address != plan.map_interface:
        links.delete_ipv6_address(plan.link, address)
        say(f"removed the former MAP address {address}")
