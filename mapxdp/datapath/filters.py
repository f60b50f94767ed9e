# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which program a TC filter runs: pyroute2 does not read that."""

from __future__ import annotations

import ctypes
import errno
import os

from mapxdp.datapath import libbpf
from mapxdp.errors import refused
from mapxdp.links import FILTER_HANDLE, Hook

#: enum bpf_tc_attach_point of <bpf/libbpf.h>.
_ATTACH_POINT = {Hook.INGRESS: 1, Hook.EGRESS: 2}


class _Hook(ctypes.Structure):
    """struct bpf_tc_hook"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("ifindex", ctypes.c_int),
        ("attach_point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
    ]


class _Options(ctypes.Structure):
    """struct bpf_tc_opts"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("prog_fd", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
    ]


def program(ifindex: int, hook: Hook, preference: int) -> int | None:
    """The kernel's number of the program in our filter; None where it has gone meanwhile."""
    at = _Hook(sz=ctypes.sizeof(_Hook), ifindex=ifindex, attach_point=_ATTACH_POINT[hook])
    found = _Options(sz=ctypes.sizeof(_Options), handle=FILTER_HANDLE, priority=preference)
    result = libbpf.library().bpf_tc_query(ctypes.byref(at), ctypes.byref(found))
    if result == -errno.ENOENT:
        return None
    if result < 0:
        raise refused(
            f"the kernel did not say which program a filter of interface {ifindex} runs",
            OSError(-result, os.strerror(-result)),
            "see 'dmesg | tail'; if that does not help, report this",
        )
    return int(found.prog_id)
