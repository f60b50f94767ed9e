# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the lab's clients do, with real sockets, in the network namespace of the thread.

Sockets stay in the namespace they were made in. Failures are OSError.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import selectors
import socket
import struct
import time
from dataclasses import dataclass

from mapxdp.lab.server import HTTP_PORT, UDP_PORT
from mapxdp.software.checksum import checksum

TIMEOUT = 20.0
_ECHO_REQUEST, _ECHO_REPLY = 8, 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A finished download or upload."""

    octets: int
    seconds: float
    sha256: str

    @property
    def megabits_per_second(self) -> float:
        """The mean rate of the content, headers not counted."""
        return self.octets * 8 / self.seconds / 1e6


def ping(address: str, count: int = 3, octets: int = 48) -> list[float]:
    """Round trip times in milliseconds of ``count`` echo requests with so much data.

    Lost ones are missing, and so are those that came back with other data.
    """
    identifier = os.getpid() & 0xFFFF
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(2)
        for sequence in range(count):
            request = echo_request(identifier, sequence, octets)
            raw.sendto(request, (address, 0))
            sent = time.monotonic()
            if _await_reply(raw, request):
                times.append((time.monotonic() - sent) * 1000)
    return times


def echo_request(identifier: int, sequence: int, octets: int) -> bytes:
    """The ICMP message, with random data."""
    body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence) + os.urandom(octets)
    return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]


def _await_reply(raw: socket.socket, request: bytes) -> bool:
    """The reply is the request but for its type and checksum."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            packet = raw.recv(65535)
        except TimeoutError:
            return False
        message = packet[(packet[0] & 0xF) * 4 :]
        if message[0] == _ECHO_REPLY and message[4:] == request[4:]:
            return True
    return False


def udp_exchange(address: str, size: int, port: int = UDP_PORT) -> bool:
    """Sends ``size`` octets; True if the same came back. Tried three times, as DNS would."""
    data = os.urandom(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        for _ in range(3):
            sock.sendto(data, (address, port))
            try:
                return sock.recv(65535) == data
            except TimeoutError:
                continue
    return False


def download(address: str, port: int = HTTP_PORT) -> Transfer:
    """GET of the server's blob."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    connection.request("GET", "/blob")
    response = connection.getresponse()
    digest, octets = hashlib.sha256(), 0
    while chunk := response.read(1 << 16):
        digest.update(chunk)
        octets += len(chunk)
    connection.close()
    return Transfer(octets, time.monotonic() - started, digest.hexdigest())


def upload(address: str, content: bytes) -> Transfer:
    """PUT of ``content``; the digest is the one the server computed."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=TIMEOUT)
    connection.request("PUT", "/", body=content)
    digest = connection.getresponse().read().decode()
    connection.close()
    return Transfer(len(content), time.monotonic() - started, digest)


def open_connections(address: str, count: int, first_port: int) -> list[socket.socket]:
    """``count`` TCP connections at once, from ports of one's own from ``first_port`` on.

    All are established when this returns; OSError if one is not after TIMEOUT.
    """
    opened = []
    with selectors.DefaultSelector() as waiting:
        for number in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", first_port + number))
            sock.setblocking(False)
            sock.connect_ex((address, HTTP_PORT))
            waiting.register(sock, selectors.EVENT_WRITE)
            opened.append(sock)
        deadline = time.monotonic() + TIMEOUT
        while waiting.get_map():
            for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                sock = opened[opened.index(key.fileobj)]  # type: ignore[arg-type]
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                waiting.unregister(sock)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting.get_map())} of {count} connections not made")
    return opened


def use_and_abort(connections: list[socket.socket]) -> int:
    """One request over each connection; how many were answered.

    They end with a reset, so that the same ports can be used again at once.
    """
    answered = 0
    for sock in connections:
        sock.settimeout(TIMEOUT)
        sock.sendall(b"GET /small HTTP/1.1\r\nHost: server\r\n\r\n")
    for sock in connections:
        answered += sock.recv(4096).startswith(b"HTTP/1.1 200")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return answered
