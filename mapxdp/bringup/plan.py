# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ``up`` is about to do: the configuration checked against the machine it is for.

Everything that can fail for a reason of the user's fails here, before anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Interface

from mapxdp.bringup import acceleration
from mapxdp.bringup.acceleration import Acceleration
from mapxdp.config import Config, ConfigFile, DatapathKind, Napt44Mode
from mapxdp.config_translation import require_lowest_ipv6_mtu
from mapxdp.errors import HostError, InvalidValue, StateError
from mapxdp.links import Hook, Link, Links
from mapxdp.model.mtu import MINIMUM_IPV6_MTU
from mapxdp.record import Record

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A checked configuration, and what was found on the interface it names."""

    config: Config
    config_path: str
    config_text: str
    netns: str | None
    link: Link
    gateway: IPv6Address | None
    wan_mtu: int
    on_link: tuple[IPv4Network, ...]
    accelerator: Acceleration

    @property
    def ipv4_mtu(self) -> int:
        """The largest IPv4 packet that crosses the WAN whole."""
        return self.config.domain.ipv4_mtu(self.wan_mtu)

    @property
    def route_mtu(self) -> int:
        """What the kernel is told of the default route.

        Where a tunnel's packets are cut outside (RFC 7597 section 8.3.3), whatever fits the WAN has
        to come as it is: the datapath cuts it, or tells its sender.
        """
        cuts_outside = not self.config.domain.mode.translates
        if cuts_outside and not self.config.translation.fragment_inner:
            return self.wan_mtu
        return self.ipv4_mtu

    @property
    def mss(self) -> int | None:
        """The largest TCP MSS let through; None leaves it alone."""
        return self.config.mss_clamp.limit(self.ipv4_mtu)

    @property
    def map_interface(self) -> IPv6Interface:
        """The MAP address as it is put on an interface."""
        return IPv6Interface((self.config.domain.map_address, 128))

    def record(self) -> Record:
        """The record of this plan carried out; what was added to the host is added to it."""
        return Record(
            name=self.config.name,
            netns=self.netns,
            wan=self.link.name,
            config_path=self.config_path,
            config_text=self.config_text,
            map_address=str(self.config.domain.map_address),
            gateway=None if self.gateway is None else str(self.gateway),
            wan_mtu=self.wan_mtu,
            ipv4_mtu=self.ipv4_mtu,
            datapath=_datapath(self.config),
            accelerator=str(self.accelerator.hook),
            acceleration=self.accelerator.why,
        )


def make(file: ConfigFile, namespace: str | None, links: Links, former: Record | None) -> Plan:
    """Looks at the interface and checks everything; raises what is wrong."""
    config = file.config
    link = links.find(config.wan)
    wan_mtu = _wan_mtu(config, link)
    if config.lowest_ipv6_mtu is not None:
        require_lowest_ipv6_mtu(config.lowest_ipv6_mtu, wan_mtu)
    plan = Plan(
        config=config,
        config_path=str(file.path.absolute()),
        config_text=file.text,
        netns=namespace,
        link=link,
        gateway=_gateway(link, links),
        wan_mtu=wan_mtu,
        on_link=links.ipv4_prefixes(link),
        accelerator=acceleration.choose(config, link, links),
    )
    _require_free_wan(plan, links)
    _require_free_default_route(plan, links, former)
    return plan


def refuse_unsupported(config: Config) -> None:
    """InvalidValue for what the configuration can say and this version cannot do."""
    if config.napt44 is Napt44Mode.NETFILTER and config.datapath is DatapathKind.SOFTWARE:
        raise InvalidValue(
            "napt44.mode",
            config.napt44,
            "the software datapath does NAPT44 itself",
            'use "bpf", or ce.datapath = "tc"',
        )


def require_same_place(config: Config, namespace: str | None, former: Record | None) -> None:
    """StateError if the instance runs on another interface, or with another datapath."""
    if former is None:
        return
    remedy = f"mapxdp down {config.name} first, or give this configuration another ce.name"
    if (former.wan, former.netns) != (config.wan, namespace):
        where = former.wan + (f" in network namespace {former.netns}" if former.netns else "")
        if former.wan == config.wan:
            given = f"--netns {former.netns}" if former.netns else "no --netns"
            remedy = f"give {given} to change what runs there; or {remedy}"
        raise StateError(f"{config.name} runs on {where} already", remedy)
    if former.datapath != _datapath(config):
        raise StateError(f"{config.name} runs with the datapath {former.datapath}", remedy)


def _datapath(config: Config) -> str:
    return "software" if config.datapath is DatapathKind.SOFTWARE else "tc"


def _wan_mtu(config: Config, link: Link) -> int:
    if link.mtu < MINIMUM_IPV6_MTU:
        raise HostError(
            f"the MTU of {link.name} is {link.mtu}; IPv6 needs {MINIMUM_IPV6_MTU} "
            "(RFC 8200 section 5)",
            f"ip link set {link.name} mtu 1500",
        )
    if config.wan_mtu is not None and config.wan_mtu > link.mtu:
        raise HostError(
            f"mtu.wan = {config.wan_mtu} is more than the {link.mtu} of {link.name}",
            f"ip link set {link.name} mtu {config.wan_mtu}, or lower mtu.wan",
        )
    return config.wan_mtu or link.mtu


def _gateway(link: Link, links: Links) -> IPv6Address | None:
    if not link.has_neighbours:
        return None
    gateway = links.ipv6_gateway(link)
    if gateway is None:
        raise HostError(
            f"no IPv6 default route through {link.name}: without a gateway IPv4 has no way out",
            f"wait for the router advertisement, or: ip -6 route add default via fe80::1 "
            f"dev {link.name}",
        )
    return gateway


def _require_free_wan(plan: Plan, links: Links) -> None:
    for hook in Hook:
        links.require_place(plan.link, hook, plan.config.name)


def _require_free_default_route(plan: Plan, links: Links, former: Record | None) -> None:
    for route in links.ipv4_default_routes():
        its_links = (plan.link.name, *(() if former is None else former.added_tuns))
        is_ours = route.is_ours and route.interface in its_links
        if route.metric == 0 and not is_ours:
            through = f"via {route.via} " if route.via else ""
            raise StateError(
                f"there is an IPv4 default route {through}on {route.interface} already",
                f"ip route del default dev {route.interface}, or give that route a metric above 0",
            )
