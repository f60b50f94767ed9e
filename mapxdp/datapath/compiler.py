# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""C to bytecode, with bcc: the only module that imports it.

bcc compiles on the machine that runs the programs. It gets a header shim instead of a kernel
source tree, so that no kernel headers are needed, and stand-ins for the file descriptors of
maps: the bytecode of one text serves any maps, and is made once.
"""

from __future__ import annotations

import os
import struct
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from mapxdp import bpf_source, isolated
from mapxdp.contract import Contract
from mapxdp.datapath import bytecode_cache
from mapxdp.errors import HostError

#: Capacities that no program reads: bytecode is the same whatever they are.
_SIZES_OF_MAPS = frozenset(
    {"EIM_ENTRIES", "PERMISSIONS", "EVENT_BYTES", "RULES", "TREE_NODES", "SHORTCUTS"}
)
_USER_SPACE_HEADERS = Path("/usr/include")
_DIAGNOSTIC_LINES = 12
#: Numbers that no file descriptor has.
_STAND_IN = 0x6D780000
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_64 = 0x18
_PSEUDO_MAPS = (1, 2)  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE


def compile_programs(
    source: str,
    programs: Iterable[str],
    contract: Contract,
    l2_length: int,
    map_fds: Mapping[str, int],
) -> dict[str, bytes]:
    """Compiles ``bpf/<source>``; the bytecode of each of ``programs``, for the maps given.

    ``l2_length`` is the length of the link-layer header: 14, or 0 on links without one.
    HostError where bcc or the headers are missing, or the text does not compile.
    """
    text = f'#line 1 "{source}"\n{bpf_source.read(source)}'
    return compile_text(text, programs, contract, l2_length, map_fds)


def compile_text(
    text: str,
    programs: Iterable[str],
    contract: Contract,
    l2_length: int,
    map_fds: Mapping[str, int],
) -> dict[str, bytes]:
    """The same for a text that may include files of ``bpf/``.

    bcc takes programs only from the text itself, not from what it includes.
    """
    stand_ins = {name: _STAND_IN + number for number, name in enumerate(sorted(map_fds))}
    sizes = {name: n for name, n in contract.capacities.items() if name not in _SIZES_OF_MAPS}
    defines = {**sizes, "L2_LENGTH": l2_length, "MAPXDP_BCC": 1}
    defines |= {f"FD_{name}": number for name, number in stand_ins.items()}
    flags = [f"-D{name}={value}" for name, value in defines.items()] + _include_flags()
    whole = text + contract.assertions()
    bytecode = _bytecode(whole, tuple(flags), tuple(programs), bpf_source.digest())
    fds = {number: map_fds[name] for name, number in stand_ins.items()}
    return {name: _with_maps(code, fds) for name, code in bytecode.items()}


def _with_maps(code: bytes, fds: Mapping[int, int]) -> bytes:
    """The bytecode with file descriptors in place of their stand-ins (bpf(2): BPF_LD | BPF_IMM
    | BPF_DW of BPF_PSEUDO_MAP_FD or BPF_PSEUDO_MAP_VALUE)."""
    linked = bytearray(code)
    for at in range(0, len(code), _INSTRUCTION.size):
        opcode, registers, _, immediate = _INSTRUCTION.unpack_from(code, at)
        if opcode == _LOAD_64 and _source(registers) in _PSEUDO_MAPS:
            struct.pack_into("=i", linked, at + 4, fds[immediate])
    return bytes(linked)


def _source(registers: int) -> int:
    """The source register: a bit field, whose place follows the byte order."""
    return registers >> 4 if sys.byteorder == "little" else registers & 0xF


def forget() -> None:
    """Compiles anew what comes next."""
    _bytecode.cache_clear()


@lru_cache(maxsize=32)
def _bytecode(
    text: str, flags: tuple[str, ...], programs: tuple[str, ...], _digest: str
) -> dict[str, bytes]:
    """Compiles, unless that was done before; HostError with the compiler's words."""
    key = bytecode_cache.key_of(text, flags, programs, _digest)
    known = None if key is None else bytecode_cache.read(key)
    if known is not None:
        return known
    made = _compiled(text, flags, programs)
    if key is not None:
        bytecode_cache.write(key, made)
    return made


def _compiled(text: str, flags: tuple[str, ...], programs: tuple[str, ...]) -> dict[str, bytes]:
    """Compiles, in a child process."""
    try:
        return isolated.run(lambda: _compile(text, list(flags), list(programs)))
    except isolated.Raised as raised:
        if isinstance(raised.error, ImportError):
            raise _bcc_is_missing(raised.error) from raised
        raise _not_compiled(raised.diagnostics or str(raised)) from raised
    except isolated.Crashed as crashed:
        raise _not_compiled(f"{crashed.diagnostics}\nthe compiler {crashed}") from crashed


def _include_flags() -> list[str]:
    if not (_USER_SPACE_HEADERS / "linux" / "bpf.h").exists():
        raise HostError(
            f"{_USER_SPACE_HEADERS}/linux/bpf.h is missing: the C text cannot be compiled",
            "apt install linux-libc-dev",
        )
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    return [
        "-w",  # bcc's own headers warn; ours are built with -Werror by the tests
        "-g0",  # bcc asks for debugging information, which takes a quarter of the time
        f"-I{bpf_source.bpf_directory()}",
        "-isystem",
        str(_USER_SPACE_HEADERS),
        "-isystem",
        str(_USER_SPACE_HEADERS / multiarch),
    ]


def _compile(text: str, flags: list[str], programs: list[str]) -> dict[str, bytes]:
    """In a child process: LLVM ends the process where it cannot go on."""
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_source.bpf_directory() / "compat")
    import bcc

    module = bcc.BPF(text=text.encode(), cflags=flags)
    return {name: module.dump_func(name.encode()) for name in programs}


def _bcc_is_missing(error: ImportError) -> HostError:
    return HostError(
        f"bcc, which compiles the BPF programs, cannot be imported: {error}",
        "apt install python3-bpfcc, and use the system's Python (a virtual environment "
        "needs --system-site-packages); 'bcc' on PyPI is something else",
    )


def _not_compiled(diagnostics: str) -> HostError:
    lines = diagnostics.strip().splitlines()[:_DIAGNOSTIC_LINES]
    return HostError(
        "bcc could not compile the datapath: " + "\n".join(lines),
        "report this text together with the versions of bcc and clang; until then "
        'datapath = "software" needs no compiler',
    )
