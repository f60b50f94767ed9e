# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Are programs loaded several at a time, and closed again where one of them is refused?"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Barrier

import pytest

from harness.domains import domain
from mapxdp import host
from mapxdp.datapath import libbpf, programs, tables
from mapxdp.datapath.libbpf import LoadedProgram, VerifierRefused
from mapxdp.datapath.maps import MapSet
from mapxdp.model.domain import Mode

_PATIENCE = 60


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode of all that is asked for, and two CPUs, wherever this is run."""

    def compile_programs(sources: dict[str, list[str]], *_: object) -> dict[str, bytes]:
        return {name: b"" for names in sources.values() for name in names}

    monkeypatch.setattr(programs, "compile_programs", compile_programs)
    monkeypatch.setattr(host, "usable_cpus", lambda: 2)


def load() -> programs.ProgramSet:
    with MapSet(tables.contract_for(domain("map-t").port_set)) as maps:
        maps.set_value = lambda *_: None  # type: ignore[method-assign]
        return programs.load(Mode.MAP_T, maps, 14)


def test_two_are_loaded_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two wait for each other: one after the other they would wait for ever."""
    both = Barrier(2)

    def load_program(name: str, _: bytes) -> LoadedProgram:
        if name in {"mapt_46", "mapt_64"}:
            both.wait(_PATIENCE)
        return LoadedProgram(name, os.open("/", os.O_RDONLY), 1)

    monkeypatch.setattr(libbpf, "load_program", load_program)
    with load() as loaded:
        assert loaded.upstream.name == "mapt_46"
        assert len({program.name for program in loaded}) == len({program.fd for program in loaded})


def test_one_refused_leaves_none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_program(name: str, _: bytes) -> LoadedProgram:
        if name == "mapt_64_mss":
            raise VerifierRefused(name, errno.EACCES, "invalid access to packet")
        return LoadedProgram(name, os.open("/", os.O_RDONLY), 1)

    monkeypatch.setattr(libbpf, "load_program", load_program)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(VerifierRefused, match="mapt_64_mss"):
        load()
    assert set(Path("/proc/self/fd").iterdir()) == before
