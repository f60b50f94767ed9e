# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The checks of the lab: each does something real and says what it saw."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from mapxdp import netns, snapshot
from mapxdp.errors import HostError
from mapxdp.lab import clients, topology
from mapxdp.lab.relay import Relay
from mapxdp.lab.server import BLOB_SIZE, Server, blob
from mapxdp.lab.topology import SERVER_IPV4, SERVER_IPV6, Lab
from mapxdp.observed import Count
from mapxdp.reasons import Reason, ReasonClass

_DNS_SIZED, _UDP_IN_FRAGMENTS = 512, 30000
_PING_SIZED, _PING_IN_FRAGMENTS = 48, 4000
_CONNECTIONS_EACH = 100
_FIRST_CLIENT_PORT = 20000
_QUIET_TRIES = 20


#: Numbers behind the words: ``octets`` that crossed, ``down`` and ``up`` in Mbit/s,
#: ``connections``, and of the port set ``ports``, ``ranges`` and ``all_ranges``.
Measured = dict[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried, whether it worked, and what was seen."""

    name: str
    passed: bool
    evidence: str
    measured: Measured = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A lab whose CEs, BR and servers run; ``peer_server`` None where there is no peer."""

    lab: Lab
    relay: Relay
    server: Server
    peer_server: Server | None


def traffic(running: Running) -> Iterator[Check]:
    """What a household does, over IPv4."""
    lab = running.lab
    running.server.take_peers()
    yield attempt("ping", lambda: _ping(lab, "client1"))
    yield attempt("UDP of DNS's size", lambda: _udp(lab, "client1"))
    yield attempt("HTTP download", lambda: _download(lab))
    yield attempt("HTTP upload", lambda: _upload(lab))
    yield attempt("200 connections at once", lambda: _many_connections(lab))
    yield attempt("the router's own ping", lambda: _ping(lab, "ce"))
    yield attempt("the router's own UDP", lambda: _udp(lab, "ce"))
    if shutil.which("iperf3"):
        yield attempt("iperf3", lambda: _iperf3(lab))
    yield attempt("ports seen by the server", lambda: _ports(running))


def native_ipv6(running: Running) -> Iterator[Check]:
    """IPv6 of the LAN is none of the CE's business, and works."""
    yield attempt("native IPv6 beside it", lambda: _native_ipv6(running.lab))


def fragments(running: Running) -> Iterator[Check]:
    """Datagrams that no packet holds, there and back. What CE and BR count differs afterwards:
    for the one they are fragments, for the other whole."""
    lab = running.lab
    for node in ("client1", "ce"):
        yield attempt(f"4000-octet ping, {node}", partial(_ping, lab, node, _PING_IN_FRAGMENTS))
        yield attempt(f"30 KB datagram, {node}", partial(_udp, lab, node, _UDP_IN_FRAGMENTS))


def counters(running: Running) -> Iterator[Check]:
    """What the CE counted is what the BR counted."""
    yield attempt("counters of CE and BR agree", lambda: _counters(running))


#: Whether a check passed, what was seen, and what was measured.
Result = tuple[bool, str, Measured]


def attempt(name: str, check: Callable[[], Result]) -> Check:
    """The check, whatever becomes of it."""
    try:
        return Check(name, *check())
    except (OSError, HostError, subprocess.SubprocessError) as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _ping(lab: Lab, node: str, octets: int = _PING_SIZED) -> Result:
    with netns.entered(lab.netns(node)):
        times = clients.ping(SERVER_IPV4, octets=octets)
    shown = ", ".join(f"{time:.2f}" for time in times)
    evidence = f"{node} → {SERVER_IPV4}: {len(times)} of 3 answered ({shown} ms)"
    return len(times) == 3, evidence, {}


def _udp(lab: Lab, node: str, octets: int = _DNS_SIZED) -> Result:
    with netns.entered(lab.netns(node)):
        same = clients.udp_exchange(SERVER_IPV4, octets)
    what = "came back the same" if same else "did not come"
    return same, f"{node}: {octets} octets {what}", {}


def _download(lab: Lab) -> Result:
    with netns.entered(lab.netns("client1")):
        transfer = clients.download(SERVER_IPV4)
    return same_content(transfer, "down")


def _upload(lab: Lab) -> Result:
    with netns.entered(lab.netns("client2")):
        transfer = clients.upload(SERVER_IPV4, blob())
    return same_content(transfer, "up")


def same_content(transfer: clients.Transfer, direction: str) -> Result:
    """Whether all of the server's blob crossed, and how fast."""
    same = transfer.sha256 == hashlib.sha256(blob()).hexdigest()
    return (
        same and transfer.octets == BLOB_SIZE,
        f"{transfer.octets / 1e6:.1f} MB at {transfer.megabits_per_second:.0f} Mbit/s, "
        f"SHA-256 {transfer.sha256[:16]}… {'matches' if same else 'DIFFERS'}",
        {"octets": transfer.octets, direction: transfer.megabits_per_second},
    )


def _many_connections(lab: Lab) -> Result:
    opened = []
    for node in ("client1", "client2"):
        with netns.entered(lab.netns(node)):
            opened += clients.open_connections(SERVER_IPV4, _CONNECTIONS_EACH, _FIRST_CLIENT_PORT)
    answered = clients.use_and_abort(opened)
    evidence = f"two clients: {len(opened)} open, {answered} answered"
    return answered == len(opened), evidence, {"connections": answered}


def _iperf3(lab: Lab) -> Result:
    """Two seconds upstream. Information: how fast the lab's BR is, which is Python."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", lab.netns("server"), "iperf3", "-s", "-1", "-B", SERVER_IPV4],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = ["ip", "netns", "exec", lab.netns("client1"), "iperf3", "-c", SERVER_IPV4]
        for _ in range(20):
            done = subprocess.run(
                [*client, "-t", "2", "-f", "m", "--connect-timeout", "1000"],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            if done.returncode == 0:
                break
    finally:
        server.terminate()
        server.wait()
    sums = [line for line in done.stdout.splitlines() if line.rstrip().endswith("receiver")]
    return bool(sums), " ".join(sums[0].split()[4:8]) if sums else done.stderr.strip(), {}


def _ports(running: Running) -> Result:
    """Every port is one of the set, and they come from many of its ranges."""
    domain = running.lab.domain
    peers = running.server.take_peers()
    public = str(domain.ipv4_address)
    ports = {port for seen in peers.values() for address, port in seen if address == public}
    strangers = {
        address
        for seen in peers.values()
        for address, _ in seen
        if address != public and ":" not in address
    }
    outside = sorted(port for port in ports if port not in domain.port_set)
    ranges = [(first, last) for first, last in domain.port_set.ranges()]
    used = sum(any(first <= port <= last for port in ports) for first, last in ranges)
    return (
        not outside and not strangers and used > 1,
        f"{len(ports)} ports in {used} of {len(ranges)} ranges of {public}, "
        f"{len(outside)} outside the set"
        + (f"; UNTRANSLATED sources {sorted(strangers)}" if strangers else ""),
        {"ports": len(ports), "ranges": used, "all_ranges": len(ranges)},
    )


def _native_ipv6(lab: Lab) -> Result:
    with netns.entered(lab.netns("client1")):
        transfer = clients.download(SERVER_IPV6)
    passed, evidence, _ = same_content(transfer, "down")
    return passed, f"client1 → {SERVER_IPV6}: {evidence}", {}


def _counters(running: Running) -> Result:
    """Compared when the last packets have arrived: twice the same, or a few seconds later."""
    result = _compare_counters(running)
    for _ in range(_QUIET_TRIES):
        if result[0]:
            break
        time.sleep(0.25)
        result = _compare_counters(running)
    return result


def _compare_counters(running: Running) -> Result:
    with snapshot.watching(running.lab.instance) as take:
        counted = take().counters
    relayed = running.relay.counts()
    sent = counted.upstream.get(Reason.TRANSLATED, Count()).packets
    received = sum(
        count.packets
        for reason, count in counted.downstream.items()
        if reason is Reason.TRANSLATED or reason.reason_class is ReasonClass.DROP
    )
    from_domain, to_domain = relayed.get("from_domain", 0), relayed.get("to_domain", 0)
    late = topology.dropped_before_the_br(running.lab)
    return (
        from_domain <= sent <= from_domain + late and received == to_domain,
        f"CE → BR: {sent} sent, {from_domain} arrived{f', {late} came too fast' if late else ''}; "
        f"BR → CE: {to_domain} sent, {received} arrived",
        {},
    )
