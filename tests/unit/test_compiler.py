# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is compiled at the same time, and what is not compiled again?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.domains import domain
from mapxdp import host, isolated
from mapxdp.datapath import bytecode_cache, compiler, tables
from mapxdp.errors import HostError

WAN = {"mapt.bpf.c": ["mapt_46", "mapt_64"], "mapt_rare.bpf.c": ["mapt_46_error"]}


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The first program of each text, of all that were compiled at the same time."""
    times: list[list[str]] = []

    def compile_all(units: Sequence[Any]) -> list[dict[str, bytes]]:
        if units:
            times.append([unit.programs[0] for unit in units])
        return [{name: name.encode().ljust(64) for name in unit.programs} for unit in units]

    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(bytecode_cache, "key_of", lambda *parts: f"{hash(parts)}")
    monkeypatch.setattr(compiler, "_compiled", compile_all)
    compiler.forget()
    yield times
    compiler.forget()


def compile_programs(sources: dict[str, list[str]]) -> dict[str, bytes]:
    contract = tables.contract_for(domain("map-t").port_set)
    return compiler.compile_programs(sources, contract, 14, {})


def test_all_texts_are_compiled_at_the_same_time(compiled: list[list[str]]) -> None:
    made = compile_programs(WAN)
    assert compiled == [["mapt_46", "mapt_46_error"]]
    assert made == {name: name.encode().ljust(64) for names in WAN.values() for name in names}


def test_only_what_is_new_is_compiled(compiled: list[list[str]]) -> None:
    compile_programs(WAN)
    compile_programs({**WAN, "mapt_accelerator.bpf.c": ["mapt_tc_lan"]})
    assert compiled[1:] == [["mapt_tc_lan"]]


def test_each_text_is_kept_on_disk_by_itself(compiled: list[list[str]]) -> None:
    made = compile_programs(WAN)
    compiler.forget()
    again = compile_programs({**WAN, "mapt_accelerator.bpf.c": ["mapt_tc_lan"]})
    assert compiled[1:] == [["mapt_tc_lan"]]
    assert made.items() < again.items()


def test_what_was_prepared_is_there_for_any_maps(compiled: list[list[str]]) -> None:
    contract = tables.contract_for(domain("map-t").port_set)
    compiler.prepare_programs(WAN, contract, 14)
    compiler.forget()
    maps = {spec.name: 100 + number for number, spec in enumerate(contract.maps)}
    compiler.compile_programs(WAN, contract, 14, maps)
    assert len(compiled) == 1


@pytest.mark.parametrize("directory", ["", "/proc/nowhere"])
def test_preparing_in_vain_is_an_error(
    compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, directory)
    with pytest.raises(HostError, match=f"cannot be kept in {directory or 'nowhere'}"):
        compiler.prepare_programs(WAN, tables.contract_for(domain("map-t").port_set), 14)


def test_as_many_at_a_time_as_there_are_cpus(
    compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that this process may use: each takes as much memory as the compiler has."""
    monkeypatch.undo()
    asked: list[int] = []

    def run_all(functions: Sequence[Any], at_once: int) -> list[Any]:
        asked.append(at_once)
        return [{} for _ in functions]

    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, "")
    monkeypatch.setattr(isolated, "run_all", run_all)
    monkeypatch.setattr(host, "usable_cpus", lambda: 3)
    compile_programs(WAN)
    assert asked == [3]
