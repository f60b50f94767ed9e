# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which accelerator the interfaces of a CE can have: decided before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from mapxdp.config import Config, DatapathKind, Napt44Mode
from mapxdp.errors import HostError
from mapxdp.links import Link, Links
from mapxdp.model.accelerator import AcceleratorHook, AcceleratorPolicy


@dataclass(frozen=True, slots=True)
class Acceleration:
    """Where packets take shortcuts, from and to which LAN interfaces, and why there.

    ``policy`` is None where nothing is accelerated.
    """

    hook: AcceleratorHook
    lans: tuple[Link, ...]
    policy: AcceleratorPolicy | None
    why: str


def _none(why: str) -> Acceleration:
    return Acceleration(AcceleratorHook.NONE, (), None, f"none: {why}")


def choose(config: Config, wan: Link, links: Links) -> Acceleration:
    """HostError where ``datapath = "xdp"`` asks for what cannot be."""
    if config.accelerator is None:
        return _none("accelerator.enabled is false")
    if config.napt44 is not Napt44Mode.BPF:
        return _none(f'napt44.mode is "{config.napt44}": the kernel has to see every packet')
    if not wan.l2_length:
        return _none(f"{wan.name} has no link-layer header")
    try:
        lans = tuple(links.find(name) for name in config.lan)
    except HostError as error:
        return _none(error.problem)
    if not lans:
        return _none("ce.lan names no interface")
    hook = AcceleratorHook.XDP if config.datapath is DatapathKind.XDP else AcceleratorHook.TC
    return Acceleration(hook, lans, config.accelerator, str(hook))
