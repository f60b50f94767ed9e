# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing up the software datapath: a process behind a TUN device.

For machines where BPF cannot run, and to compare. IPv4 is routed into the TUN device, what
arrives for the MAP address too; the kernel forwards what the process writes back. The process
is the datapath: unlike the BPF one it does not outlive its end, and a new ``up`` begins with
no port mappings.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from mapxdp import host
from mapxdp.bringup import steps
from mapxdp.bringup.plan import Plan, Say
from mapxdp.config import Napt44Mode
from mapxdp.links import Links
from mapxdp.record import Record
from mapxdp.software import daemon
from mapxdp.software.daemon import Job


def bring_up(plan: Plan, links: Links, former: Record | None, say: Say) -> Record:
    """Starts the process and routes traffic to it; raises and undoes if a step fails."""
    with ExitStack() as undo:
        running = daemon.start(_job(plan))
        undo.callback(daemon.stop, running.process)
        say(f"started the software datapath: process {running.process}, {running.tun}")
        sysctls = _enable_forwarding(plan, undo, say)
        tun = links.find(running.tun)
        links.set_up(tun)
        links.replace_ipv6_route(tun, plan.map_interface.network)
        added_proxy = _answer_for_map_address(plan, links, undo)
        steps.set_default_route(links, tun, None, plan.ipv4_mtu, former, undo)
        say(f"IPv4 default route dev {tun.name} mtu {plan.ipv4_mtu}")
        made = replace(
            plan.record(),
            added_proxy=added_proxy or (former is not None and former.added_proxy),
            former_sysctls=sysctls | (former.former_sysctls if former else {}),
            tun=running.tun,
            process=running.process,
        )
        made.save()
        undo.pop_all()
    if former is not None and former.process is not None:
        daemon.stop(former.process)
        say("stopped the former process; its port mappings are gone")
    return made


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


def _enable_forwarding(plan: Plan, undo: ExitStack, say: Say) -> dict[str, str]:
    """IPv4 as for every CE; IPv6 too, since the kernel forwards what the process makes.

    A forwarding host ignores router advertisements unless it is told not to.
    """
    wan = f"net/ipv6/conf/{plan.link.name}"
    former: dict[str, str] = {}
    if host.sysctl(host.IPV6_FORWARDING) == "0" and host.sysctl(f"{wan}/accept_ra") == "1":
        former |= steps.set_sysctl(f"{wan}/accept_ra", "2", undo, say)
    for name in (host.IPV4_FORWARDING, host.IPV6_FORWARDING, f"{wan}/proxy_ndp"):
        former |= steps.set_sysctl(name, "1", undo, say)
    # Proxies hesitate by default, to let the true owner of an address answer first.
    former |= steps.set_sysctl(f"net/ipv6/neigh/{plan.link.name}/proxy_delay", "0", undo, say)
    return former


def _answer_for_map_address(plan: Plan, links: Links, undo: ExitStack) -> bool:
    """Neighbours on the WAN that look for the MAP address find this host."""
    added = links.add_proxy_neighbour(plan.link, plan.map_interface.ip)
    if added:
        undo.callback(links.delete_proxy_neighbour, plan.link, plan.map_interface.ip)
    return added
