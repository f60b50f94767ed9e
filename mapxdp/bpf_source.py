# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where the C text of the datapath lies: inside an installed package, or beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parent


def bpf_directory() -> Path:
    """The directory of the C files: the same text, installed or in a checkout."""
    installed = _PACKAGE / "_bpf"
    return installed if installed.is_dir() else _PACKAGE.parent / "bpf"


def digest() -> str:
    """Changes with the text of any C file."""
    found = hashlib.sha256()
    for path in sorted(bpf_directory().rglob("*.[ch]")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def read(name: str) -> str:
    """The text of one C file."""
    return (bpf_directory() / name).read_text(encoding="utf-8")
