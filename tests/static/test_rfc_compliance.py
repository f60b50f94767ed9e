# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""docs/rfc-compliance.md: does every row say what is so, and name tests that there are?"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rfc-compliance.md"
#: The RFCs whose requirements are listed; the last table is of other people's mistakes.
RFCS = (7597, 7599, 7596, 7915, 6052, 4787, 5382, 5508, 7857, 6888, 2473, 6040, 4884, 6791)
MISTAKES = "What implementers get wrong"
STATUSES = ("yes", "partly", "no")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Row(NamedTuple):
    table: str
    number: str
    requirement: str
    status: str
    evidence: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Files and functions that are named."""
        return _TEST.findall(self.evidence)

    @property
    def why(self) -> str:
        """What is said beside the tests."""
        return _TEST.sub("", self.evidence).strip(" ,;:()")


def rows() -> list[Row]:
    found, table = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            table = line.removeprefix("## ")
        elif line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 4, line
            found.append(Row(table, *cells))
    return [row for row in found if row.status not in ("status", "here")]


ROWS = rows()
EACH = pytest.mark.parametrize("row", ROWS, ids=[f"{row.table[:12]} {row.number}" for row in ROWS])


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@EACH
def test_the_status_is_one_of_three_with_what_it_takes(row: Row) -> None:
    """Whoever says yes names a test; whoever does not says why."""
    assert row.status in STATUSES
    assert row.status == "no" or _TEST.search(row.evidence)
    assert row.status == "yes" or len(row.why) > 15
    assert row.status != "no" or not _TEST.search(row.evidence)


@EACH
def test_named_tests_exist(row: Row) -> None:
    for file, name in row.tests:
        assert (ROOT / file).exists(), file
        assert name in functions_of(ROOT / file), f"{file} has no {name}"
        assert name.startswith("test_")


def test_everything_between_backticks_that_looks_like_a_test_is_read() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(re.findall(r"::\w", text)) == len(_TEST.findall(text))


def test_every_rfc_has_its_table() -> None:
    tables = dict.fromkeys(row.table for row in ROWS)
    assert [*tables] == [*(next(t for t in tables if f"RFC {n}:" in t) for n in RFCS), MISTAKES]


def test_the_numbered_requirements_are_all_there() -> None:
    """RFC 4787, 5382 and 5508 count theirs, and so do the mistakes."""
    for table, last in (("RFC 4787", 14), ("RFC 5382", 10), ("RFC 5508", 11), (MISTAKES, 30)):
        numbers = {
            int(number)
            for row in ROWS
            if row.table.startswith(table)
            for number in re.findall(r"\d+", row.number)
        }
        assert numbers == set(range(1, last + 1)), table


def test_each_reason_is_produced_by_a_test() -> None:
    """At run time, by the last test of that file; here only that it is there, and asks for all."""
    produced = ROOT / "tests" / "datapath" / "test_every_reason.py"
    assert "test_the_whole_list_was_produced" in functions_of(produced)
    assert "for reason in Reason if reason not in _produced" in produced.read_text(encoding="utf-8")
