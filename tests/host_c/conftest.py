# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The C headers as libraries of the host, with a sanitizer."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.host_c import flags


def _compiled(source: str, directory: Path, *options: str) -> ctypes.CDLL:
    """A library; undefined behaviour in it ends the process."""
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is missing: apt install gcc libc6-dev")
        pytest.skip("gcc is missing: apt install gcc libc6-dev")
    made = directory / source.replace(".c", ".so")
    done = subprocess.run(
        [
            compiler,
            *("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *("-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan"),
            *options,
            *flags(),
            *(Path(__file__).with_name(source), "-o", made),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(made))


@pytest.fixture(scope="session")
def errors_c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The pure headers of ICMP errors. Some of them declare the kernel's helpers and use none."""
    directory = tmp_path_factory.mktemp("host_c")
    library = _compiled("errors.c", directory, "-Wno-unused-variable")
    for name in ("quoted", "as_ipv6", "as_ipv4"):
        getattr(library, name).restype = ctypes.c_uint32
    return library


@pytest.fixture(scope="session")
def host_c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The pure headers."""
    library = _compiled("shim.c", tmp_path_factory.mktemp("host_c"))
    library.updated.argtypes = [ctypes.c_uint16, ctypes.c_uint64, ctypes.c_uint64]
    library.updated.restype = ctypes.c_uint16
    library.extract.restype = ctypes.c_uint32
    library.mss_options.restype = ctypes.c_uint64
    library.first.restype = ctypes.c_uint64
    library.after.restype = ctypes.c_uint64
    library.after.argtypes = [
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_uint64),
        ctypes.c_uint8,
        ctypes.c_uint64,
    ]
    return library
