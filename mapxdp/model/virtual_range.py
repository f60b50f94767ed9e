# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The consecutive ports that stand for a port set in netfilter mode.

The kernel's NAPT44 takes one range. Its ports stand for those of the set by position: the n-th
virtual port for the n-th port of the set. ``bpf/virtual_port.h`` does the same.
"""

from __future__ import annotations

from mapxdp.model.domain import Domain
from mapxdp.model.port_set import PORT_COUNT, PortRange, PortSet

_FIRST = 16384  # where the set leaves room: no well-known ports, no ephemeral ones of Linux


def virtual_base(port_set: PortSet) -> int:
    """The virtual port that stands for the first port of the set."""
    return min(_FIRST, PORT_COUNT - len(port_set))


def virtual_range(domain: Domain) -> PortRange:
    """The virtual ports netfilter may use: those of ports that may be handed out."""
    base = virtual_base(domain.port_set)
    reserved = sum(port in domain.port_set for port in domain.reserved_ports)
    return PortRange(base + reserved, base + len(domain.port_set) - 1)


def virtual_port(port_set: PortSet, port: int) -> int:
    """The virtual port that stands for ``port``, which is in the set."""
    return virtual_base(port_set) + port_set.index_of(port)
