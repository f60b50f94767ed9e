# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What benchmarks print, as JSON and as a drawing."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as bench
from benchmarks.measure import Effort, Ratio, Spread, ratio
from benchmarks.report import Report
from mapxdp import host

_SVG = "{http://www.w3.org/2000/svg}"


def test_ratios_are_of_the_same_rounds() -> None:
    """A machine that is twice as slow for a while changes no ratio."""
    values, others = [2.0, 4.0, 2.0, 4.0, 2.0], [1.0, 2.0, 1.0, 2.0, 1.0]
    assert ratio(values, others) == Ratio(2.0, 2.0, 2.0)


def test_ratios_are_drawn() -> None:
    """Each column of ratios is a chart; rows without one have no bar, and texts are escaped."""
    report = Report("test", echo=False)
    rows = [
        ["a < b", "up", 12, Spread(10, 20, 30), Ratio(0.5, 1.0, 2.0)],
        ["c", "-", 13, Spread(10, 20, 30), "-"],
    ]
    report.table("Title", "Method.", ("what", "way", "number", "ns", "x others"), rows)
    report.table("Other", "Method.", ("flows", "ns"), [[1, Spread(1, 2, 3)]])
    report.table("Sizes", "Method.", ("flows", "x the smallest"), [[64, Ratio(1, 1, 1)]])
    drawing = ElementTree.fromstring(report.drawing())
    texts = [text.text for text in drawing.iter(f"{_SVG}text")]
    assert texts[1:] == [
        *("Title: x others", "a < b, up", "0.50 / 1.00 / 2.00"),
        *("Sizes: x the smallest", "64 flows", "1.00 / 1.00 / 1.00"),
    ]
    bars = [shape for shape in drawing.iter(f"{_SVG}rect") if shape.get("class") == "bar"]
    assert len(bars) == 2
    assert 2 * float(bars[0].get("width", "")) == float(bars[1].get("width", ""))


def test_json_has_the_same_numbers() -> None:
    """Low, middle and high, of ratios too."""
    report = Report("test", echo=False)
    report.table("Title", "Method.", ("what", "x"), [["a", Ratio(0.5, 1.0, 2.0)]])
    (row,) = report.data()["tables"][0]["rows"]
    assert row == {"what": "a", "x": {"low": 0.5, "middle": 1.0, "high": 2.0}}


def test_all_runs_each_once_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are parts of others are left out."""
    ran = []

    def named(name: str) -> None:
        def run(_: Effort, report: Report) -> None:
            ran.append(name)
            report.table(name, "Method.", ("what", "x"), [["a", Ratio(1, 2, 3)]])

        monkeypatch.setitem(bench._BENCHMARKS, name, (run, "a test"))

    for name in bench._BENCHMARKS:
        named(name)
    monkeypatch.setattr(host, "require_root", lambda: None)
    drawing = tmp_path / "ratios.svg"
    assert bench.main(["all", "--quick", "--svg", str(drawing)]) == 0
    assert set(ran) == set(bench._BENCHMARKS) - set(bench._PARTS)
    assert len(ran) == len(set(ran))
    titles = [text.text for text in ElementTree.parse(drawing).iter(f"{_SVG}text")]
    assert all(f"{name}: x" in titles for name in ran)


def test_a_drawing_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what to do about it."""
    monkeypatch.setattr(host, "require_root", lambda: None)
    monkeypatch.setattr(bench, "_BENCHMARKS", {"cost": (pytest.fail, "a test")})
    assert bench.main(["cost", "--svg", str(tmp_path / "none" / "x.svg")]) != 0
    assert "x.svg cannot be written" in capsys.readouterr().err
