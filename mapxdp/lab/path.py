# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's checks of what a path is beside a pipe: its hops answer, and long packets cross.

The BR counts whole datagrams and not the errors of routers: these checks come after the one
that compares counters.
"""

from __future__ import annotations

from collections.abc import Iterator

from mapxdp import netns
from mapxdp.lab import clients, traceroute
from mapxdp.lab.checks import Check, Result, Running, attempt
from mapxdp.lab.topology import SERVER_IPV4, Lab

_PING_SIZE = 4000
_DATAGRAM_SIZE = 30_000
_CLOSED_PORT = 33434


def along_the_path(running: Running) -> Iterator[Check]:
    """Traceroute, and packets that have to be cut, from client1."""
    lab = running.lab
    yield attempt("traceroute", lambda: _traceroute(lab))
    yield attempt("4000-octet ping", lambda: _long_ping(lab))
    yield attempt("30 KB datagram", lambda: _long_datagram(lab))


def _traceroute(lab: Lab) -> Result:
    """Every hop answers, and the last is the server."""
    with netns.entered(lab.netns("client1")):
        hops = traceroute.trace(traceroute.Kind.UDP, SERVER_IPV4, _CLOSED_PORT)
    arrived = hops[-1] == traceroute.Hop(SERVER_IPV4, traceroute.PORT_UNREACHABLE)
    return arrived and None not in hops, f"client1 → {traceroute.shown(hops)}", {}


def _long_ping(lab: Lab) -> Result:
    with netns.entered(lab.netns("client1")):
        answered = len(clients.ping(SERVER_IPV4, size=_PING_SIZE))
    evidence = f"client1 → {SERVER_IPV4}: {answered} of 3 came back the same, in fragments"
    return answered == 3, evidence, {}


def _long_datagram(lab: Lab) -> Result:
    with netns.entered(lab.netns("client1")):
        same = clients.udp_exchange(SERVER_IPV4, _DATAGRAM_SIZE)
    what = "came back the same" if same else "did not come"
    return same, f"client1: {_DATAGRAM_SIZE} octets {what}, in fragments", {}
