# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From CE to CE: the lab's second CE, and checks that what goes to it passes the BR by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from mapxdp import netns
from mapxdp.lab import clients, server
from mapxdp.lab.checks import Check, Result, Running, attempt, same_content
from mapxdp.lab.server import Place, Server
from mapxdp.lab.topology import Lab
from mapxdp.model.domain import Domain

_SIZE = 1200
_QUIET_TRIES, _QUIET_SECONDS = 20, 0.1


def place_of(peer: Domain) -> Place:
    """Where the peer's server listens: at two ports of its set."""
    ports = peer.port_set
    return Place(str(peer.ipv4_address), None, ports.port_at(0), ports.port_at(1))


def peer_server(lab: Lab) -> AbstractContextManager[Server | None]:
    """The server on the peer itself, if the lab has one."""
    if lab.peer is None:
        return nullcontext()
    return server.running(lab.netns("peer"), place_of(lab.peer))


def between_ces(running: Running) -> Iterator[Check]:
    """TCP, UDP and ping from a client to the peer, of which the BR sees nothing."""
    peer, lab = running.lab.peer, running.lab
    if peer is None:
        return
    place = place_of(peer)

    def ping() -> Result:
        times = clients.ping(place.ipv4)
        return len(times) == 3, f"client1 → {place.ipv4}: {len(times)} of 3 answered", {}

    def udp() -> Result:
        same = clients.udp_exchange(place.ipv4, _SIZE, place.udp_port)
        what = "came back the same" if same else "did not come"
        return same, f"client1 → {place.ipv4}:{place.udp_port}: {_SIZE} octets {what}", {}

    def tcp() -> Result:
        passed, evidence, measured = same_content(
            clients.download(place.ipv4, place.http_port), "down"
        )
        return passed, evidence, {"octets": measured["octets"]}

    for name, check in (("ping", ping), ("UDP", udp), ("HTTP download", tcp)):
        yield attempt(f"{name} from CE to CE, past the BR", partial(_past, running, check))
    yield attempt("ports seen by the peer", lambda: _ports(running, lab.domain))


def _past(running: Running, check: Callable[[], Result]) -> Result:
    """The check, passed only if not one packet came to the BR meanwhile."""
    before = _counted_by_the_quiet_br(running)
    with netns.entered(running.lab.netns("client1")):
        passed, evidence, measured = check()
    came = _relayed(running) - before
    return passed and not came, f"{evidence}; {came} packets came to the BR", measured


def _counted_by_the_quiet_br(running: Running) -> int:
    """What it has counted once the last packets of what was before have arrived."""
    counted = _relayed(running)
    for _ in range(_QUIET_TRIES):
        time.sleep(_QUIET_SECONDS)
        before, counted = counted, _relayed(running)
        if before == counted:
            break
    return counted


def _relayed(running: Running) -> int:
    return sum(running.relay.counts().values())


def _ports(running: Running, domain: Domain) -> Result:
    """The peer sees the CE's address and ports of its set."""
    assert running.peer_server is not None
    seen = {end for ends in running.peer_server.take_peers().values() for end in ends}
    right = {
        (address, port)
        for address, port in seen
        if address == str(domain.ipv4_address) and port in domain.port_set
    }
    shown = ", ".join(f"{address}:{port}" for address, port in sorted(seen))
    return bool(seen) and right == seen, shown or "nobody came", {}
