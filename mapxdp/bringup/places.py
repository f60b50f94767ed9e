# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where the programs of a CE are attached, and which: the WAN's two, and the accelerator's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from mapxdp.datapath import instance, libbpf, xdp
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
            is_there = former is not None and _is_attached(self.link, former)
            xdp.attach(self.link.name, self.link.index, program, former if is_there else None)
        else:
            links.attach(self.link, self.hook, program, name, self.preference)

    def is_taken(self, links: Links, name: str) -> bool:
        """True if a program of the instance is attached."""
        if self.hook is None:
            return _has_xdp_of(self.link, name)
        return links.is_attached(self.link, self.hook, name, self.preference)

    def detach(self, links: Links, name: str, program: int) -> None:
        """Removes the program, if it is there."""
        if self.hook is None:
            xdp.detach(self.link.index, program)
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
            undo.callback(place.detach, links, name, program)
        else:
            undo.callback(place.attach, links, name, before, program)


def detach_xdp(link: Link, name: str) -> bool:
    """Removes the XDP program of an instance from an interface; True if there was one."""
    found = False
    for program in instance.pinned_xdp_programs(name):
        if _is_attached(link, program):
            xdp.detach(link.index, program)
            found = True
        os.close(program)
    return found


def _has_xdp_of(link: Link, name: str) -> bool:
    programs = instance.pinned_xdp_programs(name)
    found = any(_is_attached(link, program) for program in programs)
    for program in programs:
        os.close(program)
    return found


def _is_attached(link: Link, program: int) -> bool:
    return xdp.attached_program(link.index) == libbpf.program_id(program)
