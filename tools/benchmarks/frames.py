# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames that arrive at a router's LAN, as the kernel sees them, and their end at its WAN.

BPF_PROG_TEST_RUN with live frames (Linux 5.18): an XDP program writes each frame, the kernel
receives it. The whole way to the WAN runs in the thread that asks for it.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.software.checksum import checksum

LAN_MAC = bytes.fromhex("020000000001")
_HOST_MAC = bytes.fromhex("020000000002")
_TEXT = Path(__file__).with_name("frames.bpf.c")
_FRAME_LENGTH = 74
_BATCH = 64
_CPUS, _STEPS, STEP_NS = 64, 8192, 16
_GENERATOR = struct.Struct("=80sQQQIIII")
_SINK = struct.Struct(f"={_CPUS}Q{_CPUS}QQ{_STEPS}Q")
_TCP, _UDP = 6, 17
_SOURCE, _REMOTE = IPv4Address("192.168.1.16"), IPv4Address("198.18.0.1")
#: MSS, SACK, timestamps, window scale, as Linux opens a connection.
_SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Frames that differ: number n has the n-th source port from ``port`` on, is from host n
    modulo ``hosts``, and to a remote that n chooses among ``remotes``; both are powers of two.

    The ports are those of which bit 9 is as in ``port``.
    """

    is_tcp: bool
    remote_port: int
    port: int
    hosts: int = 16
    remotes: int = 1024
    source: IPv4Address = _SOURCE
    remote: IPv4Address = _REMOTE

    def template(self) -> bytes:
        """Frame 0: a SYN as Linux sends it, or a datagram of the same length."""
        addresses = self.source.packed + self.remote.packed
        protocol = _TCP if self.is_tcp else _UDP
        length = _FRAME_LENGTH - 34
        if self.is_tcp:
            head = struct.pack(">HHIIHHHH", self.port, self.remote_port, 1, 0, 0xA002, 64240, 0, 0)
            segment, field = head + _SYN_OPTIONS, 16
        else:
            head = struct.pack(">HHHH", self.port, self.remote_port, length, 0)
            segment, field = head.ljust(length, b"\0"), 6
        total = checksum(addresses + struct.pack(">HH", protocol, length) + segment)
        segment = segment[:field] + total.to_bytes(2, "big") + segment[field + 2 :]
        ipv4 = struct.pack(">HHHHBBH", 0x4500, 20 + length, 0, 0x4000, 64, protocol, 0) + addresses
        ipv4 = ipv4[:10] + checksum(ipv4).to_bytes(2, "big") + ipv4[12:]
        return LAN_MAC + _HOST_MAC + b"\x08\x00" + ipv4 + segment


class Sink:
    """The program at every WAN, behind the others: counts what comes, by family and CPU."""

    def __init__(self) -> None:
        spec = MapSpec("sink", "ARRAY", "__u32", 4, "sink", _SINK.size, 1, 0)
        self._map = libbpf.create_map(spec)
        self.fds = {"sink": self._map}
        generator = _create_generator()
        programs = _compile({"sink": self._map, "generator": generator})
        os.close(generator)
        self.discard = libbpf.load_program("discard", programs["discard"]).fd
        self.nothing = libbpf.load_program("nothing", programs["nothing"]).fd
        xdp = libbpf.PROGRAM_TYPE_XDP
        self.pass_on = libbpf.load_program("pass", programs["pass"], xdp).fd

    def close(self) -> None:
        """Closes what is open; attached programs stay."""
        for fd in (self._map, self.discard, self.nothing, self.pass_on):
            os.close(fd)

    def clear(self, stamped: bool = False) -> None:
        """Zero; ``stamped``: notes how long stamped frames took."""
        libbpf.update(self._map, _KEY, _SINK.pack(*[0] * 2 * _CPUS, int(stamped), *[0] * _STEPS))

    def arrived(self, cpu: int) -> tuple[int, int]:
        """IPv4 and IPv6 packets that came on a CPU."""
        values = self._read()
        return values[cpu % _CPUS], values[_CPUS + cpu % _CPUS]

    def steps(self) -> list[int]:
        """Stamped frames, by how many steps of 16 ns they took."""
        return list(self._read()[2 * _CPUS + 1 :])

    def _read(self) -> tuple[int, ...]:
        value = libbpf.lookup(self._map, _KEY, _SINK.size)
        assert value is not None
        return _SINK.unpack(value)


class Generator:
    """A source of frames."""

    def __init__(self, sink: Sink) -> None:
        self._map = _create_generator()
        programs = _compile({"generator": self._map, **sink.fds})
        xdp = libbpf.PROGRAM_TYPE_XDP
        self._program = libbpf.load_program("inject", programs["inject"], xdp).fd
        self._frame = b""

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._map)
        os.close(self._program)

    def aim(self, traffic: Traffic, first: int, last: int, stamped: bool = False) -> None:
        """Frames ``first`` to ``last``, and again."""
        self._frame = traffic.template()
        packed = _GENERATOR.pack(
            self._frame,
            first,
            first,
            last,
            traffic.hosts - 1,
            traffic.remotes - 1,
            int(traffic.is_tcp),
            int(stamped),
        )
        libbpf.update(self._map, _KEY, packed)

    def send(self, ingress_ifindex: int, frames: int, batch: int = _BATCH) -> None:
        """Has frames arrive at an interface of this thread's network namespace."""
        libbpf.run_live(self._program, self._frame, ingress_ifindex, frames, batch)


_KEY = (0).to_bytes(4, sys.byteorder)


def _create_generator() -> int:
    spec = MapSpec("generator", "ARRAY", "__u32", 4, "generator", _GENERATOR.size, 1, 0)
    return libbpf.create_map(spec)


def _compile(map_fds: dict[str, int]) -> dict[str, bytes]:
    contract = tables.contract_for(PortSet(PortParameters(6, 8), 0))
    names = ("inject", "pass", "discard", "nothing")
    return compile_text(_TEXT.read_text(encoding="utf-8"), names, contract, 14, map_fds)
