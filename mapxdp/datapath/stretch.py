# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Test runs with frames that the kernel does not take as they are: see bpf/trial.bpf.c.

Programs cannot make a packet longer than four pages, less what the kernel keeps at its end.
"""

from __future__ import annotations

import os
import struct
import sys
from types import TracebackType

from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.compiler import compile_programs
from mapxdp.datapath.libbpf import RunResult
from mapxdp.errors import HostError
from mapxdp.model.port_set import PortParameters, PortSet

#: What every kernel takes as it is: an Ethernet header with an IPv6 header, or most of a page.
SHORTEST, LONGEST = 54, 3500
_TRIAL = struct.Struct(f"=III{1 << 16}s")
_KEY = (0).to_bytes(4, sys.byteorder)
_FAILED = 99
_ANY_PORT_SET = PortSet(PortParameters(6, 8), 0)


class Stretcher:
    """Compiled and loaded when it is made. A context manager that closes what it opened."""

    def __init__(self) -> None:
        contract = tables.contract_for(_ANY_PORT_SET)  # the text reads no table of a CE
        self._frame = libbpf.create_map(
            MapSpec("trial", "ARRAY", "__u32", 4, "trial", _TRIAL.size, 1, 0)
        )
        self._program = libbpf.create_map(
            MapSpec("on_trial", "PROG_ARRAY", "__u32", 4, "__u32", 4, 1, 0)
        )
        maps = {"trial": self._frame, "on_trial": self._program}
        bytecode = compile_programs({"trial.bpf.c": ["stretch"]}, contract, 0, maps)
        self._stretch = libbpf.load_program("stretch", bytecode["stretch"]).fd

    def __enter__(self) -> Stretcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in (self._stretch, self._program, self._frame):
            os.close(fd)

    def run(self, fd: int, frame: bytes, context: bytes) -> RunResult:
        """As libbpf.run_program does; the interface in the context has to allow the length."""
        offset = min(LONGEST, len(frame) - 1)
        rest = frame[offset:]
        libbpf.update(self._frame, _KEY, _TRIAL.pack(len(frame), offset, len(rest) - 1, rest))
        libbpf.update(self._program, _KEY, fd.to_bytes(4, sys.byteorder))
        offered = frame[:LONGEST].ljust(SHORTEST, b"\0")
        result = libbpf.run_program(self._stretch, offered, context=context)
        if result.verdict == _FAILED:
            raise HostError(
                f"the kernel makes no packet of {len(frame)} octets for a test run",
                "give the packet to the software path",
            )
        return result
