# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a path is more than a pipe: traceroute, path-MTU discovery, fragments, odd headers.

Real sockets, through a whole domain: an error counts when the kernel gives it to the socket
that caused it.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from harness import packets
from harness.whole_path import (
    CLOSED_PORT,
    INNER_PORT,
    IP_MTU,
    OPEN_PORT,
    PUBLIC,
    SO_NO_CHECK,
    cut,
    dont_fragment,
    into_domain,
    lab_with_forwards,
    link,
    send_from,
    send_to_ce,
    udp_socket,
)
from mapxdp import netns
from mapxdp.config import DatapathKind
from mapxdp.lab import clients, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import HTTP_PORT, UDP_PORT
from mapxdp.lab.topology import CLIENT_IPV4, DMR, SERVER_IPV4
from mapxdp.lab.traceroute import (
    FRAGMENTATION_NEEDED,
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
    Hop,
    Kind,
    next_error,
    trace,
)
from mapxdp.model.translation import DUMMY_ADDRESS

CLIENT = CLIENT_IPV4["client1"]
CE_LAN, BR = "192.168.1.1", "203.0.113.1"
ROUTER = str(DUMMY_ADDRESS)
REMOTE_PORT = 7777
LONG = 4000
LONGER = 30_000
SMALL = 1300
NOPS, TIMESTAMP = bytes([1, 1, 1, 0]), bytes([68, 12, 5, 0, *bytes(8)])


TUNNELS = ["map-e software", "map-e auto", "map-e xdp"]


@pytest.fixture(scope="module", params=["map-t software", "map-t auto", "map-t xdp", *TUNNELS])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with lab_with_forwards(*request.param.split()) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["offloads on", "tx off"])
def path(lab: Running, request: pytest.FixtureRequest) -> Running:
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=request.param)
    return lab


def routers(running: Running, *addresses: str) -> list[Hop]:
    """Those that decrement the TTL inside the packet: a tunnel hides the domain's."""
    translates = running.lab.mode.translates
    return [Hop(each, TIME_EXCEEDED) for each in addresses if translates or each != ROUTER]


@pytest.mark.parametrize("kind", Kind)
def test_traceroute(kind: Kind, path: Running) -> None:
    port = HTTP_PORT if kind is Kind.TCP else 33434
    with netns.entered(path.lab.netns("client1")):
        hops = trace(kind, SERVER_IPV4, port)
    last = Hop(SERVER_IPV4, PORT_UNREACHABLE if kind is Kind.UDP else None)
    assert hops == [*routers(path, CE_LAN, ROUTER, BR), last]


def test_traceroute_to_a_forwarded_port(path: Running) -> None:
    """Errors of the CE and of the LAN's host come from the public address.

    In front of the software path the CE routes IPv6, and is a router of the domain there.
    """
    with netns.entered(path.lab.netns("server")):
        hops = trace(Kind.UDP, PUBLIC, CLOSED_PORT)
    is_software = path.lab.datapath is DatapathKind.SOFTWARE
    ce = ROUTER if is_software and path.lab.mode.translates else PUBLIC
    assert hops == [*routers(path, BR, ROUTER, ce), Hop(PUBLIC, PORT_UNREACHABLE)]


def learnt_mtu(sock: socket.socket, size: int, source: str) -> int:
    """What the path takes whole, after a datagram of ``size`` that it did not take."""
    sock.send(bytes(size - 28))
    error = next_error(sock)
    assert error is not None
    assert (error.kind, error.source) == (FRAGMENTATION_NEEDED, source)
    mtu = sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
    assert error.information == mtu
    with pytest.raises(OSError, match="Message too long") as refused:
        sock.send(bytes(mtu - 28 + 1))
    assert refused.value.errno == errno.EMSGSIZE
    return mtu


def from_client(path: Running) -> socket.socket:
    sock = udp_socket(path, "client1")
    dont_fragment(sock)
    sock.connect((SERVER_IPV4, UDP_PORT))
    return sock


def from_server(path: Running) -> socket.socket:
    sock = udp_socket(path, "server")
    dont_fragment(sock)
    sock.connect((PUBLIC, OPEN_PORT))
    return sock


def crosses(sock: socket.socket, mtu: int) -> None:
    """A datagram of ``mtu`` does, to the server and back."""
    data = os.urandom(mtu - 28)
    sock.send(data)
    assert sock.recv(65535) == data


def in_domain(path: Running, mtu: int) -> int:
    return path.lab.domain.ipv4_mtu(mtu)


def test_mtu_beyond_the_br(path: Running) -> None:
    with link(path, "br", "203.0.113.0/24 dev srv0 src 203.0.113.1", SMALL):
        with from_client(path) as sock:
            assert learnt_mtu(sock, in_domain(path, 1500), BR) == SMALL
            crosses(sock, SMALL)
        tcp_both_ways(path)


def test_mtu_in_the_domain_on_the_way_out(path: Running) -> None:
    wanted = in_domain(path, 1400)
    with link(path, "br", f"{DMR} dev {topology.BR_TUN}", 1400):
        with from_client(path) as sock:
            assert learnt_mtu(sock, in_domain(path, 1500), ROUTER) == wanted
            crosses(sock, wanted)
        tcp_both_ways(path)


def test_mtu_in_the_domain_on_the_way_in(path: Running) -> None:
    """Routers of the domain tell the BR, and the BR the server."""
    first = next(topology.END_USER_PREFIX.subnets(new_prefix=64))
    with link(path, "br", f"{first} dev ce0", 1400):
        with from_server(path) as sock:
            assert learnt_mtu(sock, in_domain(path, 1500), ROUTER) == in_domain(path, 1400)
        tcp_both_ways(path)


def test_mtu_in_the_lan(path: Running) -> None:
    """The CE's own error, about a packet of the server's."""
    lan = f"192.168.1.0/24 dev {topology.BRIDGE}"
    if not path.lab.is_bridged:
        lan = f"{CLIENT} dev client1"
    with link(path, "ce", f"{lan} src {CE_LAN}", SMALL):
        with from_server(path) as sock:
            assert learnt_mtu(sock, in_domain(path, 1500), PUBLIC) == SMALL
        tcp_both_ways(path)


def tcp_both_ways(path: Running) -> None:
    """Segments are too long at first, each way."""
    content = os.urandom(1 << 18)
    with netns.entered(path.lab.netns("server")):
        listening = socket.create_server((SERVER_IPV4, 0))
    with netns.entered(path.lab.netns("client1")):
        one = socket.create_connection(listening.getsockname(), timeout=10)
    with listening, one, listening.accept()[0] as other:
        other.settimeout(10)
        for sender, receiver in ((one, other), (other, one)):
            sending = threading.Thread(target=sender.sendall, args=(content,))
            sending.start()
            with receiver.makefile("rb") as received:
                assert received.read(len(content)) == content
            sending.join()


def test_long_ping(path: Running) -> None:
    with netns.entered(path.lab.netns("client1")):
        assert len(clients.ping(SERVER_IPV4, octets=LONG)) == 3


def test_long_datagrams(path: Running) -> None:
    with netns.entered(path.lab.netns("client1")):
        assert clients.udp_exchange(SERVER_IPV4, LONGER)


def test_long_datagram_to_a_forwarded_port(path: Running) -> None:
    data = os.urandom(LONGER)
    with udp_socket(path, "client1", INNER_PORT) as host, udp_socket(path, "server") as remote:
        remote.sendto(data, (PUBLIC, OPEN_PORT))
        assert host.recv(65535) == data


def test_fragments_in_reverse_from_the_lan(path: Running) -> None:
    data = os.urandom(LONGER)
    with udp_socket(path, "client1") as sock:
        sent = packets.udp(CLIENT, SERVER_IPV4, sock.getsockname()[1], UDP_PORT, data)
        fragments = cut(CLIENT, SERVER_IPV4, packets.UDP, sent)
        send_from(path, "client1", fragments[::-1], SERVER_IPV4)
        assert sock.recv(65535) == data


def test_ping_in_fragments_in_reverse(path: Running) -> None:
    identifier, data = 4711, os.urandom(LONG)
    with netns.entered(path.lab.netns("client1")):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(3)
    with raw:
        request = packets.echo(identifier, payload=data)
        fragments = cut(CLIENT, SERVER_IPV4, packets.ICMP, request)
        send_from(path, "client1", fragments[::-1], SERVER_IPV4)
        assert raw.recv(65535)[20 + 4 :] == request[4:]


def test_fragments_in_reverse_from_the_domain(path: Running) -> None:
    """IPv6 fragments, in MAP-E of the tunnel packet."""
    data = os.urandom(LONGER)
    sent = packets.udp(SERVER_IPV4, PUBLIC, REMOTE_PORT, OPEN_PORT, data)
    whole = packets.ipv4(sent, packets.UDP, SERVER_IPV4, PUBLIC, fragment=0)
    with udp_socket(path, "client1", INNER_PORT) as host:
        send_to_ce(path, into_domain(path, whole)[::-1])
        assert host.recvfrom(65535) == (data, (SERVER_IPV4, REMOTE_PORT))


def test_ping_in_fragments_in_reverse_from_the_domain(path: Running) -> None:
    """The answer to one that crosses first, cut again."""
    with (
        netns.entered(path.lab.netns("client1")),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
        heard_by_server(path) as heard,
    ):
        raw.settimeout(3)
        raw.sendto(clients.echo_request(815, 1, 8), (SERVER_IPV4, 0))
        raw.recv(2048)
        request = heard.recv(2048)
        public = int.from_bytes(request[24:26], "big")
        reply = packets.echo(public, reply=True, payload=os.urandom(LONG))
        whole = packets.ipv4(reply, packets.ICMP, SERVER_IPV4, PUBLIC, fragment=0)
        send_to_ce(path, into_domain(path, whole)[::-1])
        assert raw.recv(65535)[28:] == reply[8:]


def heard_by_server(path: Running) -> socket.socket:
    with netns.entered(path.lab.netns("server")):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(3)
    return raw


@pytest.mark.parametrize("lab", TUNNELS, indirect=True)
def test_tunnelled_fragments_in_reverse_from_the_domain(path: Running) -> None:
    """MAP-E: a BR may cut before it encapsulates."""
    data = os.urandom(LONGER)
    sent = packets.udp(SERVER_IPV4, PUBLIC, REMOTE_PORT, OPEN_PORT, data)
    outer = str(topology.BR_ADDRESS), str(path.lab.domain.map_address)
    tunnelled = [
        packets.ipv6(fragment, packets.IPV4, *outer)
        for fragment in cut(SERVER_IPV4, PUBLIC, packets.UDP, sent)
    ]
    with udp_socket(path, "client1", INNER_PORT) as host:
        send_to_ce(path, tunnelled[::-1])
        assert host.recvfrom(65535) == (data, (SERVER_IPV4, REMOTE_PORT))


def test_udp_without_checksum(path: Running) -> None:
    with udp_socket(path, "client1") as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        sock.sendto(b"no checksum", (SERVER_IPV4, UDP_PORT))
        assert sock.recv(100) == b"no checksum"


def test_udp_without_checksum_from_the_domain(path: Running) -> None:
    """MAP-T: no BR should send it, but the host can have it as it is."""
    data = b"no checksum"
    ends = SERVER_IPV4, PUBLIC
    sent = packets.udp(*ends, REMOTE_PORT, OPEN_PORT, data)
    (packet,) = into_domain(path, packets.ipv4(sent, packets.UDP, *ends))
    at = len(packet) - len(data) - 2
    with udp_socket(path, "client1", INNER_PORT) as host:
        send_to_ce(path, [packet[:at] + bytes(2) + data])
        assert host.recv(100) == data


@pytest.mark.parametrize("options", [NOPS, TIMESTAMP], ids=["NOPs", "timestamp"])
@pytest.mark.parametrize("way", ["out", "in"])
def test_ipv4_options(way: str, options: bytes, path: Running) -> None:
    """MAP-T leaves them out, MAP-E carries them."""
    host, remote = udp_socket(path, "client1", INNER_PORT), udp_socket(path, "server", REMOTE_PORT)
    if way == "out":
        sender, to, receiver = host, (SERVER_IPV4, REMOTE_PORT), remote
    else:
        sender, to, receiver = remote, (PUBLIC, OPEN_PORT), host
    with host, remote:
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVOPTS, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        sender.sendto(b"with options", to)
        data, seen, _, _ = receiver.recvmsg(100, 100)
    assert data == b"with options"
    assert [content[0] for _, _, content in seen] == (
        [] if path.lab.mode.translates else [options[0]]
    )
