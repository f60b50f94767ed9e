# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The bpf(2) system call, through libbpf.so.1: the only module that knows it.

Everything here speaks in file descriptors and bytes. What the kernel refuses is a HostError;
of a program it is a VerifierRefused, with the verifier's own words.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mapxdp.contract import MapSpec
from mapxdp.errors import HostError, StateError, refused

MAP_TYPES = {
    "HASH": 1,
    "ARRAY": 2,
    "PROG_ARRAY": 3,
    "PERCPU_ARRAY": 6,
    "LRU_HASH": 9,
    "LPM_TRIE": 11,
    "RINGBUF": 27,
}
PROGRAM_TYPE_SCHED_CLS = 3
PROGRAM_TYPE_XDP = 6
_XDP_HAS_FRAGS = 1 << 5
_TEST_XDP_LIVE_FRAMES = 2
_NOEXIST = 1
_LOG_STATISTICS = 4
_LOG_SIZE = 1 << 22
_NAME_LENGTH = 15
#: What a program may make of a packet in a test run: a whole datagram of its last fragment.
_LARGEST_PACKET = 1 << 16


class _MapCreateOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    ]


class _ProgramLoadOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_char_p),
    ]


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 128),
    ]


class _ProgramInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 256),
    ]


@dataclass(frozen=True, slots=True)
class MapAttributes:
    """What the kernel says of a map."""

    map_type: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A program in the kernel; ``verified_instructions`` is what checking it took."""

    name: str
    fd: int
    verified_instructions: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """One BPF_PROG_TEST_RUN: the program's return value, the packet it left, and how long a
    run took on average."""

    verdict: int
    packet: bytes
    nanoseconds: int


class NotPinned(StateError):
    """Somebody has taken a part of the datapath away."""

    def __init__(self, path: Path) -> None:
        name = path.parent.parent.name
        super().__init__(
            f"{path} is not there any more",
            f"mapxdp down {name}, then up again (its port mappings are lost)",
        )


class VerifierRefused(HostError):
    """The kernel's verifier did not accept a program."""

    def __init__(self, program: str, error: int, log: str) -> None:
        self.log = log
        last = "\n".join(log.strip().splitlines()[-6:])
        super().__init__(
            f"the kernel refused BPF program {program} ({os.strerror(error)}): {last}",
            "update the kernel (see the README for the versions tried), or report this text",
        )


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise HostError(f"libbpf.so.1 cannot be loaded: {error}", "apt install libbpf1") from error
    library.bpf_map_create.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
    ]
    library.bpf_map_update_elem.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_uint64,
    ]
    library.bpf_prog_load.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    return library


def library() -> Any:
    """The library itself, for what is not the system call: ring buffers."""
    return _library()


def _checked(result: int, what: str) -> int:
    """``result`` again; HostError if it says that ``what`` failed."""
    if result < 0:
        code = ctypes.get_errno() or -result
        raise refused(
            f"the kernel did not {what}",
            OSError(code, os.strerror(code)),
            "update the kernel (see the README for the versions tried), or report this text",
        )
    return result


def _is_missing(result: int) -> bool:
    """Whether a call failed because what it asks for is not there."""
    return result < 0 and errno.ENOENT in (ctypes.get_errno(), -result)


def create_map(spec: MapSpec) -> int:
    """Creates a map; its file descriptor."""
    options = _MapCreateOptions(sz=ctypes.sizeof(_MapCreateOptions), map_flags=spec.flags)
    fd = _library().bpf_map_create(
        MAP_TYPES[spec.map_type],
        spec.name.encode()[:_NAME_LENGTH],
        spec.key_size,
        spec.value_size,
        spec.entries,
        ctypes.byref(options),
    )
    return _checked(fd, f"create BPF map {spec.name}")


def map_attributes(fd: int) -> MapAttributes:
    """What the kernel says of an open map."""
    info = _MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = _library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    _checked(result, "read the attributes of a BPF map")
    return MapAttributes(
        info.type, info.key_size, info.value_size, info.max_entries, info.map_flags
    )


def program_id(fd: int) -> int:
    """The kernel's number for an open program."""
    info = _ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = _library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    _checked(result, "read the id of a BPF program")
    return int(info.id)


@contextmanager
def opened_program(number: int) -> Iterator[int | None]:
    """The program of which that is the kernel's number, meanwhile open; None if it has gone."""
    fd = _library().bpf_prog_get_fd_by_id(ctypes.c_uint32(number))
    if _is_missing(fd):
        yield None
        return
    _checked(fd, f"open BPF program {number}")
    try:
        yield fd
    finally:
        os.close(fd)


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of ``key``; None where there is none."""
    value = ctypes.create_string_buffer(value_size)
    if _library().bpf_map_lookup_elem(fd, key, value) < 0:
        return None
    return value.raw


def lookup_all(fd: int, spec: MapSpec) -> list[bytes]:
    """All elements of an array, in one system call; of a per-CPU array all CPUs' values."""
    size = stored_size(spec)
    values = ctypes.create_string_buffer(size * spec.entries)
    keys = ctypes.create_string_buffer(spec.key_size * spec.entries)
    position = ctypes.create_string_buffer(spec.key_size)
    count = ctypes.c_uint32(spec.entries)
    result = _library().bpf_map_lookup_batch(
        fd, None, position, keys, values, ctypes.byref(count), None
    )
    _checked(result, f"read BPF map {spec.name}")
    raw = values.raw
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def stored_size(spec: MapSpec) -> int:
    """Octets that a look-up of one element gives."""
    if not spec.map_type.startswith("PERCPU"):
        return spec.value_size
    return -(-spec.value_size // 8) * 8 * possible_cpus()


def delete(fd: int, key: bytes) -> None:
    """Removes an element of a hash."""
    _checked(_library().bpf_map_delete_elem(fd, key), "delete from a BPF map")


def update(fd: int, key: bytes, value: bytes) -> None:
    """Writes an element, new or not."""
    _checked(_library().bpf_map_update_elem(fd, key, value, 0), "update a BPF map")


def keys(fd: int, key_size: int) -> Iterator[bytes]:
    """The keys of a hash, in no order; tolerant of changes meanwhile."""
    current: bytes | None = None
    following = ctypes.create_string_buffer(key_size)
    while _library().bpf_map_get_next_key(fd, current, following) == 0:
        current = following.raw
        yield current


@cache
def possible_cpus() -> int:
    """How many values an element of a per-CPU map has."""
    return _checked(_library().libbpf_num_possible_cpus(), "count the CPUs")


def pin(fd: int, path: Path) -> None:
    """Pins a map or program at ``path`` in a BPF file system."""
    _checked(_library().bpf_obj_pin(fd, str(path).encode()), f"pin {path}")


def open_pinned(path: Path) -> int:
    """Opens what is pinned at ``path``; NotPinned where nothing is."""
    fd = _library().bpf_obj_get(str(path).encode())
    if _is_missing(fd):
        raise NotPinned(path)
    return _checked(fd, f"open {path}")


def load_xdp_program(name: str, bytecode: bytes) -> LoadedProgram:
    """A program for XDP, of frames that may lie in several buffers (Linux 5.18)."""
    return load_program(name, bytecode, PROGRAM_TYPE_XDP, _XDP_HAS_FRAGS)


def load_program(
    name: str, bytecode: bytes, program_type: int = PROGRAM_TYPE_SCHED_CLS, flags: int = 0
) -> LoadedProgram:
    """Hands a program to the kernel; VerifierRefused if it does not accept it."""
    log = ctypes.create_string_buffer(_LOG_SIZE)
    options = _ProgramLoadOptions(
        sz=ctypes.sizeof(_ProgramLoadOptions),
        prog_flags=flags,
        log_level=_LOG_STATISTICS,
        log_size=_LOG_SIZE,
        log_buf=ctypes.cast(log, ctypes.c_char_p),
    )
    fd = _library().bpf_prog_load(
        program_type,
        name.encode()[:_NAME_LENGTH],
        b"GPL",
        bytecode,
        len(bytecode) // 8,
        ctypes.byref(options),
    )
    text = log.value.decode(errors="replace")
    if fd < 0:
        raise VerifierRefused(name, ctypes.get_errno() or -fd, text)
    processed = re.search(r"processed (\d+) insns", text)
    return LoadedProgram(name, fd, int(processed[1]) if processed else 0)


def run_program(
    fd: int, packet: bytes, *, context: bytes | None = None, repeat: int = 1
) -> RunResult:
    """Runs a TC classifier on an Ethernet frame, as the kernel would, on this thread's CPU.

    ``context`` may set fields of struct __sk_buff (gso_size, gso_segs …). A ``repeat``ed run
    sees the packet as the run before it left it.
    """
    capacity = len(packet) + _LARGEST_PACKET
    out = ctypes.create_string_buffer(capacity)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=packet,
        data_size_in=len(packet),
        data_out=ctypes.cast(out, ctypes.c_void_p),
        data_size_out=capacity,
        repeat=repeat,
    )
    if context is not None:
        options.ctx_in = context
        options.ctx_size_in = len(context)
    _checked(_library().bpf_prog_test_run_opts(fd, ctypes.byref(options)), "run a BPF program")
    left = ctypes.string_at(out, options.data_size_out)
    return RunResult(options.retval, left, options.duration)


def run_live(fd: int, frame: bytes, ingress_ifindex: int, frames: int, batch: int) -> None:
    """Has ``frames`` frames arrive at an interface of this thread's network namespace.

    Each goes through the XDP program first, and from XDP_PASS on through the kernel. A frame's
    memory is used again as the program left it: the program has to write the whole of it. The
    interface needs a receive queue with XDP (a program on it). OSError before Linux 5.18.
    """
    context = struct.pack("=IIIIII", 0, len(frame), 0, ingress_ifindex, 0, 0)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=frame,
        data_size_in=len(frame),
        ctx_in=context,
        ctx_size_in=len(context),
        repeat=frames,
        flags=_TEST_XDP_LIVE_FRAMES,
        batch_size=batch,
    )
    result = _library().bpf_prog_test_run_opts(fd, ctypes.byref(options))
    _checked(result, "send live frames through an XDP program")
