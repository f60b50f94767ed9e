# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compiling for an ``up`` that is to come: after an update, or on the machine that makes an image.

No CE need run, and no interface be there.
"""

from __future__ import annotations

from mapxdp.bringup.plan import Say
from mapxdp.config import Config, DatapathKind, Napt44Mode
from mapxdp.datapath import bytecode_cache, programs, tables
from mapxdp.errors import HostError
from mapxdp.links import ETHERNET_HEADER, Links
from mapxdp.model.accelerator import AcceleratorHook


def prepare(config: Config, links: Links, say: Say) -> None:
    """Leaves the bytecode where ``up`` looks for it; HostError where that cannot be."""
    if config.datapath is DatapathKind.SOFTWARE:
        say('datapath = "software" needs no compiler')
        return
    l2_length = _l2_length(config, links, say)
    contract = tables.contract_for(config.domain.port_set)
    programs.prepare(config.domain.mode, contract, l2_length, _accelerators(config, l2_length))
    say(f"compiled for {config.name}: see {bytecode_cache.directory()}")


def _l2_length(config: Config, links: Links, say: Say) -> int:
    try:
        return links.find(config.wan).l2_length
    except HostError as error:
        say(f"{error.problem}: compiling for Ethernet")
        return ETHERNET_HEADER


def _accelerators(config: Config, l2_length: int) -> list[AcceleratorHook]:
    """All that ``up`` may choose (acceleration.py), which looks at the drivers, too."""
    if not (l2_length and config.accelerator and config.lan and config.napt44 is Napt44Mode.BPF):
        return [AcceleratorHook.NONE]
    if config.datapath is DatapathKind.AUTO:
        return [AcceleratorHook.XDP, AcceleratorHook.TC]
    return [AcceleratorHook(config.datapath)]
