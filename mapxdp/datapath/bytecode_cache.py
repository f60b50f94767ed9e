# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bytecode that was compiled before, by what it was made of.

Compiling takes some seconds, loading less than one. A router that starts with the text, the
settings and the compiler it had last time need not compile again. Nothing depends on it: what
cannot be read or written is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from pathlib import Path

#: Where the bytecode is; empty: nowhere.
DIRECTORY_VARIABLE = "MAPXDP_CACHE"
_DIRECTORY = "/var/cache/mapxdp"
_KEPT = 64
_OTHERS_MAY_WRITE = 0o022


def read(key: str) -> dict[str, bytes] | None:
    """What was compiled for a key; None where that is not known, or not to be trusted."""
    path = _path(key)
    if path is None:
        return None
    try:
        for trusted in (path.parent, path):
            status = trusted.stat()
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
                return None
        data = json.loads(path.read_text(encoding="ascii"))
        return {name: bytes.fromhex(code) for name, code in data.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def write(key: str, bytecode: dict[str, bytes]) -> None:
    """Remembers what was compiled, and forgets what has not been made for longest."""
    path = _path(key)
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(
            json.dumps({name: code.hex() for name, code in bytecode.items()}), encoding="ascii"
        )
        temporary.chmod(0o600)
        temporary.rename(path)
        known = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for forgotten in known[:-_KEPT]:
            forgotten.unlink(missing_ok=True)


def key_of(*parts: object) -> str | None:
    """The key for what bytecode is made of; None where there is no compiler to ask for."""
    compiler = importlib.util.find_spec("bcc")
    if compiler is None or compiler.origin is None:
        return None
    try:
        made = Path(compiler.origin).stat().st_mtime_ns
    except OSError:
        return None
    return hashlib.sha256(repr((compiler.origin, made, parts)).encode()).hexdigest()


def directory() -> Path | None:
    """Where the bytecode is kept; None where it is not."""
    name = os.environ.get(DIRECTORY_VARIABLE, _DIRECTORY)
    return Path(name) if name else None


def _path(key: str) -> Path | None:
    kept_in = directory()
    return kept_in / f"{key}.json" if kept_in else None
