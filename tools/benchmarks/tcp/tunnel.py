# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The far end of a MAP-E tunnel, in BPF: not every kernel has one of its own."""

from __future__ import annotations

import os
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path

from benchmarks import topology
from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.links import ETHERNET_HEADER, Hook, open_links
from mapxdp.model.port_set import PortParameters, PortSet

_TEXT = Path(__file__).with_name("tunnel.bpf.c")
_FIRST, _ENDS_SIZE = bytes(4), 32
_PRIORITY = 1


def attach(interface: str, here: IPv6Address, there: IPv6Address) -> None:
    """To an interface of this thread's network namespace, with which it goes."""
    with ExitStack() as closing:
        ends = libbpf.create_map(MapSpec("tunnel", "ARRAY", "__u32", 4, "tunnel", _ENDS_SIZE, 1, 0))
        closing.callback(os.close, ends)
        libbpf.update(ends, _FIRST, here.packed + there.packed)
        contract = tables.contract_for(PortSet(PortParameters(6, 8), 0))
        names, text = ("wrap", "unwrap"), _TEXT.read_text(encoding="utf-8")
        code = compile_text(text, names, contract, ETHERNET_HEADER, {"tunnel": ends})
        links = closing.enter_context(open_links())
        link = links.find(interface)
        links.add_clsact(link)
        for name, hook in zip(names, (Hook.EGRESS, Hook.INGRESS), strict=True):
            fd = libbpf.load_program(name, code[name]).fd
            closing.callback(os.close, fd)
            topology.add_filter(link.index, hook, fd, name, _PRIORITY)
