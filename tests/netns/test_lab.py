# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's own checks, and what they would not see: real sockets end to end, in both modes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from harness.lab import running_lab, udp_stream
from mapxdp import health, netns, record, snapshot
from mapxdp.config import DatapathKind
from mapxdp.lab import checks, clients, mesh, path, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import HTTP_PORT, UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.snapshot import Snapshot

#: Nobody listens there.
CLOSED_PORT = 9


LABS = [f"{mode} {path}" for path in ("auto", "xdp", "software") for mode in ("map-t", "map-e")]


@pytest.fixture(scope="module", params=LABS)
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(*request.param.split()) as running:
        yield running


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
def test_checks_of_the_lab(offloads: bool, lab: Running) -> None:
    """Ping, UDP, downloads, uploads, 200 connections, the router's own traffic, the ports."""
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=offloads)
    failed = [check for check in checks.traffic(lab) if not check.passed]
    assert failed == []


def test_native_ipv6(lab: Running) -> None:
    assert [check for check in checks.native_ipv6(lab) if not check.passed] == []


def test_ttl_is_decremented_once(lab: Running) -> None:
    """Server and client see a TTL of one hop less each way than they would without the CE.

    The BR is two hops in MAP-T (its kernel, and the kernel again behind the TUN device); a
    tunnel hides one of them.
    """
    hops = {"ce": 1, "br": 2 if lab.lab.mode.translates else 1}
    with netns.entered(lab.lab.netns("server")):
        seen_by_server = _icmp_socket()
    with netns.entered(lab.lab.netns("client1")):
        seen_by_client = _icmp_socket()
        assert len(clients.ping(SERVER_IPV4, 1)) == 1
    sent = 64
    with seen_by_server, seen_by_client:
        assert _ttl(seen_by_server) == sent - sum(hops.values())
        assert _ttl(seen_by_client) == sent - sum(hops.values())


def test_a_closed_port_says_so(lab: Running) -> None:
    """An ICMP error of the server, on its way through the kernel on either side of the CE."""
    with netns.entered(lab.lab.netns("client1")):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.connect((SERVER_IPV4, CLOSED_PORT))
    with asking:
        asking.settimeout(5)
        asking.send(b"question")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(100)


def _icmp_socket() -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(5)
    return raw


def _ttl(raw: socket.socket) -> int:
    return raw.recv(2048)[8]


def test_mss_is_clamped_both_ways(lab: Running) -> None:
    wanted = lab.lab.domain.ipv4_mtu(topology.WAN_MTU) - 40
    with netns.entered(lab.lab.netns("client1")):
        connection = socket.create_connection((SERVER_IPV4, HTTP_PORT), 5)
    with connection:
        # RFC 9293 section 3.7.1: what one may send is what the other announced; timestamps
        # take 12 octets of it.
        mss = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert mss in (wanted, wanted - 12)
    counters = snapshot_of(lab).counters
    assert counters.upstream[Reason.MSS_CLAMPED].packets > 0
    assert counters.downstream[Reason.MSS_CLAMPED].packets > 0


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
def test_segmented_udp(offloads: bool, lab: Running) -> None:
    """One write of ten datagrams (UDP GSO): each arrives and comes back as it was."""
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=offloads)
    size, udp_segment = 1200, 103
    datagrams = [bytes([number]) * size for number in range(10)]
    with netns.entered(lab.lab.netns("client1")):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_UDP, udp_segment, size)
        sock.sendto(b"".join(datagrams), (SERVER_IPV4, UDP_PORT))
        received = [sock.recv(65535) for _ in datagrams]
    assert sorted(received) == datagrams


def test_an_endpoint_keeps_its_port(lab: Running) -> None:
    """The same socket to two remotes leaves from one port (RFC 4787 REQ-1)."""
    lab.server.take_peers()
    with netns.entered(lab.lab.netns("client1")):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        for number in range(20):
            sock.sendto(bytes([number]), (SERVER_IPV4, UDP_PORT))
            assert sock.recv(10) == bytes([number])
    assert len(lab.server.take_peers()["udp"]) == 1


def test_mappings_are_shown(lab: Running) -> None:
    with udp_stream(lab, "client2") as stream:
        while stream.sent < 5:
            pass
        now = snapshot_of(lab)
    ours = [
        mapping
        for mapping in now.mappings
        if str(mapping.host) == topology.CLIENT_IPV4["client2"]
        and mapping.protocol is Protocol.UDP
        and mapping.peer_port == UDP_PORT
    ]
    assert ours
    assert str(ours[0].peer) == SERVER_IPV4
    assert ours[-1].is_live
    assert min(mapping.idle for mapping in ours) <= 2, "the clock of the views is wrong"


def snapshot_of(lab: Running) -> Snapshot:
    """What the views see; a process writes it down once a second."""
    if lab.lab.datapath is DatapathKind.SOFTWARE:
        time.sleep(1.5)
    with snapshot.watching(lab.lab.instance) as take:
        return take()


def test_everything_is_in_place(lab: Running) -> None:
    running = record.load(lab.lab.instance)
    assert running is not None
    assert [entry for entry in health.check(running) if entry.problem] == []


def test_counters_agree(lab: Running) -> None:
    assert [check for check in checks.counters(lab) if not check.passed] == []


def test_between_ces(lab: Running) -> None:
    """TCP, UDP and ping to another CE: the BR, whose count was compared above, sees nothing."""
    found = list(mesh.between_ces(lab))
    assert len(found) == 4
    assert [check for check in found if not check.passed] == []


def test_along_the_path(lab: Running) -> None:
    """Traceroute, and what does not cross in one piece."""
    found = list(path.along_the_path(lab))
    assert len(found) == 5
    assert [check for check in found if not check.passed] == []
