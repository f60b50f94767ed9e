# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How a customer edge behaves beyond its place in the domain."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network

from mapxdp.model.napt44 import Napt44Policy
from mapxdp.model.translation import TranslationPolicy


@dataclass(frozen=True)
class CeSettings:
    """``mss`` None leaves the MSS alone; ``lowest_ipv6_mtu`` None is the MTU of the WAN."""

    ipv4_mtu: int
    mss: int | None
    translates_ports: bool = True
    on_link: tuple[IPv4Network, ...] = ()
    policy: Napt44Policy = field(default_factory=Napt44Policy)
    translation: TranslationPolicy = field(default_factory=TranslationPolicy)
    lowest_ipv6_mtu: int | None = None
