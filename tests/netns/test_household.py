# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a household does with few ports, with real sockets: many short connections, games,
servers at home, and a host that takes more than its share."""

from __future__ import annotations

import errno
import http.client
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.ce import inconsistencies
from harness.lab import prefix, udp_stream
from mapxdp import ce, netns, snapshot
from mapxdp.datapath import instance
from mapxdp.lab import run, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import CLIENT_IPV4, SERVER_IPV4, Lab
from mapxdp.model.domain import Mode
from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.snapshot import Snapshot

PUBLIC = "192.0.2.18"
OTHER_SERVERS = [f"203.0.113.{number}" for number in range(10, 18)]


@dataclass(frozen=True, kw_only=True)
class Household(Lab):
    """A lab whose CE has more in its table ``napt44``, and more tables."""

    napt44_lines: str = ""
    tables: str = ""

    def config_text(self) -> str:
        text = super().config_text()
        table = "[napt44]\n"
        assert text.count(table) == 1
        return text.replace(table, f"{table}{self.napt44_lines}\n") + self.tables


@contextmanager
def household(mode: str, napt44: str = "", tables: str = "") -> Iterator[Running]:
    lab = Household(prefix(), Mode(mode), napt44_lines=napt44, tables=tables)
    with run.built(lab, lambda _: None) as running:
        for address in OTHER_SERVERS:
            topology.run(
                f"ip -n {running.lab.netns('server')} addr add {address}/24 dev eth0".split()
            )
        yield running
        assert recount(running) == []


def recount(running: Running) -> list[str]:
    return recount_of(running, seen(running))


def recount_of(running: Running, now: Snapshot) -> list[str]:
    with instance.opened(running.lab.instance, now.config.domain) as maps:
        return inconsistencies(maps, now.config.domain)


def seen(running: Running) -> Snapshot:
    with snapshot.watching(running.lab.instance) as take:
        return take()


def udp_socket(running: Running, node: str, address: str = "", port: int = 0) -> socket.socket:
    with netns.entered(running.lab.netns(node)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(2)
    sock.bind((address, port))
    return sock


def hears(sock: socket.socket, seconds: float = 0.7) -> bool:
    sock.settimeout(seconds)
    try:
        sock.recv(2048)
    except TimeoutError:
        return False
    return True


MODES = pytest.mark.parametrize("mode", ["map-t", "map-e"])


class _Answer(socketserver.StreamRequestHandler):
    """One request, one answer, and the server closes."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")


@contextmanager
def web_servers(running: Running) -> Iterator[int]:
    """A web server at every address of the server; its port."""
    with netns.entered(running.lab.netns("server")):
        server = socketserver.ThreadingTCPServer(("", 8088), _Answer)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield 8088
        finally:
            server.shutdown()
            thread.join()


@MODES
def test_a_storm_of_short_connections(mode: str, bpf: None) -> None:
    """More connections than ports in less than the 4 minutes a closed one keeps its port.

    Each goes to one of several servers: a port is shared by as many as there are. All but a
    sixteenth of the ports are one host's to share.
    """
    with household(mode, "mapping = 'shared'") as running, web_servers(running) as port:
        rounds = seen(running).usable_ports * 15 // 16 - 1
        answered = 0
        with netns.entered(running.lab.netns("client1")):
            for number in range(rounds * len(OTHER_SERVERS)):
                connection = http.client.HTTPConnection(
                    OTHER_SERVERS[number % len(OTHER_SERVERS)], port, timeout=10
                )
                connection.request("GET", "/small")
                answered += connection.getresponse().status == 200
                connection.close()
        now = seen(running)
        assert answered == rounds * len(OTHER_SERVERS)
        assert now.flows > 7 * now.usable_ports
        assert now.usage[Protocol.TCP].own == 0
        assert not now.drops


FILTERS = {
    # Which of (same address and port, same address, another address) gets in.
    "eif": (True, True, True),
    "adf": (True, True, False),
    "apdf": (True, False, False),
}


@MODES
@pytest.mark.parametrize("filtering", FILTERS)
def test_who_gets_in(filtering: str, mode: str, bpf: None) -> None:
    """The tests of RFC 5780 section 4.4, by a server with two addresses and two ports."""
    with household(mode, f"filtering = '{filtering}'") as running:
        host = udp_socket(running, "client1")
        server = udp_socket(running, "server", OTHER_SERVERS[0], 6000)
        same_address = udp_socket(running, "server", OTHER_SERVERS[0], 6001)
        stranger = udp_socket(running, "server", OTHER_SERVERS[1], 6000)
        with host, server, same_address, stranger:
            host.sendto(b"hello", (OTHER_SERVERS[0], 6000))
            _, public = server.recvfrom(100)
            assert public[0] == PUBLIC
            let_in = []
            for sender in (server, same_address, stranger):
                sender.sendto(b"back", public)
                let_in.append(hears(host))
            assert tuple(let_in) == FILTERS[filtering]
            # The same port towards everyone, and whoever is spoken to may answer.
            host.sendto(b"hello", (OTHER_SERVERS[1], 6000))
            stranger.settimeout(2)
            assert stranger.recvfrom(100)[1] == public
            stranger.sendto(b"back", public)
            assert hears(host)


@MODES
def test_two_hosts_behind_one_address(mode: str, bpf: None) -> None:
    """Hairpinning (RFC 4787 REQ-9): each sees the other's public address and port."""
    with household(mode) as running:
        one, other = udp_socket(running, "client1"), udp_socket(running, "client2")
        with one, other:
            publics = []
            for sock in (one, other):
                sock.sendto(b"who am I", (SERVER_IPV4, UDP_PORT))
                sock.recv(100)
            # Both speak first, as a game's rendezvous makes them: the filter lets them in.
            ports = {
                str(m.host): m.port for m in seen(running).mappings if m.protocol is Protocol.UDP
            }
            publics = [(PUBLIC, ports[CLIENT_IPV4[name]]) for name in ("client1", "client2")]
            one.sendto(b"to other", publics[1])
            assert not hears(other), "nobody had been spoken to"
            other.sendto(b"to one", publics[0])
            one.settimeout(2)
            assert one.recvfrom(100) == (b"to one", publics[1])
            one.sendto(b"to other", publics[1])
            other.settimeout(2)
            assert other.recvfrom(100) == (b"to other", publics[0])


@MODES
@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
def test_a_server_at_home(offloads: bool, mode: str, bpf: None) -> None:
    """A forward: reached from outside and, by its public address, from the LAN."""
    port = 1232
    more = f"[[forward]]\nprotocol = 'tcp'\nport = {port}\nto = '{CLIENT_IPV4['client1']}:8443'\n"
    with household(mode, tables=more) as running:
        topology.set_offloads(running.lab, "ce", topology.WAN, on=offloads)
        with netns.entered(running.lab.netns("client1")):
            listening = socket.create_server(("", 8443))
        listening.settimeout(5)
        for node in ("server", "client2"):
            with netns.entered(running.lab.netns(node)):
                caller = socket.create_connection((PUBLIC, port), timeout=5)
            with caller, listening.accept()[0] as accepted:
                accepted.settimeout(5)
                assert accepted.getpeername()[0] == (SERVER_IPV4 if node == "server" else PUBLIC)
                data = bytes(range(256)) * 400
                caller.sendall(data)
                received = b""
                while len(received) < len(data):
                    received += accepted.recv(65536)
                assert received == data
                accepted.sendall(b"fine")
                assert caller.recv(10) == b"fine"
        listening.close()


@MODES
def test_a_greedy_host_is_told_and_others_go_on(mode: str, bpf: None) -> None:
    with household(mode, "mapping = 'eim'\nhost_ports_max = 60") as running:
        greedy = [udp_socket(running, "client1") for _ in range(80)]
        told = 0
        for sock in greedy:
            sock.connect((SERVER_IPV4, UDP_PORT))
            sock.send(b"mine")
        time.sleep(0.5)
        for sock in greedy:
            sock.settimeout(0.01)
            try:
                sock.recv(100)
            except TimeoutError:
                pass
            except OSError as error:
                assert error.errno in (errno.EACCES, errno.EHOSTUNREACH)
                told += 1
            sock.close()
        modest = udp_socket(running, "client2")
        with modest:
            modest.sendto(b"me too", (SERVER_IPV4, UDP_PORT))
            assert modest.recv(100) == b"me too"
        now = seen(running)
        assert now.usage[Protocol.UDP].own == 61
        assert now.counters.upstream[Reason.HOST_LIMIT].packets == 20
        assert told == now.counters.upstream[Reason.REFUSAL_SENT].packets > 0


def test_a_reload_brings_forwards_and_reserved_ports(bpf: None, tmp_path: Path) -> None:
    with household("map-t") as running:
        path = tmp_path / "ce.toml"
        forward = (
            f"[[forward]]\nprotocol = 'udp'\nport = 'any'\nto = '{CLIENT_IPV4['client1']}:9'\n"
        )
        said: list[str] = []

        def reload(napt44: str = "", tables: str = "") -> Snapshot:
            changed = replace(running.lab, napt44_lines=napt44, tables=tables)
            path.write_text(changed.config_text(), encoding="utf-8")
            ce.reload(path, running.lab.netns("ce"), said.append)
            assert recount(running) == []
            return seen(running)

        first = reload(tables=forward)
        assert first.usage[Protocol.UDP].forwards == 1
        port = next(m.port for m in first.mappings if m.protocol is Protocol.UDP)
        again = reload("reserved_ports = [1232, 1233]", forward)
        assert again.usable_ports == first.usable_ports - 2
        assert [m.port for m in again.mappings if m.protocol is Protocol.UDP] == [port]
        last = reload()
        assert last.usage[Protocol.UDP].forwards == 0
        assert last.usable_ports == first.usable_ports


def test_renumbering_of_the_ipv6_side_keeps_the_mappings(bpf: None, tmp_path: Path) -> None:
    """A new MAP address, the same IPv4 address and ports: nothing is lost on that side."""
    with household("map-t") as running, udp_socket(running, "client1") as host:
        host.sendto(b"before", (SERVER_IPV4, UDP_PORT))
        assert host.recv(100) == b"before"
        (before,) = seen(running).mappings
        said = reload_with(
            running,
            tmp_path,
            {'mode = "map-t"': 'interface_id = "draft-03"', "ea_length = 16": "psid_offset = 6"},
        )
        assert "kept the port mappings of the running datapath" in said
        (after,) = seen(running).mappings
        assert after.port == before.port
        assert str(seen(running).config.domain.map_address) in " ".join(said)


def test_another_psid_under_load(bpf: None, tmp_path: Path) -> None:
    """Packets come while the ports change: none gets a port of the former set, and none is lost
    from the count."""
    with household("map-t") as running, udp_stream(running) as stream:
        while stream.sent < 20:
            time.sleep(0.01)
        reload_with(running, tmp_path, {"ea_length = 16": "psid_offset = 4"})
        sent = stream.sent
        while stream.sent < sent + 2:
            time.sleep(0.01)
        now = seen(running)
        assert now.mappings
        assert all(mapping.port in now.config.domain.port_set for mapping in now.mappings)
        assert recount_of(running, now) == []
        reload_with(running, tmp_path, {"ea_length = 16": "psid_offset = 6"})


def reload_with(running: Running, directory: Path, more: dict[str, str]) -> list[str]:
    """Puts more lines after lines of the lab's configuration; what reload said."""
    text = Lab.config_text(running.lab)
    for line, added in more.items():
        assert text.count(line) == 1
        text = text.replace(line, f"{line}\n{added}")
    path = directory / "ce.toml"
    path.write_text(text, encoding="utf-8")
    said: list[str] = []
    ce.reload(path, running.lab.netns("ce"), said.append)
    return said
