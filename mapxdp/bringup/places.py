# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where the programs of a CE are attached, and which: the WAN's two, and the accelerator's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from mapxdp.datapath import instance, xdp
from mapxdp.links import ACCELERATOR_PREFERENCE, FILTER_PREFERENCE, Hook, Link, Links
from mapxdp.model.accelerator import AcceleratorHook


@dataclass(frozen=True, slots=True)
class Place:
    """A program's place: a TC filter or, with ``hook`` None, XDP. ``pin`` names the program."""

    link: Link
    hook: Hook | None
    pin: str
    preference: int = FILTER_PREFERENCE

    def __str__(self) -> str:
        hook = "XDP" if self.hook is None else f"TC {self.hook.name.lower()}"
        return f"{hook} of {self.link.name}"

    def attach(self, links: Links, name: str, program: int, former: int | None) -> None:
        """Attaches an open program, in one step in place of ``former``."""
        if self.hook is None:
            is_there = former is not None and xdp.is_attached(self.link.index, former)
            xdp.attach(self.link.name, self.link.index, program, former if is_there else None)
        else:
            links.attach(self.link, self.hook, program, name, self.preference)

    def is_taken(self, links: Links, name: str) -> bool:
        """True if a program of the instance is attached."""
        if self.hook is None:
            with instance.opened_accelerators(name) as programs:
                return any(xdp.is_attached(self.link.index, program) for program in programs)
        return links.is_attached(self.link, self.hook, name, self.preference)

    def detach(self, links: Links, name: str) -> None:
        """Removes what the instance has there, if it is pinned still, and no other's."""
        if self.hook is None:
            detach_xdp(self.link, name)
        else:
            links.detach(self.link, self.hook, name, self.preference)


def of_translator(wan: Link) -> tuple[Place, ...]:
    """The two that make a CE."""
    return (
        Place(wan, Hook.INGRESS, instance.DOWNSTREAM_PIN),
        Place(wan, Hook.EGRESS, instance.UPSTREAM_PIN),
    )


def of_accelerator(hook: AcceleratorHook, wan: Link, lans: tuple[Link, ...]) -> tuple[Place, ...]:
    """What makes shortcuts comes last: nothing is accelerated before all is in place."""
    if hook is AcceleratorHook.NONE:
        return ()
    if hook is AcceleratorHook.XDP:
        at_wan = Place(wan, None, instance.accelerator_pin("wan"))
        at_lans = [Place(lan, None, instance.accelerator_pin("lan")) for lan in lans]
    else:
        at_wan = Place(wan, Hook.INGRESS, instance.accelerator_pin("wan"), ACCELERATOR_PREFERENCE)
        at_lans = [Place(lan, Hook.INGRESS, instance.accelerator_pin("lan")) for lan in lans]
    confirming = [Place(lan, Hook.EGRESS, instance.accelerator_pin("confirm")) for lan in lans]
    return (at_wan, *at_lans, *confirming)


def attach_all(
    places: tuple[Place, ...],
    links: Links,
    name: str,
    programs: Mapping[str, int],
    former: Mapping[str, int],
    undo: ExitStack,
) -> None:
    """Attaches all; the former ones come back if anything fails later."""
    for place in places:
        program, before = programs[place.pin], former.get(place.pin)
        place.attach(links, name, program, before)
        if before is None:
            undo.callback(place.detach, links, name)
        else:
            undo.callback(place.attach, links, name, before, program)


def detach_xdp(link: Link, name: str) -> None:
    """Removes the XDP program of an instance from an interface, if there is one."""
    with instance.opened_accelerators(name) as programs:
        for program in programs:
            xdp.detach(link.index, program)
