# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ICMP errors are for, with real sockets and the errors of real kernels: a refused
datagram, traceroute, and a path that is narrower somewhere, each seen from both ends."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from harness.lab import running_lab
from mapxdp import host, netns, snapshot
from mapxdp.config import DatapathKind
from mapxdp.lab import topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import BRIDGE, CLIENT_IPV4, DMR, SERVER_IPV4, WAN_MTU
from mapxdp.reasons import Reason

LABS = [f"{mode} {path}" for path in ("auto", "xdp", "software") for mode in ("map-t", "map-e")]
NETFILTER = ["map-t auto netfilter", "map-e auto netfilter"]
#: What test_whole_path.py does in the other labs.
IN_NETFILTER_LABS = pytest.mark.parametrize("lab", NETFILTER, indirect=True)
#: The kernel's NAPT44 does not hairpin.
HAIRPINNING_LABS = pytest.mark.parametrize("lab", LABS, indirect=True)
PUBLIC = "192.0.2.18"
CE_IPV4, BR_IPV4 = "192.168.1.1", "203.0.113.1"
NO_IPV4 = "192.0.0.8"  # RFC 7600 section 4.8: of routers that have none
CLOSED_PORT = 7
# Of <linux/in.h>, which the socket module does not name.
IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 10, 11, 14
PMTUDISC_DO = 2


@pytest.fixture(scope="module", params=LABS + NETFILTER)
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(*request.param.split()) as running:
        for node in topology.NODES:
            unlimit_errors(running, node)
        yield running


def unlimit_errors(running: Running, node: str) -> None:
    """Kernels send one error a second otherwise, after a burst of six."""
    with netns.entered(running.lab.netns(node)):
        host.set_sysctl("net/ipv4/icmp_ratelimit", "0")
        host.set_sysctl("net/ipv6/icmp/ratelimit", "0")


@contextmanager
def udp_socket(running: Running, node: str) -> Iterator[socket.socket]:
    """A socket that sends nothing in fragments and is told of every error."""
    with netns.entered(running.lab.netns(node)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(2)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.bind(("", 0))
        yield sock


@dataclass(frozen=True)
class Told:
    """One error: who says so, and what."""

    offender: str
    kind: tuple[int, int]
    info: int
    number: int


def told(sock: socket.socket) -> Told | None:
    """The error that the socket is told of next; None if there is none for two seconds."""
    try:
        _, controls, _, _ = sock.recvmsg(64, 512, socket.MSG_ERRQUEUE)
    except TimeoutError:
        return None
    (data,) = (data for _, kind, data in controls if kind == IP_RECVERR)
    # struct sock_extended_err, and the address of the offender.
    number, _, icmp_type, icmp_code, _, info, _ = struct.unpack_from("=IBBBBII", data)
    return Told(socket.inet_ntoa(data[20:24]), (icmp_type, icmp_code), info, number)


def seen_by_server(running: Running, sock: socket.socket) -> tuple[str, int]:
    """The address and port that the server knows the socket by; each opens its filter."""
    with udp_socket(running, "server") as server:
        sock.sendto(b"who am I", server_name(server))
        _, public = server.recvfrom(64)
    return str(public[0]), int(public[1])


def server_name(sock: socket.socket) -> tuple[str, int]:
    return SERVER_IPV4, sock.getsockname()[1]


@contextmanager
def carried(running: Running, direction: str, reasons: set[Reason]) -> Iterator[None]:
    """The CE counts at least one error in that direction meanwhile, and for these reasons none."""
    before = counts(running, direction)
    yield
    if running.lab.datapath is DatapathKind.SOFTWARE:
        time.sleep(1.5)  # a process writes its counters down once a second
    after = counts(running, direction)
    assert after[Reason.ICMP_ERROR_CARRIED] > before[Reason.ICMP_ERROR_CARRIED]
    assert {reason: after[reason] - before[reason] for reason in reasons} == dict.fromkeys(
        reasons, 0
    )


def counts(running: Running, direction: str) -> dict[Reason, int]:
    with snapshot.watching(running.lab.instance) as take:
        found = getattr(take().counters, direction)
    return {reason: found[reason].packets if reason in found else 0 for reason in Reason}


WRONG = {
    *(Reason.ICMP_CHECKSUM, Reason.QUOTE_INVALID, Reason.ICMP_NOT_CARRIED, Reason.NO_MAPPING),
    *(Reason.KERNEL_REFUSED, Reason.PROGRAM_MISSING),
}


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
def test_the_server_refuses(offloads: bool, lab: Running) -> None:
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=offloads)
    with carried(lab, "downstream", WRONG), udp_socket(lab, "client1") as client:
        for length in (0, 1, 500, 1300):
            client.connect((SERVER_IPV4, CLOSED_PORT))
            client.send(bytes(length))
            assert told(client) == Told(SERVER_IPV4, (3, 3), 0, errno.ECONNREFUSED)
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=True)


def test_the_host_refuses(lab: Running) -> None:
    """A datagram to a port of the LAN that was closed a moment ago."""
    with carried(lab, "upstream", WRONG), udp_socket(lab, "server") as server:
        for length in (0, 1, 500, 1300):
            with udp_socket(lab, "client1") as client:
                client.sendto(b"hello", server_name(server))
                _, public = server.recvfrom(64)
                assert public[0] == PUBLIC
            server.sendto(bytes(length), public)
            assert told(server) == Told(PUBLIC, (3, 3), 0, errno.ECONNREFUSED)


@IN_NETFILTER_LABS
def test_traceroute(lab: Running) -> None:
    """The CE, the domain, the BR's other side, the server."""
    hops = []
    with carried(lab, "downstream", WRONG), udp_socket(lab, "client1") as client:
        for ttl in range(1, 6):
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            client.sendto(b"how far", (SERVER_IPV4, 33434 + ttl))
            answer = told(client)
            assert answer is not None, hops
            hops.append((answer.offender, answer.kind))
            if answer.kind == (3, 3):
                break
    domain = [(NO_IPV4, (11, 0))] if lab.lab.mode.translates else []
    assert hops == [
        (CE_IPV4, (11, 0)),
        *domain,
        (BR_IPV4, (11, 0)),
        (SERVER_IPV4, (3, 3)),
    ]


@IN_NETFILTER_LABS
def test_a_domain_of_a_smaller_mtu(lab: Running) -> None:
    """Packet Too Big of a router in the domain: the host learns what fits (RFC 8201)."""
    narrow = 1400
    with (
        narrowed(lab, "br", f"-6 route replace {DMR} dev {topology.BR_TUN}", narrow),
        carried(lab, "downstream", WRONG),
    ):
        expect_mtu(lab, "client1", narrow - lab.lab.domain.mode.overhead)


@IN_NETFILTER_LABS
def test_an_internet_of_a_smaller_mtu(lab: Running) -> None:
    """Of a router behind the BR."""
    narrow = 1300
    with (
        narrowed(lab, "br", f"route replace {SERVER_IPV4} dev srv0", narrow),
        carried(lab, "downstream", WRONG),
    ):
        expect_mtu(lab, "client2", narrow)


@IN_NETFILTER_LABS
def test_a_lan_of_a_smaller_mtu(lab: Running) -> None:
    """Of the CE itself, whose own address no server could know: RFC 5508 REQ-5."""
    narrow, address = 1320, CLIENT_IPV4["client1"]
    with (
        narrowed(lab, "ce", f"route replace {address} dev {BRIDGE}", narrow),
        udp_socket(lab, "client1") as client,
        udp_socket(lab, "server") as server,
        carried(lab, "upstream", WRONG),
    ):
        client.sendto(b"hello", server_name(server))
        _, public = server.recvfrom(64)
        learn_mtu(server, public, narrow, PUBLIC)


@contextmanager
def narrowed(running: Running, node: str, route: str, mtu: int) -> Iterator[None]:
    """A node has a route of this MTU meanwhile; nobody remembers what he learnt from it."""
    command = ["ip", "-n", running.lab.netns(node), *route.split()]
    topology.run([*command, "mtu", str(mtu)])
    try:
        yield
    finally:
        if str(DMR) in route:
            topology.run(command)
        else:
            topology.run([word.replace("replace", "del") for word in command])
        for name in ("client1", "client2", "server", "ce"):
            topology.run(["ip", "-n", running.lab.netns(name), "route", "flush", "cache"])


def expect_mtu(running: Running, node: str, mtu: int) -> None:
    """Towards the server, which sends back what it gets."""
    with udp_socket(running, node) as sock:
        learn_mtu(sock, (SERVER_IPV4, UDP_PORT), mtu)
        sock.settimeout(2)
        sock.send(bytes(mtu - 28))
        assert len(sock.recv(2048)) == mtu - 28


def learn_mtu(
    sock: socket.socket, to: tuple[str, int], mtu: int, offender: str | None = None
) -> None:
    """One octet more than fits is refused on the way, and the kernel knows what fits."""
    sock.connect(to)
    sock.send(bytes(mtu - 28 + 1))
    answer = told(sock)
    assert answer is not None, "no word about it"
    assert (answer.kind, answer.info, answer.number) == ((3, 4), mtu, errno.EMSGSIZE)
    assert offender in (None, answer.offender)
    assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == mtu < WAN_MTU


@HAIRPINNING_LABS
def test_a_neighbour_refuses(lab: Running) -> None:
    """A hairpinned error (RFC 5508 REQ-7): from the public address that the host sent to."""
    with carried(lab, "upstream", WRONG), udp_socket(lab, "client1") as client:
        with udp_socket(lab, "client2") as neighbour:
            here, there = seen_by_server(lab, client), seen_by_server(lab, neighbour)
            client.sendto(b"filtered", there)
            neighbour.sendto(b"come in", here)
            assert client.recvfrom(64) == (b"come in", there)
            client.sendto(b"thank you", there)
            assert neighbour.recvfrom(64) == (b"thank you", here)
        client.sendto(b"still there?", there)
        assert told(client) == Told(PUBLIC, (3, 3), 0, errno.ECONNREFUSED)
