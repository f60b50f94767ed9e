# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's checks of what a path is beside a pipe: its hops answer, and long packets cross.

The BR counts whole datagrams and not the errors of routers: these checks come after the one
that compares counters.
"""

from __future__ import annotations

from collections.abc import Iterator

from mapxdp import netns
from mapxdp.lab import checks, traceroute
from mapxdp.lab.checks import Check, Result, Running, attempt
from mapxdp.lab.topology import SERVER_IPV4, Lab

_CLOSED_PORT = 33434


def along_the_path(running: Running) -> Iterator[Check]:
    """Traceroute, and datagrams that no packet holds."""
    yield attempt("traceroute", lambda: _traceroute(running.lab))
    yield from checks.fragments(running)


def _traceroute(lab: Lab) -> Result:
    """Every hop answers, and the last is the server."""
    with netns.entered(lab.netns("client1")):
        hops = traceroute.trace(traceroute.Kind.UDP, SERVER_IPV4, _CLOSED_PORT)
    arrived = hops[-1] == traceroute.Hop(SERVER_IPV4, traceroute.PORT_UNREACHABLE)
    return arrived and None not in hops, f"client1 → {traceroute.shown(hops)}", {}
