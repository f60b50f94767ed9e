# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames written beforehand that arrive at an interface, as the kernel or an XDP program sees them.

BPF_PROG_TEST_RUN with live frames (Linux 5.18): the whole way of a frame, to where it ends, runs in
the thread that asks for it, and in the soft interrupts of its CPU.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.errors import HostError
from mapxdp.model.port_set import PortParameters, PortSet

_TEXT = Path(__file__).with_name("replay.bpf.c")
_FRAME_OCTETS = 128
_SHORTEST = 64
_BATCH = 64
_CURSOR, _TARGET = struct.Struct("=IIII"), struct.Struct("=I12s")
_ENDS = struct.Struct(f"={64 * 8}Q")
_KEY = bytes(4)
_FIRST = 0
_ALL = 0.999


class Ends:
    """Where frames end: programs for all routers, and their common count."""

    def __init__(self) -> None:
        self.map = _map("ends", "ARRAY", _ENDS.size)
        code = _compiled(("pass", "xdp_end", "tc_end"), {"ends": self.map})
        self.pass_on = libbpf.load_xdp_program("pass", code["pass"]).fd
        self.xdp = libbpf.load_xdp_program("xdp_end", code["xdp_end"]).fd
        self.tc = libbpf.load_program("tc_end", code["tc_end"]).fd

    def clear(self) -> None:
        """No frame has arrived."""
        libbpf.update(self.map, _KEY, bytes(_ENDS.size))

    def arrived(self) -> int:
        """Frames that ended, on all CPUs."""
        value = libbpf.lookup(self.map, _KEY, _ENDS.size)
        assert value is not None
        return sum(_ENDS.unpack(value))

    def require(self, frames: int, way: str) -> None:
        """HostError unless so many frames arrived; the last few may still be on their way."""
        arrived = self.arrived()
        if arrived < frames * _ALL:
            raise HostError(
                f"{way}: {frames} frames in, {arrived} out",
                "a benchmark's router loses packets: report this",
            )

    def close(self) -> None:
        """Closes what is open; attached programs stay."""
        for fd in (self.map, self.pass_on, self.xdp, self.tc):
            os.close(fd)


class Player:
    """Frames of one direction of one router. ``program``: the XDP program under test, if any."""

    def __init__(self, frames: Sequence[bytes], program: int | None) -> None:
        lengths = {len(frame) for frame in frames}
        (self._length,) = lengths
        assert _SHORTEST <= self._length <= _FRAME_OCTETS
        self._maps = {
            "frames": _map("frames", "ARRAY", _FRAME_OCTETS, len(frames)),
            "cursor": _map("cursor", "ARRAY", _CURSOR.size),
            "under_test": _map("under_test", "PROG_ARRAY", 4),
        }
        for number, frame in enumerate(frames):
            key = number.to_bytes(4, "little")
            libbpf.update(self._maps["frames"], key, frame.ljust(_FRAME_OCTETS, b"\0"))
        name = "to_kernel" if program is None else "to_driver"
        self._program = libbpf.load_xdp_program(name, _compiled((name,), self._maps)[name]).fd
        if program is not None:
            libbpf.update(self._maps["under_test"], _KEY, program.to_bytes(4, "little"))
        self.aim(1)

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._program)
        for fd in self._maps.values():
            os.close(fd)

    def aim(self, flows: int) -> None:
        """The first so many frames, in turn."""
        packed = _CURSOR.pack(_FIRST, _FIRST, flows - 1, self._length)
        libbpf.update(self._maps["cursor"], _KEY, packed)

    def play(self, ifindex: int, frames: int) -> None:
        """Has frames arrive at an interface of this thread's network namespace."""
        libbpf.run_live(self._program, bytes(self._length), ifindex, frames, _BATCH)


class Bare:
    """XDP that only sends on: to an interface, with these link-layer addresses."""

    def __init__(self, ifindex: int, hop: bytes) -> None:
        self._map = _map("target", "ARRAY", _TARGET.size)
        libbpf.update(self._map, _KEY, _TARGET.pack(ifindex, hop))
        code = _compiled(("bare",), {"target": self._map})
        self.program = libbpf.load_xdp_program("bare", code["bare"]).fd

    def close(self) -> None:
        """Closes what is open."""
        os.close(self.program)
        os.close(self._map)


def _map(name: str, kind: str, size: int, entries: int = 1) -> int:
    return libbpf.create_map(MapSpec(name, kind, "__u32", 4, name, size, entries, 0))


def _compiled(names: tuple[str, ...], maps: Mapping[str, int]) -> dict[str, bytes]:
    contract = tables.contract_for(PortSet(PortParameters(6, 8), 0))
    everything = {
        **dict.fromkeys(("ends", "frames", "cursor", "under_test", "target"), -1),
        **maps,
    }
    all_names = ("to_kernel", "to_driver", "pass", "bare", "xdp_end", "tc_end")
    code = compile_text(_TEXT.read_text(encoding="utf-8"), all_names, contract, 14, everything)
    return {name: code[name] for name in names}
