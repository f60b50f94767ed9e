# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does ``up`` find all that it needs compiled, once ``prepare`` has been there?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.router import Router
from mapxdp import cli
from mapxdp.datapath import bytecode_cache, compiler


def test_nothing_is_left_to_compile(
    cpe: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever hook ``up`` chooses, in another process, which could not compile."""
    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, str(tmp_path / "cache"))
    compiler.forget()
    cpe.add_port("lan")
    for other_end in ("cpe", "lan"):
        cpe.set_polling(other_end, "on")
    cpe.configure("auto", "lan")
    before = cpe.state()
    assert cli.main(["prepare", "-c", str(cpe.config), "--netns", cpe.name]) == 0
    assert cpe.state() == before

    def compile_nothing(units: Sequence[Any]) -> list[dict[str, bytes]]:
        assert not units, f"{units[0].programs} are compiled"
        return []

    monkeypatch.setattr(compiler, "_compiled", compile_nothing)
    for hook in ("tc", "xdp"):
        compiler.forget()
        cpe.configure(hook, "lan")
        assert any(line.startswith(f"accelerator: {hook.upper()}") for line in cpe.up())
