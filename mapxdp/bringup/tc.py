# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing up the BPF datapath: TC programs on the WAN, pinned, with no process left behind."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from mapxdp import host
from mapxdp.bringup import acceleration, accelerator, netfilter, places, ports, steps
from mapxdp.bringup.plan import Plan, Say
from mapxdp.bringup.steps import Journal
from mapxdp.config import DatapathKind
from mapxdp.datapath import bpffs, instance, xdp
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.instance import Instance
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.links import Links
from mapxdp.record import Record


def bring_up(plan: Plan, links: Links, former: Record | None, say: Say) -> Record:
    """Loads next to what runs, then takes its place; raises and undoes if a step fails.

    Where XDP was chosen and turns out not to work, TC takes its part, unless XDP was asked for.
    """
    if bpffs.ensure_mounted():
        say(f"mounted the BPF file system at {bpffs.MOUNT_POINT}")
    try:
        return _carry_out(plan, links, former, say)
    except xdp.Refused as error:
        if plan.config.datapath is DatapathKind.XDP:
            raise
        say(f"without XDP, then: {error.problem}")
        at_tc = acceleration.without_xdp(plan.accelerator, error.problem)
        return _carry_out(replace(plan, accelerator=at_tc), links, former, say)


def _carry_out(plan: Plan, links: Links, former: Record | None, say: Say) -> Record:
    hook = plan.accelerator.hook
    with instance.prepare(plan.config.name, _settings(plan), plan.link.l2_length, hook) as prepared:
        say(f"compiled and loaded {len(list(prepared.programs))} BPF programs")
        if prepared.kept_mappings:
            say("kept the port mappings of the running datapath")
        elif prepared.replaced_mappings:
            say("the IPv4 address or the port set changed: began with no port mappings")
        with ExitStack() as undo:
            journal = Journal(plan, former, undo)
            undo.callback(prepared.unstage)
            prepared.stage()
            _change_network(plan, prepared, links, journal, undo, say)
            journal.finish(plan)
            prepared.commit()
            undo.pop_all()
        accelerator.remove_former(plan, links, journal)
        prepared.remove_former()
    steps.remove_former_addresses(plan, links, journal, say)
    netfilter.finish(plan, links, journal, say)
    ports.reconcile(plan, journal, prepared.kept_mappings, say)
    return journal.record


def _settings(plan: Plan) -> DatapathSettings:
    return DatapathSettings(
        domain=plan.config.domain,
        napt44=Napt44Kind[plan.config.napt44.name],
        ipv4_mtu=plan.ipv4_mtu,
        mss=plan.mss,
        clock=TickClock.of_this_kernel(),
        on_link=plan.on_link,
        policy=plan.config.policy,
        translation=plan.config.translation,
        lowest_ipv6_mtu=plan.config.lowest_ipv6_mtu,
        accelerator=plan.accelerator.policy,
    )


def _change_network(
    plan: Plan, prepared: Instance, links: Links, journal: Journal, undo: ExitStack, say: Say
) -> None:
    """The steps that others can see. Undone in reverse order if one of them fails."""
    steps.add_address(plan, links, journal, undo, say)
    if not links.has_clsact(plan.link):
        journal.note(added_clsact=True)
        links.add_clsact(plan.link)
        undo.callback(links.delete_clsact, plan.link)
    netfilter.install(plan, journal, undo, say)
    places.attach_all(
        places.of_translator(plan.link),
        links,
        plan.config.name,
        prepared.attachable,
        undo,
    )
    say(f"attached to {plan.link.name}: TC egress and ingress")
    accelerator.attach(plan, prepared, links, journal, undo, say)
    steps.set_default_route(links, plan.link, plan.gateway, plan.route_mtu, undo)
    through = "" if plan.gateway is None else f" via {plan.gateway}"
    say(f"IPv4 default route{through} dev {plan.link.name} mtu {plan.route_mtu}")
    steps.set_sysctl(host.IPV4_FORWARDING, "1", journal, undo, say)
