# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The accelerator's part of ``up`` and ``down``: at which interfaces, and since when."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from mapxdp.bringup import acceleration, places
from mapxdp.bringup.places import Place
from mapxdp.bringup.plan import Plan, Say
from mapxdp.bringup.steps import Journal
from mapxdp.datapath.instance import Instance
from mapxdp.errors import HostError
from mapxdp.links import Hook, Link, Links
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.record import Record


def attach(
    plan: Plan, prepared: Instance, links: Links, journal: Journal, undo: ExitStack, say: Say
) -> None:
    """Attaches what the plan chose, beside what a former ``up`` has attached elsewhere.

    xdp.Refused where XDP turns out not to work: nothing has been sent by it until then.
    """
    chosen = plan.accelerator
    lans = {*journal.record.accelerated, *(link.name for link in chosen.lans)}
    journal.note(accelerated=tuple(sorted(lans)))
    for link in chosen.lans:
        _make_room(link, links, journal, undo)
    its_places = places.of_accelerator(chosen.hook, plan.link, chosen.lans)
    at_xdp = tuple(place for place in its_places if place.hook is None)
    others = tuple(place for place in its_places if place.hook is not None)
    places.attach_all(at_xdp, links, plan.config.name, prepared.attachable, undo)
    acceleration.require_targets([place.link for place in at_xdp])
    places.attach_all(others, links, plan.config.name, prepared.attachable, undo)
    say(f"accelerator: {chosen.why}")
    for warning in chosen.warnings:
        say(f"warning: {warning}")


def _make_room(link: Link, links: Links, journal: Journal, undo: ExitStack) -> None:
    if links.has_clsact(link):
        return
    journal.note(added_clsact_on=(*journal.record.added_clsact_on, link.name))
    links.add_clsact(link)
    undo.callback(links.delete_clsact, link)


def remove_former(plan: Plan, links: Links, journal: Journal) -> None:
    """Detaches what a former ``up`` attached and the plan has no more use for."""
    chosen = plan.accelerator
    kept = {_where(at) for at in places.of_accelerator(chosen.hook, plan.link, chosen.lans)}
    in_use = {link.name for link in chosen.lans}
    former = [link for name in journal.record.accelerated if (link := _find(links, name))]
    for hook in (AcceleratorHook.TC, AcceleratorHook.XDP):
        for place in places.of_accelerator(hook, plan.link, tuple(former)):
            if _where(place) not in kept:
                place.detach(links, plan.config.name)
    for link in former:
        if link.name not in in_use and link.name in journal.record.added_clsact_on:
            links.delete_clsact(link)
    journal.note(
        accelerated=tuple(sorted(in_use)),
        added_clsact_on=tuple(x for x in journal.record.added_clsact_on if x in in_use),
    )


def take_down(running: Record, links: Links) -> None:
    """Detaches everything from the LAN interfaces, as far as they are still there."""
    for link in filter(None, (_find(links, name) for name in running.accelerated)):
        detach_from(link, links, running.name)
        if link.name in running.added_clsact_on:
            links.delete_clsact(link)


def detach_from(link: Link, links: Links, name: str) -> None:
    """Detaches every program of an instance from an interface."""
    places.detach_xdp(link, name)
    for hook in Hook:
        links.detach(link, hook, name)


def _where(place: Place) -> tuple[int, Hook | None, int]:
    return place.link.index, place.hook, place.preference


def _find(links: Links, name: str) -> Link | None:
    with suppress(HostError):
        return links.find(name)
    return None
