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
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mapxdp import bpf_source, host, isolated
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


class _Unit(NamedTuple):
    """What bytecode is made of: a text, the compiler's flags, the programs that are wanted of it,
    and what the text may include."""

    text: str
    flags: tuple[str, ...]
    programs: tuple[str, ...]
    digest: str


#: What this process has compiled, or read.
_known: dict[_Unit, dict[str, bytes]] = {}


def compile_programs(
    sources: Mapping[str, Iterable[str]],
    contract: Contract,
    l2_length: int,
    map_fds: Mapping[str, int],
) -> dict[str, bytes]:
    """Compiles ``bpf/<source>`` for each of the sources, as many at a time as there are CPUs.

    The bytecode, for the maps given, of the programs that are asked for of each. ``l2_length`` is
    the length of the link-layer header: 14, or 0 on links without one. HostError where bcc or the
    headers are missing, or a text does not compile.
    """
    return _compile_texts(_texts(sources), contract, l2_length, map_fds)


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
    return _compile_texts({text: programs}, contract, l2_length, map_fds)


def prepare_programs(
    sources: Mapping[str, Iterable[str]], contract: Contract, l2_length: int
) -> None:
    """Compiles what ``compile_programs`` will be asked for, for all the maps of the contract.

    HostError if another process will not find it.
    """
    stand_ins = _stand_ins(spec.name for spec in contract.maps)
    units = _units(_texts(sources), contract, l2_length, stand_ins)
    _bytecode(units)
    for unit in units:
        key = bytecode_cache.key_of(*unit)
        if key is None or bytecode_cache.read(key) is None:
            raise HostError(
                f"the bytecode cannot be kept in {bytecode_cache.directory() or 'nowhere'}",
                f"let {bytecode_cache.DIRECTORY_VARIABLE} name a directory that only root writes",
            )


def _texts(sources: Mapping[str, Iterable[str]]) -> dict[str, Iterable[str]]:
    """The programs wanted of each text; what the compiler says of a text names its file."""
    return {
        f'#line 1 "{source}"\n{bpf_source.read(source)}': programs
        for source, programs in sources.items()
    }


def _stand_ins(maps: Iterable[str]) -> dict[str, int]:
    return {name: _STAND_IN + number for number, name in enumerate(sorted(maps))}


def _units(
    texts: Mapping[str, Iterable[str]],
    contract: Contract,
    l2_length: int,
    stand_ins: Mapping[str, int],
) -> list[_Unit]:
    sizes = {name: n for name, n in contract.capacities.items() if name not in _SIZES_OF_MAPS}
    defines = {**sizes, "L2_LENGTH": l2_length, "MAPXDP_BCC": 1}
    defines |= {f"FD_{name}": number for name, number in stand_ins.items()}
    flags = (*(f"-D{name}={value}" for name, value in defines.items()), *_include_flags())
    assertions, digest = contract.assertions(), bpf_source.digest()
    return [
        _Unit(text + assertions, flags, tuple(programs), digest) for text, programs in texts.items()
    ]


def _compile_texts(
    texts: Mapping[str, Iterable[str]],
    contract: Contract,
    l2_length: int,
    map_fds: Mapping[str, int],
) -> dict[str, bytes]:
    stand_ins = _stand_ins(map_fds)
    bytecode = _bytecode(_units(texts, contract, l2_length, stand_ins))
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
    _known.clear()


def _bytecode(units: Sequence[_Unit]) -> dict[str, bytes]:
    """Compiles what was not compiled before; HostError with the compiler's words."""
    keys = {unit: bytecode_cache.key_of(*unit) for unit in units if unit not in _known}
    for unit, key in keys.items():
        stored = None if key is None else bytecode_cache.read(key)
        if stored is not None:
            _known[unit] = stored
    missing = [unit for unit in units if unit not in _known]
    for unit, made in zip(missing, _compiled(missing), strict=True):
        _known[unit] = made
        key = keys[unit]
        if key is not None:
            bytecode_cache.write(key, made)
    return {name: code for unit in units for name, code in _known[unit].items()}


def _compiled(units: Sequence[_Unit]) -> list[dict[str, bytes]]:
    """Compiles, each unit in a child process."""
    try:
        return isolated.run_all([partial(_compile, unit) for unit in units], host.usable_cpus())
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


def _compile(unit: _Unit) -> dict[str, bytes]:
    """In a child process: LLVM ends the process where it cannot go on."""
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_source.bpf_directory() / "compat")
    import bcc

    module = bcc.BPF(text=unit.text.encode(), cflags=list(unit.flags))
    return {name: module.dump_func(name.encode()) for name in unit.programs}


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
