# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A program on one packet, attached nowhere: its verdict, and all that left because of it.

BPF_PROG_TEST_RUN gives back the packet itself, as the program left it. Copies that the program
sent meanwhile (bpf_clone_redirect) go to a real interface: one end of a veth pair in a network
namespace of nobody else's, where a packet socket sees them, on their way out or in.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

from mapxdp import host, netns
from mapxdp.datapath import libbpf, stretch
from mapxdp.datapath.libbpf import RunResult
from mapxdp.datapath.stretch import Stretcher
from mapxdp.errors import HostError
from mapxdp.links import open_links

_WAN, _PEER = "wan", "peer"
#: The largest a veth can have: what leaves is never cut or refused for its size.
_MTU = 65535
_FRAME_MAX = 1 << 17
_ALL_PROTOCOLS = 3  # ETH_P_ALL
_SO_RCVBUFFORCE = 33
_QUEUE = 1 << 24
#: Longer than any machine takes to hand a frame from one end of a veth pair to the other.
_PATIENCE = 30.0
#: IEEE 802's first EtherType for local experiments: no packet of a CE has it.
_MARKER = bytes.fromhex("ffffffffffff 020000000003 88b5").ljust(60, b"\0")
_NO_IPV6 = "net/ipv6/conf/all/disable_ipv6"

#: Verdicts, <linux/pkt_cls.h>: on to the next filter, and what bpf_redirect says.
PASSED_ON, REDIRECTED = 0xFFFFFFFF, 7

#: Offsets in struct __sk_buff, <linux/bpf.h>, of what a test run takes from its context.
CONTEXT_FIELDS = {"mark": 8, "priority": 32, "ifindex": 40, "gso_segs": 164, "gso_size": 176}
_CONTEXT_SIZE = 192


def context(**fields: int) -> bytes:
    """The context of a test run: fields of struct __sk_buff by name."""
    packed = bytearray(_CONTEXT_SIZE)
    for name, value in fields.items():
        struct.pack_into("=I", packed, CONTEXT_FIELDS[name], value)
    return bytes(packed)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a program did with a frame. Copies are frames too, in the order they were sent."""

    verdict: int
    frame: bytes
    transmitted: tuple[bytes, ...]
    received: tuple[bytes, ...]

    def sides(self, upstream: bool, leaves: bool) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """What went on, and what went back to where the frame came from.

        The frame itself is among them, behind its copies, if it ``leaves`` or was redirected:
        the datapath redirects nothing but what goes back.
        """
        on, back = self.transmitted, self.received
        if not upstream:
            on, back = back, on
        if self.verdict == REDIRECTED:
            return on, (*back, self.frame)
        if leaves and self.verdict == PASSED_ON:
            return (*on, self.frame), back
        return on, back


class TrialLink:
    """The interface that trial packets are on. A context manager; it goes with its namespace."""

    def __init__(self) -> None:
        self._stretcher: Stretcher | None = None
        with ExitStack() as closing:
            self._namespace = netns.new()
            closing.callback(os.close, self._namespace)
            with netns.inside(self._namespace):
                self.ifindex = _add_link()
                self._tap = closing.enter_context(_packet_socket(_WAN))
                self._peer = closing.enter_context(_packet_socket(_PEER))
            self._closing = closing.pop_all()

    def __enter__(self) -> TrialLink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the interface and its namespace."""
        self._closing.close()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside its network namespace."""
        with netns.inside(self._namespace):
            yield

    def run(self, fd: int, frame: bytes, **fields: int) -> Trial:
        """Runs a TC classifier on an Ethernet frame; ``fields`` are of struct __sk_buff."""
        set_fields = context(ifindex=self.ifindex, **fields)
        with self.entered(), _on_one_cpu():
            result = self._run(fd, frame, set_fields)
            transmitted, received = self._collected()
        return Trial(result.verdict, result.packet, transmitted, received)

    def _run(self, fd: int, frame: bytes, set_fields: bytes) -> RunResult:
        if stretch.SHORTEST <= len(frame) <= stretch.LONGEST:
            return libbpf.run_program(fd, frame, context=set_fields)
        if self._stretcher is None:
            self._stretcher = self._closing.enter_context(Stretcher())
        return self._stretcher.run(fd, frame, set_fields)

    def _collected(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """What passed the interface, on its way out and in.

        What comes in waits in a queue of this CPU. A marker is put behind it: when that is
        there, so is everything.
        """
        self._peer.send(_MARKER)
        transmitted: list[bytes] = []
        received: list[bytes] = []
        while True:
            try:
                frame, address = self._tap.recvfrom(_FRAME_MAX)
            except TimeoutError:
                raise HostError(
                    "a frame did not arrive at the other end of a veth pair",
                    "is anything attached to every new interface here? See 'tc filter'",
                ) from None
            if address[2] == socket.PACKET_OUTGOING:
                transmitted.append(frame)
            elif frame == _MARKER:
                return tuple(transmitted), tuple(received)
            else:
                received.append(frame)


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Keeps this thread where it is: what it sends to itself then stays in order."""
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(former)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


def _add_link() -> int:
    """Its index. Without IPv6 the kernel sends nothing of its own."""
    with suppress(HostError):  # a kernel without IPv6 has nothing to turn off
        host.set_sysctl(_NO_IPV6, "1")
    with open_links() as links:
        links.add_veth_pair(_WAN, _PEER, _MTU)
        for name in (_WAN, _PEER):
            links.set_up(links.find(name))
        return links.find(_WAN).index


def _packet_socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.settimeout(_PATIENCE)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)
    made.bind((interface, _ALL_PROTOCOLS))
    return made
