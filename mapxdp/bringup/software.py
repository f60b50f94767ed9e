# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing up the software datapath: a process behind a TUN device.

For machines where BPF cannot run, and to compare. IPv4 is routed into the TUN device, what
arrives for the MAP address too; the kernel forwards what the process writes back. The process
is the datapath: unlike the BPF one it does not outlive its end, and a new ``up`` begins with
no port mappings.
"""

from __future__ import annotations

from contextlib import ExitStack

from mapxdp import host
from mapxdp.bringup import steps
from mapxdp.bringup.plan import Plan, Say
from mapxdp.bringup.steps import Journal
from mapxdp.config import Napt44Mode
from mapxdp.links import Links
from mapxdp.record import Record
from mapxdp.software import daemon
from mapxdp.software.daemon import Job


def bring_up(plan: Plan, links: Links, former: Record | None, say: Say) -> Record:
    """Starts the process and routes traffic to it; raises and undoes if a step fails."""
    with ExitStack() as undo:
        journal = Journal(plan, former, undo)
        running = daemon.start(_job(plan))
        undo.callback(daemon.stop, running.process)
        journal.note(added_tuns=(*journal.record.added_tuns, running.tun))
        say(f"started the software datapath: process {running.process}, {running.tun}")
        _enable_forwarding(plan, journal, undo, say)
        tun = links.find(running.tun)
        links.set_up(tun)
        links.replace_ipv6_route(tun, plan.config.domain.map_network)
        steps.add_proxy(plan, links, journal, undo)
        steps.set_default_route(links, tun, None, plan.ipv4_mtu, undo)
        say(f"IPv4 default route dev {tun.name} mtu {plan.ipv4_mtu}")
        journal.finish(plan, added_tuns=(running.tun,), tun=running.tun, process=running.process)
        undo.pop_all()
    for process in daemon.processes(plan.config.name):
        if process != running.process:
            daemon.stop(process)
            say("stopped the former process; its port mappings are gone")
    steps.remove_former_addresses(plan, links, journal, say)
    return journal.record


def _job(plan: Plan) -> Job:
    return Job(
        name=plan.config.name,
        netns=plan.netns,
        config_text=plan.config_text,
        ipv4_mtu=plan.ipv4_mtu,
        mss=plan.mss,
        translates_ports=plan.config.napt44 is not Napt44Mode.NONE,
        on_link=tuple(map(str, plan.on_link)),
    )


def _enable_forwarding(plan: Plan, journal: Journal, undo: ExitStack, say: Say) -> None:
    """IPv4 as for every CE; IPv6 too, since the kernel forwards what the process makes.

    A forwarding host ignores router advertisements unless it is told not to.
    """
    wan = f"net/ipv6/conf/{plan.link.name}"
    if host.sysctl(host.IPV6_FORWARDING) == "0" and host.sysctl(f"{wan}/accept_ra") == "1":
        steps.set_sysctl(f"{wan}/accept_ra", "2", journal, undo, say)
    for name in (host.IPV4_FORWARDING, host.IPV6_FORWARDING, f"{wan}/proxy_ndp"):
        steps.set_sysctl(name, "1", journal, undo, say)
    # Proxies hesitate by default, to let the true owner of an address answer first.
    delay = f"net/ipv6/neigh/{plan.link.name}/proxy_delay"
    steps.set_sysctl(delay, "0", journal, undo, say)
