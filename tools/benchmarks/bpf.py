# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Two questions to bpf(2) that only benchmarks have: how long a program is, and how long single
runs of it take.

A test run that is repeated sees the packet as the run before it left it: translated. So each run is
a system call of its own, with a fresh packet and nothing copied back, from buffers made beforehand.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

from mapxdp.datapath import libbpf
from mapxdp.errors import HostError

#: Where they are in struct bpf_prog_info, <linux/bpf.h>; Linux 5.16 says what verifying took.
_JITED_LENGTH, _VERIFIED, _INFO_SIZE = 16, 216, 256
#: r0 = immediate; exit
_RETURN = struct.Struct("=BBhIBBhi")
_MOVE, _EXIT = 0xB7, 0x95
_DISCARDED = 0
#: Of the packet that comes back, which is not taken: else what the last run's was is the limit.
_ANY_LENGTH = 0


@dataclass(frozen=True, slots=True)
class ProgramSize:
    """Instructions the verifier went through, on all ways; octets of machine code."""

    verified: int
    jited: int


def size_of(fd: int) -> ProgramSize:
    """Of an open program."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    length = ctypes.c_uint32(_INFO_SIZE)
    if libbpf.library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)) < 0:
        code = ctypes.get_errno()
        raise HostError(
            f"the kernel does not describe a BPF program: {os.strerror(code)}", "report this text"
        )
    (jited,) = struct.unpack_from("=I", info, _JITED_LENGTH)
    (verified,) = struct.unpack_from("=I", info, _VERIFIED)
    return ProgramSize(verified, jited)


def load_empty(program_type: int, verdict: int) -> int:
    """A program that does nothing but give its verdict."""
    code = _RETURN.pack(_MOVE, 0, 0, verdict, _EXIT, 0, 0, 0)
    return libbpf.load_program("empty", code, program_type).fd


class SingleRuns:
    """A program, and the frame that each of its runs gets."""

    def __init__(self, fd: int, frame: bytes, context: bytes) -> None:
        self._fd = fd
        self._run = libbpf.library().bpf_prog_test_run_opts
        self.options = libbpf.TestRunOptions(
            sz=ctypes.sizeof(libbpf.TestRunOptions),
            data_in=frame,
            data_size_in=len(frame),
            ctx_in=context,
            ctx_size_in=len(context),
            repeat=1,
        )
        self._reference = ctypes.byref(self.options)

    def take(self, count: int, verdict: int) -> list[int]:
        """ns of each of ``count`` runs that gave this verdict."""
        taken, options = [], self.options
        for _ in range(count):
            options.data_size_out = _ANY_LENGTH
            if self._run(self._fd, self._reference) < 0:
                code = ctypes.get_errno()
                raise HostError(
                    f"the kernel does not run a BPF program: {os.strerror(code)}", "report this"
                )
            if options.retval == verdict:
                taken.append(int(options.duration))
            options.retval = options.duration = _DISCARDED
        return taken
