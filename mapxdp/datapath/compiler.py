# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""C to bytecode, with bcc: the only module that imports it.

bcc compiles on the machine that runs the programs. It gets maps that already exist, as file
descriptors, and a header shim instead of a kernel source tree, so that no kernel headers are
needed.
"""

from __future__ import annotations

import os
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapxdp import bpf_source
from mapxdp.contract import Contract
from mapxdp.errors import HostError

_USER_SPACE_HEADERS = Path("/usr/include")
_DIAGNOSTIC_LINES = 12


def compile_programs(
    source: str,
    programs: Iterable[str],
    contract: Contract,
    l2_length: int,
    map_fds: Mapping[str, int],
) -> dict[str, bytes]:
    """Compiles ``bpf/<source>``; the bytecode of each of ``programs``.

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
    defines = {**contract.capacities, "L2_LENGTH": l2_length, "MAPXDP_BCC": 1}
    defines |= {f"FD_{name}": fd for name, fd in map_fds.items()}
    flags = [f"-D{name}={value}" for name, value in defines.items()] + _include_flags()
    module = _compile(text + contract.assertions(), flags)
    return {name: module.dump_func(name.encode()) for name in programs}


def _include_flags() -> list[str]:
    if not (_USER_SPACE_HEADERS / "linux" / "bpf.h").exists():
        raise HostError(
            f"{_USER_SPACE_HEADERS}/linux/bpf.h is missing: the C text cannot be compiled",
            "apt install linux-libc-dev",
        )
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    return [
        "-w",  # bcc's own headers warn; ours are built with -Werror by the tests
        f"-I{bpf_source.bpf_directory()}",
        "-isystem",
        str(_USER_SPACE_HEADERS),
        "-isystem",
        str(_USER_SPACE_HEADERS / multiarch),
    ]


def _import_bcc() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_source.bpf_directory() / "compat")
    try:
        import bcc
    except ImportError as error:
        raise HostError(
            f"bcc, which compiles the BPF programs, cannot be imported: {error}",
            "apt install python3-bpfcc, and use the system's Python (a virtual environment "
            "needs --system-site-packages); 'bcc' on PyPI is something else",
        ) from error
    return bcc


def _compile(text: str, flags: list[str]) -> Any:
    bcc = _import_bcc()
    try:
        with _captured_standard_error() as captured:
            return bcc.BPF(text=text.encode(), cflags=flags)
    except Exception as error:  # bcc raises nothing narrower
        diagnostics = (captured() or str(error)).splitlines()[:_DIAGNOSTIC_LINES]
        raise HostError(
            "bcc could not compile the datapath: " + "\n".join(diagnostics),
            "report this text together with the versions of bcc and clang",
        ) from error


@contextmanager
def _captured_standard_error() -> Iterator[Any]:
    """What C code writes to file descriptor 2 meanwhile; yields a function that gives it."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        text = ""

        def captured() -> str:
            return text

        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            capture.seek(0)
            text = capture.read().decode(errors="replace").strip()
