# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp explain``: has each reason words that help?"""

from __future__ import annotations

import re

import pytest

from mapxdp import cli
from mapxdp.explanations import Explanation, explanations
from mapxdp.reasons import Reason

ALL = list(explanations().values())
#: Of the code: what nobody reads who only runs a router.
JARGON = re.compile(r"\b(skb|struct|REASON_\w+|PROGRAM_\w+|LADDER_\w+|bitmap|tail call|slot|eim)\b")


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["explain", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_each_reason_has_one_in_the_order_of_the_list() -> None:
    """Beside them, only what ``translate`` says of the router's kernel."""
    assert [entry.name for entry in ALL] == [*(reason.name for reason in Reason), "TTL_EXCEEDED"]
    assert [entry.name for entry in ALL if entry.reason is None] == ["TTL_EXCEEDED"]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_in_plain_words(entry: Explanation) -> None:
    """Whole sentences that a person can read, and that say more than the list does."""
    assert entry.causes
    assert entry.check
    for sentence in (entry.meaning, *entry.causes, *entry.check):
        assert 8 <= len(sentence) <= 240
        assert sentence == sentence.strip()
        assert sentence[-1] in ".)"
        assert not JARGON.search(sentence), sentence
    assert entry.reason is None or entry.meaning.rstrip(".").lower() != entry.reason.text.lower()
    assert len(entry.meaning.split()) >= 5


def test_no_two_mean_the_same() -> None:
    assert len({entry.meaning for entry in ALL}) == len(ALL)


def test_names_of_reasons_in_the_texts_exist() -> None:
    names = {entry.name for entry in ALL}
    for entry in ALL:
        for sentence in (entry.meaning, *entry.causes, *entry.check):
            words = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", sentence))
            assert words <= names, f"{entry.name}: {words - names}"


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_the_command_says_all_of_it(entry: Explanation, capsys: pytest.CaptureFixture[str]) -> None:
    text = said([entry.name], capsys)
    for sentence in (entry.name, entry.heading, entry.meaning, *entry.causes, *entry.check):
        assert " ".join(sentence.split()) in text


def test_however_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["port-outside-set"], capsys) == said(["PORT_OUTSIDE_SET"], capsys)


def test_without_a_reason_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = said([], capsys)
    for reason in Reason:
        assert f"{reason.name} {reason.text[:20]}" in text


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("NO_MAPING", "NO_MAPPING"),
        ("PORT_OUTSIDE", "PORT_OUTSIDE_SET"),
        ("EXHAUSTED", "PORTS_EXHAUSTED"),
        ("xyzzy", "'mapxdp explain' lists them all"),
    ],
)
def test_an_unknown_reason(wrong: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", wrong]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is none of that name" in line
    assert near in line
