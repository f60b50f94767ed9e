# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How a run of the lab ends: in one line, made of what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mapxdp import cli
from mapxdp.commands.lab import last_line
from mapxdp.lab import run
from mapxdp.lab.checks import Check
from mapxdp.lab.run import Report
from mapxdp.model.domain import Mode


def report(mode: Mode, speed: float, *more: Check) -> Report:
    return Report(
        mode,
        [
            Check("ping", True, "3 of 3"),
            Check("HTTP download", True, "", {"octets": 20_000_000, "down": speed}),
            Check("HTTP upload", True, "", {"octets": 20_000_000, "up": 100}),
            Check("200 connections at once", True, "", {"connections": 200}),
            Check("ports", True, "", {"ports": speed / 2, "ranges": 63, "all_ranges": 63}),
            *more,
        ],
    )


def test_one_mode() -> None:
    assert last_line([report(Mode.MAP_T, 400)]) == (
        "MAP-T: all 5 checks passed: 40 MB crossed unchanged; 400 Mbit/s down, 100 up; "
        "200 connections answered; 200 ports used in 63 of 63 ranges"
    )


def test_both_modes() -> None:
    assert last_line([report(Mode.MAP_T, 400), report(Mode.MAP_E, 300)]) == (
        "MAP-T and MAP-E: all 10 checks passed: 80 MB crossed unchanged; "
        "300 to 400 Mbit/s down, 100 up; 400 connections answered; "
        "200 ports used in 63 of 63 ranges"
    )


def test_failures() -> None:
    wrong = Check("UDP", False, "did not come")
    assert last_line([report(Mode.MAP_T, 400), report(Mode.MAP_E, 300, wrong)]) == (
        "MAP-T and MAP-E: 10 of 11 checks passed; FAILED: UDP (MAP-E)"
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_a_lab(lab: Any, **_: Any) -> Report:
        return report(lab.mode, 400)

    monkeypatch.setattr(run, "run", without_a_lab)
    assert cli.main(["lab", *(["--json"] if as_json else [])]) == 0
    printed = capsys.readouterr()
    line = (printed.err if as_json else printed.out).splitlines()[-1]
    assert line.startswith("MAP-T and MAP-E: all 10 checks passed: 80 MB crossed unchanged; ")
    if as_json:
        data = json.loads(printed.out)
        assert data["summary"] == line
        assert data["labs"][1]["checks"][3]["measured"] == {"connections": 200}


def test_a_prefix_that_makes_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "--prefix=../x"]) == 2
    assert "../xce: it has to be letters" in capsys.readouterr().err
