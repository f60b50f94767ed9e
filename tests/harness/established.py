# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections whose packets take a shortcut in both directions."""

from __future__ import annotations

from harness import packets
from harness.accelerated import AcceleratedCe
from harness.domains import RULES, domain
from harness.exchange import lan_packet, port_given, receive
from harness.loaded import LoadedCes
from mapxdp.model.accelerator import AcceleratorHook

#: At which the accelerator runs.
HOOKS = [AcceleratorHook.TC, AcceleratorHook.XDP]


def accelerated(loaded_ces: LoadedCes, mode: str, hook: AcceleratorHook) -> AcceleratedCe:
    ce = loaded_ces.get(domain(mode, RULES[63]), hook=hook)
    assert isinstance(ce, AcceleratedCe)
    return ce


def ask(ce: AcceleratedCe, protocol: str = "udp", flags: int = packets.ACK) -> bool:
    """The host of the connection sends; whether that took a shortcut."""
    taken = ce.taken
    assert ce.from_lan(lan_packet(protocol, flags=flags)).packets
    return ce.taken > taken


def answer(ce: AcceleratedCe, port: int, protocol: str = "udp", flags: int = packets.ACK) -> bool:
    """Its remote sends; whether that took a shortcut."""
    taken = ce.taken
    assert receive(ce, port, protocol, flags=flags).packets
    return ce.taken > taken


def established(ce: AcceleratedCe, protocol: str = "udp") -> int:
    """The port of a connection that ``ask`` and ``answer`` speak for."""
    port = port_given(ce.from_lan(lan_packet(protocol)))
    receive(ce, port, protocol)
    for _ in range(2):
        ask(ce, protocol)
        answer(ce, port, protocol)
    assert ask(ce, protocol)
    assert answer(ce, port, protocol)
    return port
