# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Traceroute with one's own probes, in the network namespace of the thread.

An error counts only when the kernel has matched it to the socket that sent the probe: what it
quotes is then as that socket knows it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mapxdp.lab.clients import echo_request

_IP_RECVERR = 11
_ORIGIN_ICMP = 2
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_ADDRESS_AT = 4
_LONGEST = 65535
_SECONDS, _TRIES, _HOPS = 2.0, 2, 8
_ECHO_REPLY = 0

TIME_EXCEEDED = (11, 0)
PORT_UNREACHABLE = (3, 3)
FRAGMENTATION_NEEDED = (3, 4)


class Kind(StrEnum):
    """What a probe is."""

    UDP = "UDP"
    ICMP = "ICMP echo"
    TCP = "TCP SYN"


@dataclass(frozen=True, slots=True)
class Hop:
    """Who answered a probe, with the ICMP error ``(type, code)``; None: as the destination does."""

    address: str
    error: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class SocketError:
    """An ICMP error that came to a socket: who said what, and about which ``data``."""

    source: str
    kind: tuple[int, int]
    information: int
    data: bytes


def report_errors(sock: socket.socket) -> None:
    """Has the kernel keep the ICMP errors about the socket's packets for it."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def next_error(sock: socket.socket, seconds: float = _SECONDS) -> SocketError | None:
    """The next ICMP error about what the socket sent; None when there is none in time."""
    deadline = time.monotonic() + seconds
    while (found := _queued_error(sock)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        _wait(sock, 0, left)
    return found


def _wait(sock: socket.socket, events: int, seconds: float) -> int:
    waiting = select.poll()
    waiting.register(sock, events)
    ready = waiting.poll(seconds * 1000)
    return ready[0][1] if ready else 0


def _queued_error(sock: socket.socket) -> SocketError | None:
    """What is in the queue; errors of this host's own are passed over."""
    while True:
        try:
            data, messages, _, _ = sock.recvmsg(
                _LONGEST, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        for level, kind, content in messages:
            if (level, kind) != (socket.IPPROTO_IP, _IP_RECVERR):
                continue
            _, origin, icmp_type, code, information, _ = _EXTENDED_ERROR.unpack_from(content)
            at = _EXTENDED_ERROR.size + _ADDRESS_AT
            if origin == _ORIGIN_ICMP:
                source = socket.inet_ntoa(content[at : at + 4])
                return SocketError(source, (icmp_type, code), information, data)


def trace(kind: Kind, address: str, port: int) -> list[Hop | None]:
    """The hops to ``address``, the last one itself; None for one that says nothing, and two of
    them are the end.

    ``port`` should be closed for UDP; it does not matter for ICMP.
    """
    probe = _PROBES[kind]
    hops: list[Hop | None] = []
    for ttl in range(1, _HOPS + 1):
        answers = (probe(address, port, ttl) for _ in range(_TRIES))
        hops.append(next((hop for hop in answers if hop is not None), None))
        if hops[-2:] == [None, None] or (hops[-1] and hops[-1].error != TIME_EXCEEDED):
            break
    return hops


def shown(hops: list[Hop | None]) -> str:
    """The hops' addresses in a row."""
    return " → ".join("*" if hop is None else hop.address for hop in hops)


def _probe_udp(address: str, port: int, ttl: int) -> Hop | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _prepare(sock, ttl)
        sock.sendto(os.urandom(32), (address, port))
        return _hop(next_error(sock))


def _probe_icmp(address: str, _: int, ttl: int) -> Hop | None:
    identifier = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        _prepare(sock, ttl)
        sock.connect((address, 0))
        request = echo_request(identifier, ttl, 32)
        sock.send(request)
        deadline = time.monotonic() + _SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if _wait(sock, select.POLLIN, left) & select.POLLIN:
                packet = sock.recv(_LONGEST)
                answer = packet[(packet[0] & 0xF) * 4 :]
                if answer[0] == _ECHO_REPLY and answer[4:8] == request[4:8]:
                    return Hop(address, None)
            # Any raw socket sees it; identifier and checksum of the quote tell whose it is.
            error = _queued_error(sock)
            if error is not None and error.data[:8] == request[:8]:
                return _hop(error)
    return None


def _probe_tcp(address: str, port: int, ttl: int) -> Hop | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        _prepare(sock, ttl)
        sock.setblocking(False)
        if sock.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            return None
        _wait(sock, select.POLLOUT, _SECONDS)
        error = _queued_error(sock)
        if error is not None:
            return _hop(error)
        # Refused is an answer too: by the host itself.
        state = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        answered = state == errno.ECONNREFUSED or (state == 0 and _is_connected(sock))
        return Hop(address, None) if answered else None


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _prepare(sock: socket.socket, ttl: int) -> None:
    report_errors(sock)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def _hop(error: SocketError | None) -> Hop | None:
    return None if error is None else Hop(error.source, error.kind)


_PROBES: dict[Kind, Callable[[str, int, int], Hop | None]] = {
    Kind.UDP: _probe_udp,
    Kind.ICMP: _probe_icmp,
    Kind.TCP: _probe_tcp,
}
