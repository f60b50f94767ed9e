# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where the programs of a CE are attached, and which: the WAN's two, and the accelerator's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mapxdp.datapath import filters, instance, libbpf, xdp
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

    def attach(self, links: Links, name: str, program: int) -> None:
        """Attaches an open program, in one step in place of what the instance has there."""
        if self.hook is None:
            with _opened_xdp(self.link, name) as former:
                xdp.attach(self.link.name, self.link.index, program, former)
        else:
            links.attach(self.link, self.hook, program, name, self.preference)

    def put_back(self, links: Links, name: str, number: int) -> None:
        """Attaches the program that was there: ``occupant`` said its number.

        One that nobody had pinned went when another took its place: then nothing is there.
        """
        with libbpf.opened_program(number) as program:
            if program is None:
                self.detach(links, name)
            else:
                self.attach(links, name, program)

    def occupant(self, links: Links, name: str) -> int | None:
        """The kernel's number of the instance's program there; None where it has none."""
        if self.hook is None:
            with _opened_xdp(self.link, name) as program:
                return None if program is None else libbpf.program_id(program)
        if not links.is_attached(self.link, self.hook, name, self.preference):
            return None
        return filters.program(self.link.index, self.hook, self.preference)

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
    undo: ExitStack,
) -> None:
    """Attaches all; what was at a place comes back there if anything fails later."""
    for place in places:
        before = place.occupant(links, name)
        place.attach(links, name, programs[place.pin])
        if before is None:
            undo.callback(place.detach, links, name)
        else:
            undo.callback(place.put_back, links, name, before)


def detach_xdp(link: Link, name: str) -> None:
    """Removes the XDP program of an instance from an interface, if there is one."""
    with _opened_xdp(link, name) as program:
        if program is not None:
            xdp.detach(link.index, program)


@contextmanager
def _opened_xdp(link: Link, name: str) -> Iterator[int | None]:
    """The XDP program of an instance on an interface, whichever run of ``up`` pinned it,
    meanwhile open; None where there is none."""
    with instance.opened_accelerators(name) as programs:
        yield next((each for each in programs if xdp.is_attached(link.index, each)), None)
