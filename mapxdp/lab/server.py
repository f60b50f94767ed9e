# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab's server: HTTP and a UDP echo, in a process of its own.

It remembers from which addresses and ports it was spoken to.
"""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from mapxdp import netns
from mapxdp.lab import child
from mapxdp.lab.child import Child
from mapxdp.lab.topology import SERVER_IPV4, SERVER_IPV6

HTTP_PORT = 8080
UDP_PORT = 5353
BLOB_SIZE = 20 * 1024 * 1024

#: Address and port a client was seen from.
Peer = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens. ``ipv6`` has HTTP only; None: it has no IPv6."""

    ipv4: str = SERVER_IPV4
    ipv6: str | None = SERVER_IPV6
    http_port: int = HTTP_PORT
    udp_port: int = UDP_PORT


THE_SERVER = Place()


def blob() -> bytes:
    """What is downloaded: bytes that are not alike, the same in every run."""
    unit = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(2048))
    return unit * (BLOB_SIZE // len(unit))


class Server:
    """The running server, seen from the lab."""

    def __init__(self, process: Child) -> None:
        self._process = process

    def take_peers(self) -> dict[str, set[Peer]]:
        """From where it was spoken to since the last call, by ``tcp`` and ``udp``."""
        peers: dict[str, set[Peer]] = self._process.ask("peers")
        return peers


@contextmanager
def running(namespace: str, place: Place = THE_SERVER) -> Iterator[Server]:
    """A server that runs in ``namespace`` meanwhile."""
    with child.running("the lab's server", _serve, namespace, place) as process:
        yield Server(process)


class _Http(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True
    content = b""
    peers: set[Peer]

    def server_bind(self) -> None:
        """Without asking DNS for the name of the address, which takes 5 seconds here."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: the checks end connections with a reset on purpose."""


class _Http6(_Http):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """GET gives the blob (or ``/small`` a line), PUT the SHA-256 of what was sent."""

    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        """The blob, or one short line."""
        self._remember()
        self._answer(b"mapxdp\n" if self.path == "/small" else self.server.content)

    def do_PUT(self) -> None:
        """The digest of the body."""
        self._remember()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(hashlib.sha256(body).hexdigest().encode())

    def _remember(self) -> None:
        self.server.peers.add((self.client_address[0], self.client_address[1]))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (inherited name)
        """Nothing: the lab prints what it checks."""


def _serve(namespace: str, place: Place, connection: Connection) -> None:
    peers: dict[str, set[Peer]] = {"tcp": set(), "udp": set()}
    with netns.entered(namespace):
        servers = [_Http((place.ipv4, place.http_port), _Handler)]
        if place.ipv6 is not None:
            servers.append(_Http6((place.ipv6, place.http_port), _Handler))
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind((place.ipv4, place.udp_port))
    for server in servers:
        server.content = blob()
        server.peers = peers["tcp"]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_echo, args=(echo, peers["udp"]), daemon=True).start()
    connection.send("ready")
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        connection.send({name: set(seen) for name, seen in peers.items()})
        for seen in peers.values():
            seen.clear()


def _echo(echo: socket.socket, peers: set[Peer]) -> None:
    while True:
        data, peer = echo.recvfrom(65535)
        peers.add((peer[0], peer[1]))
        echo.sendto(data, peer)
