# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""XDP programs on interfaces: in the driver only, where they see frames before anything else."""

from __future__ import annotations

import ctypes
import errno
import os

from mapxdp.datapath import libbpf
from mapxdp.errors import HostError

_UPDATE_IF_NOEXIST = 1 << 0
_DRIVER_MODE = 1 << 2
_REPLACE = 1 << 4


class Refused(HostError):
    """An interface does not take an XDP program, or the frames that one sends into it."""


class _AttachOptions(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("old_prog_fd", ctypes.c_int)]


def is_attached(ifindex: int, program: int) -> bool:
    """True if this open program is the one on an interface."""
    number = ctypes.c_uint32()
    result = libbpf.library().bpf_xdp_query_id(ifindex, _DRIVER_MODE, ctypes.byref(number))
    return result == 0 and number.value == libbpf.program_id(program)


def attach(interface: str, ifindex: int, program: int, former: int | None) -> None:
    """Attaches an open program, in one step in place of the open program ``former``.

    Refused where another program is attached, or the driver has no place for one.
    """
    try:
        if former is None:
            _set(ifindex, program, _UPDATE_IF_NOEXIST, None)
        else:
            _set(ifindex, program, _REPLACE, former)
    except OSError as error:
        raise Refused(
            f"the XDP program cannot be attached to {interface}: {error.strerror}",
            _remedy(interface, error.errno or 0),
        ) from error


def detach(ifindex: int, program: int) -> None:
    """Removes an open program from an interface, if it is there, and no other."""
    if is_attached(ifindex, program):
        _set(ifindex, -1, _REPLACE, program)


def _set(ifindex: int, program: int, flags: int, former: int | None) -> None:
    options = _AttachOptions(
        sz=ctypes.sizeof(_AttachOptions), old_prog_fd=-1 if former is None else former
    )
    given = None if former is None else ctypes.byref(options)
    result = libbpf.library().bpf_xdp_attach(ifindex, program, _DRIVER_MODE | flags, given)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def _remedy(interface: str, code: int) -> str:
    tc = 'or set ce.datapath = "tc"'
    return {
        errno.EBUSY: f"remove the other program: ip link set dev {interface} xdp off; {tc}",
        errno.EEXIST: f"remove the other program: ip link set dev {interface} xdp off; {tc}",
        errno.EOPNOTSUPP: 'its driver has no XDP: set ce.datapath = "tc"',
        errno.ERANGE: f"lower the MTU of {interface} and its peer below 3500, {tc}",
    }.get(code, f"see 'dmesg | tail' and 'ethtool -l {interface}' (fewer queues may help), {tc}")
