# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which accelerator the interfaces of a CE can have: decided before anything is changed.

Whether XDP can send frames into an interface many drivers say only once a program is on it: there
the choice is to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mapxdp import netdev
from mapxdp.config import Config, DatapathKind, Napt44Mode
from mapxdp.datapath.xdp import Refused
from mapxdp.errors import HostError
from mapxdp.links import Link, Links
from mapxdp.model.accelerator import AcceleratorHook, AcceleratorPolicy
from mapxdp.netdev import Device

_USE_TC = 'set ce.datapath = "auto" or "tc"'


@dataclass(frozen=True, slots=True)
class Acceleration:
    """Where packets take shortcuts, from and to which LAN interfaces, and why there.

    ``policy`` is None where nothing is accelerated.
    """

    hook: AcceleratorHook
    lans: tuple[Link, ...]
    policy: AcceleratorPolicy | None
    why: str
    warnings: tuple[str, ...] = ()


def choose(config: Config, wan: Link, links: Links) -> Acceleration:
    """HostError where ``datapath = "xdp"`` asks for what cannot be."""
    wants_xdp = config.datapath is DatapathKind.XDP
    why = _why_none(config, wan, links)
    if why is not None:
        if wants_xdp:
            raise HostError(f"XDP accelerates nothing here: {why}", _USE_TC)
        return Acceleration(AcceleratorHook.NONE, (), None, why)
    lans = tuple(links.find(name) for name in config.lan)
    if config.datapath is DatapathKind.TC:
        return _at(AcceleratorHook.TC, lans, config, 'TC: datapath = "tc"')
    return decide(config, lans, [netdev.look_at(link) for link in (wan, *lans)])


def decide(config: Config, lans: tuple[Link, ...], devices: Sequence[Device]) -> Acceleration:
    """XDP or TC, by what was seen of the WAN and the LAN interfaces.

    HostError where ``datapath = "xdp"`` asks for what cannot be.
    """
    if config.datapath is DatapathKind.XDP:
        for device in devices:
            if device.why_never_xdp:
                raise HostError(device.why_never_xdp, _remedy(device))
        return _xdp(lans, config, devices, 'datapath = "xdp"')
    reasons = [device.why_not_xdp for device in devices if device.why_not_xdp]
    if reasons:
        return _at(AcceleratorHook.TC, lans, config, f"TC: {reasons[0]}")
    names = ", ".join(device.name for device in devices)
    return _xdp(lans, config, devices, f"the drivers of {names} have it")


def without_xdp(tried: Acceleration, why: str) -> Acceleration:
    """The choice where XDP turned out not to work."""
    return replace(tried, hook=AcceleratorHook.TC, why=f"TC: {why}", warnings=())


def require_targets(interfaces: Sequence[Link]) -> None:
    """Refused where XDP cannot send frames into one of these, now that programs are on them."""
    for device in map(netdev.look_at, interfaces):
        if device.why_no_target:
            raise Refused(device.why_no_target, _remedy(device))


def _remedy(device: Device) -> str:
    return ", or ".join(filter(None, (device.xdp_remedy, _USE_TC)))


def _why_none(config: Config, wan: Link, links: Links) -> str | None:
    """Why nothing can be accelerated, at whatever hook; None where it can."""
    if config.accelerator is None:
        return "accelerator.enabled is false"
    if config.napt44 is not Napt44Mode.BPF:
        return f'napt44.mode is "{config.napt44}"'
    if config.datapath is DatapathKind.SOFTWARE:
        return 'datapath is "software"'
    if not config.lan:
        return "ce.lan names no interface"
    try:
        found = [wan, *(links.find(name) for name in config.lan)]
    except HostError as error:
        return error.problem
    without = [link.name for link in found if not link.l2_length]
    return f"{without[0]} has no Ethernet header" if without else None


def _xdp(
    lans: tuple[Link, ...], config: Config, devices: Sequence[Device], why: str
) -> Acceleration:
    warnings = tuple(
        f"{device.name} joins packets before XDP sees them: "
        f"ethtool -K {device.name} {' '.join(f'{offload} off' for offload in device.joining)}"
        for device in devices
        if device.joining
    )
    return _at(AcceleratorHook.XDP, lans, config, f"XDP: {why}", warnings)


def _at(
    hook: AcceleratorHook,
    lans: tuple[Link, ...],
    config: Config,
    why: str,
    warnings: tuple[str, ...] = (),
) -> Acceleration:
    return Acceleration(hook, lans, config.accelerator, why, warnings)
