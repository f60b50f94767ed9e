# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The use cases: a CE is brought up, changed while it runs, and taken down.

``up`` and ``reload`` are one procedure: everything is checked, then prepared beside what runs,
then the network is changed step by step, each step with its undoing noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Interface
from pathlib import Path

from mapxdp import config as configuration
from mapxdp import host, netns, nftables, record
from mapxdp.bringup import plan as planning
from mapxdp.bringup import software, tc
from mapxdp.bringup.plan import Say
from mapxdp.config import DatapathKind
from mapxdp.datapath import bpffs
from mapxdp.errors import HostError, StateError
from mapxdp.links import Hook, open_links
from mapxdp.record import Record
from mapxdp.software import daemon


def up(path: Path, namespace: str | None, say: Say) -> Record:
    """Brings a CE up, or upgrades the running one in place without losing a packet."""
    host.require_root()
    config = configuration.load(path)
    planning.refuse_unsupported(config)
    former = record.load(config.name)
    planning.require_same_place(config, namespace, former)
    with netns.entered(namespace), open_links() as links:
        plan = planning.make(config, path, namespace, links, former)
        if config.datapath is DatapathKind.SOFTWARE:
            return software.bring_up(plan, links, former, say)
        host.require_kernel()
        return tc.bring_up(plan, links, former, say)


def reload(path: Path, namespace: str | None, say: Say) -> Record:
    """Puts a changed configuration in force; StateError if the CE is not running."""
    config = configuration.load(path)
    if record.load(config.name) is None:
        raise StateError(
            f"{config.name} is not running: there is nothing to reload", f"mapxdp up -c {path}"
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
        with _namespace_if_it_exists(running, say) as exists:
            if exists:
                _restore_network(running, say)
        if running.process is not None:
            daemon.stop(running.process)
    bpffs.remove(directory)
    record.delete(name)
    say(f"{name} is down")


def _restore_network(running: Record, say: Say) -> None:
    """Takes back what ``up`` did, as far as it is still there."""
    if running.nft_table is not None:
        nftables.remove(running.nft_table)
    with open_links() as links:
        try:
            link = links.find(running.wan)
        except HostError:
            say(f"{running.wan} is gone: nothing to detach")
            return
        if running.tun is None:
            links.delete_ipv4_default_route(link)
        for hook in Hook:
            links.detach(link, hook)
        if running.added_clsact:
            links.delete_clsact(link)
        address = IPv6Interface(f"{running.map_address}/128")
        if running.added_address:
            links.delete_ipv6_address(link, address)
        if running.added_proxy:
            links.delete_proxy_neighbour(link, address.ip)
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
