# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The use cases: a CE is brought up, changed while it runs, and taken down.

``up`` and ``reload`` are one procedure: everything is checked, then prepared beside what runs,
then the network is changed step by step, each step with its undoing noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path

from mapxdp import config as configuration
from mapxdp import host, netns, nftables, record
from mapxdp.bringup import accelerator, software, tc
from mapxdp.bringup import plan as planning
from mapxdp.bringup import prepare as preparing
from mapxdp.bringup.plan import Say
from mapxdp.config import ConfigFile, DatapathKind
from mapxdp.datapath import bpffs, instance
from mapxdp.errors import HostError, StateError
from mapxdp.links import Hook, Link, Links, open_links
from mapxdp.record import Record
from mapxdp.software import daemon


def up(path: Path, namespace: str | None, say: Say) -> Record:
    """Brings a CE up, or upgrades the running one in place without losing a packet."""
    host.require_root()
    return _up(configuration.load(path), namespace, say)


def _up(file: ConfigFile, namespace: str | None, say: Say) -> Record:
    config = file.config
    planning.refuse_unsupported(config)
    with record.changing(config.name), netns.entered(namespace), open_links() as links:
        former = record.load(config.name)
        planning.require_same_place(config, namespace, former)
        plan = planning.make(file, namespace, links, former)
        if config.datapath is DatapathKind.SOFTWARE:
            return software.bring_up(plan, links, former, say)
        host.require_kernel()
        return tc.bring_up(plan, links, former, say)


def prepare(path: Path, namespace: str | None, say: Say) -> None:
    """Compiles what ``up`` will need, and changes nothing else."""
    host.require_root()
    config = configuration.load(path).config
    planning.refuse_unsupported(config)
    with netns.entered(namespace), open_links() as links:
        preparing.prepare(config, links, say)


def reload(path: Path, namespace: str | None, say: Say) -> Record:
    """Puts a changed configuration in force; StateError if the CE is not running."""
    host.require_root()
    file = configuration.load(path)
    name = file.config.name
    if record.load(name) is None:
        raise StateError(
            f"{name} is not running: there is nothing to reload",
            record.up_command(path, namespace),
        )
    return _up(file, namespace, say)


def down(name: str, say: Say) -> None:
    """Takes a CE down and undoes what ``up`` changed; StateError if there is none."""
    host.require_root()
    with record.changing(name):
        running = record.load(name)
        if running is None:
            _require_traces(name, _detach_everywhere(name, say))
        else:
            with _namespace_if_it_exists(running, say) as exists:
                if exists:
                    _restore_network(running, say)
        for process in daemon.processes(name):
            daemon.stop(process)
        daemon.remove_files(name)
        instance.remove(name)
        record.delete(name)
    directory = bpffs.instance_directory(name)
    if directory.is_dir():
        say(f"{directory} stays: there is more in it than mapxdp pinned")
    say(f"{name} is down")


def _restore_network(running: Record, say: Say) -> None:
    """Takes back what ``up`` did, as far as it is still there."""
    if running.nft_table is not None:
        nftables.remove(running.nft_table)
    with open_links() as links:
        accelerator.take_down(running, links)
        try:
            link = links.find(running.wan)
        except HostError:
            say(f"{running.wan} is gone: nothing to detach")
            return
        _detach(links, link, running.name)
        if running.added_clsact:
            links.delete_clsact(link)
        for text in running.added_addresses:
            links.delete_ipv6_address(link, IPv6Interface(f"{text}/128"))
        for text in running.added_proxies:
            links.delete_proxy_neighbour(link, IPv6Address(text))
    for name, value in running.former_sysctls.items():
        host.set_sysctl(name, value)
        say(f"set {name} back to {value}")


def _detach(links: Links, link: Link, name: str) -> None:
    """No packet more to the datapath: the route first, then the programs."""
    links.delete_ipv4_default_route(link)
    accelerator.detach_from(link, links, name)


def _detach_everywhere(name: str, say: Say) -> bool:
    """Without a record: the programs of an instance wherever they are attached; True if so."""
    found = False
    namespaces = sorted(path.name for path in netns.DIRECTORY.glob("*"))
    for namespace in (None, *namespaces):
        with suppress(HostError), netns.entered(namespace), open_links() as links:
            for link in links.all():
                if any(links.attached(link, hook) == name for hook in Hook):
                    _detach(links, link, name)
                    where = f"{link.name} in {namespace}" if namespace else link.name
                    say(f"no record of {name}; its programs and route are off {where}")
                    found = True
    return found


def _require_traces(name: str, was_attached: bool) -> None:
    """StateError if there is nothing at all of an instance."""
    if not (was_attached or bpffs.instance_directory(name).is_dir() or daemon.processes(name)):
        known = ", ".join(record.names()) or "none"
        raise StateError(f"{name} is not running (running: {known})", "mapxdp status")


@contextmanager
def _namespace_if_it_exists(running: Record, say: Say) -> Iterator[bool]:
    if running.netns is not None and not (netns.DIRECTORY / running.netns).exists():
        say(f"network namespace {running.netns} is gone: nothing to detach")
        yield False
        return
    with netns.entered(running.netns):
        yield True
