# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The use cases: a CE is brought up, changed while it runs, and taken down.

``up`` and ``reload`` are one procedure. Everything that can fail for a reason of the user's
is checked first; then programs are compiled and loaded, which changes nothing; then the
network is changed step by step, each step with its undoing noted. What is running already
keeps running until the last step that can fail is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path

from mapxdp import config as configuration
from mapxdp import host, netns, record
from mapxdp.config import Config, DatapathKind, Napt44Mode
from mapxdp.datapath import bpffs, instance
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.instance import Instance
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.errors import HostError, InvalidValue, StateError
from mapxdp.links import Hook, Link, Links, open_links
from mapxdp.model.mtu import MINIMUM_IPV6_MTU
from mapxdp.model.rule import Assignment
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
    settings: DatapathSettings

    @property
    def map_interface(self) -> IPv6Interface:
        """The MAP address as it is put on the WAN."""
        return IPv6Interface((self.config.domain.map_address, 128))


def up(path: Path, namespace: str | None, say: Say) -> Record:
    """Brings a CE up, or upgrades the running one in place without losing a packet."""
    host.require_root()
    host.require_kernel()
    config = configuration.load(path)
    refuse_unsupported(config)
    former = record.load(config.name)
    _require_same_place(config, namespace, former)
    with netns.entered(namespace), open_links() as links:
        plan = _plan(config, path, namespace, links)
        _require_free_wan(plan, links)
        _require_free_default_route(plan, links, former)
        if bpffs.ensure_mounted():
            say(f"mounted the BPF file system at {bpffs.MOUNT_POINT}")
        with instance.prepare(config.name, plan.settings, plan.link.l2_length) as prepared:
            _say_what_was_prepared(prepared, say)
            return _change_network(plan, prepared, links, former, say)


def reload(path: Path, namespace: str | None, say: Say) -> Record:
    """Puts a changed configuration in force; StateError if the CE is not running."""
    config = configuration.load(path)
    if record.load(config.name) is None:
        raise StateError(
            f"{config.name} is not running: there is nothing to reload",
            f"mapxdp up -c {path}",
        )
    return up(path, namespace, say)


def down(name: str, say: Say) -> None:
    """Takes a CE down and undoes what ``up`` changed; StateError if there is none."""
    host.require_root()
    running = record.load(name)
    directory = bpffs.instance_directory(name)
    if running is None and not directory.is_dir():
        known = ", ".join(record.names()) or "none"
        raise StateError(f"{name} is not running (running: {known})", "mapxdp status")
    if running is not None:
        _restore_network(running, say)
    bpffs.remove(directory)
    record.delete(name)
    say(f"{name} is down")


def refuse_unsupported(config: Config) -> None:
    """InvalidValue for what the configuration can say and this version cannot do."""
    if config.datapath is DatapathKind.XDP:
        raise InvalidValue(
            "ce.datapath",
            config.datapath,
            "the XDP accelerator is not part of this version",
            'use "auto" or "tc": every packet is handled there',
        )
    if config.napt44 is Napt44Mode.NETFILTER:
        raise InvalidValue(
            "napt44.mode",
            config.napt44,
            "NAPT44 by netfilter is not part of this version",
            'use "bpf"',
        )
    if config.domain.forwarding_rules:
        raise InvalidValue(
            "rule.forwarding",
            "true",
            "forwarding rules (mesh) are not part of this version",
            "set forwarding = false: traffic to other CEs then goes through the BR",
        )
    if config.domain.assignment is Assignment.PREFIX and config.domain.mode.translates:
        raise InvalidValue(
            "rule.ipv4",
            config.domain.bmr.ipv4,
            "MAP-T of a whole IPv4 prefix is not part of this version",
            "ask the provider for MAP-E, or for a single address",
        )


def _require_same_place(config: Config, namespace: str | None, former: Record | None) -> None:
    if former is None:
        return
    if (former.wan, former.netns) != (config.wan, namespace):
        where = f"{former.wan}" + (f" in network namespace {former.netns}" if former.netns else "")
        raise StateError(
            f"{config.name} runs on {where} already",
            f"mapxdp down {config.name} first, or give this configuration another ce.name",
        )


def _plan(config: Config, path: Path, namespace: str | None, links: Links) -> Plan:
    link = links.find(config.wan)
    wan_mtu = _wan_mtu(config, link)
    ipv4_mtu = config.domain.ipv4_mtu(wan_mtu)
    return Plan(
        config=config,
        config_path=str(path.resolve()),
        config_text=path.read_text(encoding="utf-8"),
        netns=namespace,
        link=link,
        gateway=_gateway(link, links),
        wan_mtu=wan_mtu,
        settings=DatapathSettings(
            domain=config.domain,
            translates_ports=config.napt44 is Napt44Mode.BPF,
            ipv4_mtu=ipv4_mtu,
            mss=config.mss_clamp.limit(ipv4_mtu),
            clock=TickClock.of_this_kernel(),
            on_link=links.ipv4_prefixes(link),
            timeouts=config.timeouts,
        ),
    )


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
        owner = links.attached(plan.link, hook)
        if owner not in (None, plan.config.name):
            raise StateError(
                f"instance {owner} runs on {plan.link.name} already",
                f"mapxdp down {owner} first",
            )


def _require_free_default_route(plan: Plan, links: Links, former: Record | None) -> None:
    for route in links.ipv4_default_routes():
        is_ours = route.interface == plan.link.name and (
            former is not None or (plan.gateway and route.via == str(plan.gateway))
        )
        if route.metric == 0 and not is_ours:
            through = f"via {route.via} " if route.via else ""
            raise StateError(
                f"there is an IPv4 default route {through}on {route.interface} already",
                f"ip route del default dev {route.interface}, or give that route a metric above 0",
            )


def _say_what_was_prepared(prepared: Instance, say: Say) -> None:
    say(f"compiled and loaded {len(list(prepared.programs))} BPF programs")
    if prepared.kept_mappings:
        say("kept the port mappings of the running datapath")
    elif prepared.replaced_mappings:
        say("the IPv4 address or the port set changed: began with no port mappings")


def _change_network(
    plan: Plan, prepared: Instance, links: Links, former: Record | None, say: Say
) -> Record:
    """The steps that others can see. Undone in reverse order if one of them fails."""
    with ExitStack() as undo:
        added_address = _add_address(plan, links, undo, say)
        added_clsact = links.add_clsact(plan.link)
        if added_clsact:
            undo.callback(links.delete_clsact, plan.link)
        _attach(plan, prepared, links, undo)
        say(f"attached to {plan.link.name}: TC egress and ingress")
        _set_default_route(plan, links, former, undo, say)
        sysctls = _enable_forwarding(undo, say)
        prepared.stage()
        undo.callback(prepared.unstage)
        made = Record(
            name=plan.config.name,
            netns=plan.netns,
            wan=plan.link.name,
            config_path=plan.config_path,
            config_text=plan.config_text,
            map_address=str(plan.config.domain.map_address),
            gateway=None if plan.gateway is None else str(plan.gateway),
            wan_mtu=plan.wan_mtu,
            ipv4_mtu=plan.settings.ipv4_mtu,
            added_address=added_address,
            added_clsact=added_clsact,
            added_route=True,
            former_sysctls=sysctls,
        )
        made = _with_former(made, former)
        made.save()
        prepared.commit()
        undo.pop_all()
    _remove_former_address(plan, links, former, say)
    return made


def _add_address(plan: Plan, links: Links, undo: ExitStack, say: Say) -> bool:
    added = links.add_ipv6_address(plan.link, plan.map_interface)
    if added:
        undo.callback(links.delete_ipv6_address, plan.link, plan.map_interface)
        say(f"added the MAP address {plan.map_interface} to {plan.link.name}")
    return added


def _attach(plan: Plan, prepared: Instance, links: Links, undo: ExitStack) -> None:
    """Attaches both programs; the former ones come back if anything fails later."""
    programs = {
        Hook.INGRESS: (prepared.programs.downstream.fd, prepared.former_downstream),
        Hook.EGRESS: (prepared.programs.upstream.fd, prepared.former_upstream),
    }
    for hook, (fd, former_fd) in programs.items():
        links.attach(plan.link, hook, fd, plan.config.name)
        if former_fd is None:
            undo.callback(links.detach, plan.link, hook)
        else:
            undo.callback(links.attach, plan.link, hook, former_fd, plan.config.name)


def _set_default_route(
    plan: Plan, links: Links, former: Record | None, undo: ExitStack, say: Say
) -> None:
    mtu = plan.settings.ipv4_mtu
    links.replace_ipv4_default_route(plan.link, plan.gateway, mtu)
    if former is None:
        undo.callback(links.delete_ipv4_default_route, plan.link)
    else:
        gateway = None if former.gateway is None else IPv6Address(former.gateway)
        undo.callback(links.replace_ipv4_default_route, plan.link, gateway, former.ipv4_mtu)
    through = "" if plan.gateway is None else f" via {plan.gateway}"
    say(f"IPv4 default route{through} dev {plan.link.name} mtu {mtu}")


def _enable_forwarding(undo: ExitStack, say: Say) -> dict[str, str]:
    former = host.set_sysctl(host.IPV4_FORWARDING, "1")
    if former is None:
        return {}
    undo.callback(host.set_sysctl, host.IPV4_FORWARDING, former)
    say(f"enabled IPv4 forwarding ({host.IPV4_FORWARDING} was {former})")
    return {host.IPV4_FORWARDING: former}


def _with_former(made: Record, former: Record | None) -> Record:
    """What a former ``up`` added is still this instance's to take away."""
    if former is None:
        return made
    same_address = former.map_address == made.map_address
    return replace(
        made,
        added_address=made.added_address or (same_address and former.added_address),
        added_clsact=made.added_clsact or former.added_clsact,
        former_sysctls=former.former_sysctls | made.former_sysctls,
    )


def _remove_former_address(plan: Plan, links: Links, former: Record | None, say: Say) -> None:
    if former is None or not former.added_address:
        return
    address = IPv6Interface(f"{former.map_address}/128")
    if address != plan.map_interface:
        links.delete_ipv6_address(plan.link, address)
        say(f"removed the former MAP address {address}")


def _restore_network(running: Record, say: Say) -> None:
    """Takes back what ``up`` did, as far as it is still there."""
    with _namespace_if_it_exists(running, say) as exists:
        if not exists:
            return
        with open_links() as links:
            try:
                link = links.find(running.wan)
            except HostError:
                say(f"{running.wan} is gone: nothing to detach")
                return
            if running.added_route:
                links.delete_ipv4_default_route(link)
            for hook in Hook:
                links.detach(link, hook)
            if running.added_clsact:
                links.delete_clsact(link)
            if running.added_address:
                links.delete_ipv6_address(link, IPv6Interface(f"{running.map_address}/128"))
        for name, value in running.former_sysctls.items():
            host.set_sysctl(name, value)
            say(f"set {name} back to {value}")


@contextmanager
def _namespace_if_it_exists(running: Record, say: Say) -> Iterator[bool]:
    if running.netns is not None and not (netns.DIRECTORY / running.netns).exists():
        say(f"network namespace {running.netns} is gone: nothing to detach")
        yield False
        return
    with netns.entered(running.netns):
        yield True
