# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The name of an instance becomes the name of files: nothing else may be passed for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mapxdp import cli, record
from mapxdp.datapath import bpffs
from mapxdp.errors import InvalidValue

WRONG = ["", ".", "..", "../netns", "/etc", "a/b", "a.b", "-a", "é", "a\n", "x" * 33]


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("command", ["down", "status", "top"])
def test_no_command_takes_a_path_for_a_name(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    arguments = [command, "--", name]
    assert cli.main(arguments) == InvalidValue.exit_code
    said = capsys.readouterr().err
    assert "it has to be letters, digits, - and _" in said
    assert "→ write the ce.name" in said


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "use",
    [bpffs.instance_directory, record.load, record.delete, lambda name: record.file(name, "log")],
)
def test_no_path_is_made_of_another(use: Callable[[str], object], name: str) -> None:
    with pytest.raises(InvalidValue, match="it has to be letters, digits"):
        use(name)


def test_down_of_a_directory_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data", encoding="utf-8")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert cli.main(["down", str(tmp_path)]) == InvalidValue.exit_code
    assert precious.read_text(encoding="utf-8") == "data"
