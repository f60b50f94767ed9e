# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The C headers as a library of the host, once plain and once with sanitizers."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.host_c import flags


@pytest.fixture(scope="session")
def host_c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The pure headers; undefined behaviour in them ends the process."""
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is missing: apt install gcc libc6-dev")
        pytest.skip("gcc is missing: apt install gcc libc6-dev")
    made = tmp_path_factory.mktemp("host_c") / "shim.so"
    done = subprocess.run(
        [
            compiler,
            *("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *("-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan"),
            *flags(),
            *(Path(__file__).with_name("shim.c"), "-o", made),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(made))
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
