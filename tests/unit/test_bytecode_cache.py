# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is bytecode that was made before used again, and only where nobody else can have written it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from mapxdp.datapath import bytecode_cache

CODE = {"mapt_46": bytes(range(16)), "mapt_64": b""}
KEY = "0" * 64


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept, meanwhile."""
    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_found_again(directory: Path) -> None:
    assert bytecode_cache.read(KEY) is None
    bytecode_cache.write(KEY, CODE)
    assert bytecode_cache.read(KEY) == CODE
    assert bytecode_cache.read("1" * 64) is None
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mapt_46": 5}', '{"mapt_46": "xy"}'])
def test_what_is_broken_is_not_used(directory: Path, text: str) -> None:
    bytecode_cache.write(KEY, CODE)
    (directory / f"{KEY}.json").write_text(text)
    assert bytecode_cache.read(KEY) is None


@pytest.mark.parametrize("which", ["directory", "file"])
def test_what_others_can_write_is_not_used(directory: Path, which: str) -> None:
    bytecode_cache.write(KEY, CODE)
    writable = directory if which == "directory" else directory / f"{KEY}.json"
    writable.chmod(0o777)
    assert bytecode_cache.read(KEY) is None


def test_nothing_is_kept_where_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, "")
    bytecode_cache.write(KEY, CODE)
    assert bytecode_cache.read(KEY) is None


def test_a_directory_that_cannot_be_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(bytecode_cache.DIRECTORY_VARIABLE, str(tmp_path / "file" / "cache"))
    bytecode_cache.write(KEY, CODE)
    assert bytecode_cache.read(KEY) is None


def test_old_ones_are_forgotten(directory: Path) -> None:
    for number in range(70):
        bytecode_cache.write(f"{number:064}", CODE)
    assert len(list(directory.glob("*.json"))) <= 64
    assert bytecode_cache.read(f"{69:064}") == CODE


def test_the_key_is_of_all_that_bytecode_is_made_of() -> None:
    one = bytecode_cache.key_of("text", ("-DA=1",), ("mapt_46",), "digest")
    if one is None:
        pytest.skip("bcc is not there, so nothing is compiled")
    assert one == bytecode_cache.key_of("text", ("-DA=1",), ("mapt_46",), "digest")
    assert one != bytecode_cache.key_of("text", ("-DA=2",), ("mapt_46",), "digest")
    assert one != bytecode_cache.key_of("text", ("-DA=1",), ("mapt_46",), "other")
