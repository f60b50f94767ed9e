# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is every line of ``bpf/reasons.h`` read, in its order, and by its name?"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.domains import domain
from mapxdp import bpf_source
from mapxdp.datapath.tables import contract_for
from mapxdp.reasons import Reason, ReasonClass

REASONS = list(Reason)


def lines_of_the_list() -> list[str]:
    """The entries as lines, found without a regular expression."""
    lines = (line.strip() for line in bpf_source.read("reasons.h").splitlines())
    return [line for line in lines if line.startswith("X(")]


def test_every_line_is_read() -> None:
    lines = lines_of_the_list()
    assert len(lines) > 30
    assert len(REASONS) == len(lines)
    for reason, line in zip(REASONS, lines, strict=True):
        head = f'X({reason.reason_class}, {reason.name}, "{reason.text}")'
        assert line.removesuffix("\\").rstrip() == head


def test_numbers_are_the_order() -> None:
    assert [reason.number for reason in REASONS] == list(range(len(REASONS)))
    assert Reason.TRANSLATED.number == 0


def test_names_are_unique_and_spoken_aloud_in_capitals() -> None:
    names = [reason.name for reason in REASONS]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.replace("_", "").isalnum()
        assert name == name.upper()


def test_texts_are_unique_sentences_without_a_full_stop() -> None:
    texts = [reason.text for reason in REASONS]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert text == text.strip() != ""
        assert not text.endswith(".")


def test_classes_are_known_and_used() -> None:
    """They need not be grouped: reasons to come are appended, whatever their class."""
    assert {reason.reason_class for reason in REASONS} == set(ReasonClass)
    crossing = [r.name for r in REASONS if r.reason_class is ReasonClass.TRANSLATED]
    assert crossing == ["TRANSLATED", "HAIRPINNED", "FRAGMENT_KEPT"]


def test_all_fit_into_the_counters() -> None:
    assert len(REASONS) <= contract_for(domain("map-t").port_set).number("REASONS_MAX")


@pytest.mark.parametrize("reason", REASONS, ids=str)
def test_a_name_is_an_attribute(reason: Reason) -> None:
    assert getattr(Reason, reason.name) is reason
    assert str(reason) == reason.name


@pytest.mark.parametrize("name", ["PORT_OUTSIDE_THE_SET", "translated", "REASON_TRANSLATED"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"bpf/reasons\.h has no reason {name}"):
        getattr(Reason, name)


def compiled(source: Path, headers: Path) -> subprocess.CompletedProcess[str]:
    """What the host's compiler says of a C file that includes headers of that directory."""
    cc = shutil.which("cc")
    if cc is None:
        if os.environ.get("CI"):
            pytest.fail("tests of C may not be skipped in CI, but cc is missing")
        pytest.skip("cc is missing: apt install gcc")
    command = [cc, "-fsyntax-only", f"-I{headers}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_another_first_reason_does_not_compile(tmp_path: Path) -> None:
    """C says "go on" with it: it has to be 0."""
    lines = bpf_source.read("reasons.h").splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("X("))
    lines[first : first + 2] = reversed(lines[first : first + 2])
    (tmp_path / "reasons.h").write_text("".join(lines))
    source = tmp_path / "reasons.c"
    source.write_text('#include "reasons.h"\n')
    result = compiled(source, tmp_path)
    assert result.returncode != 0
    assert "TRANSLATED is the first reason of the list" in result.stderr


def test_the_compiler_gives_the_same_numbers(tmp_path: Path) -> None:
    source = tmp_path / "reasons.c"
    checks = [f'_Static_assert(REASON_{r.name} == {r.number}, "");' for r in REASONS]
    checks.append(f'_Static_assert(REASON_COUNT == {len(REASONS)}, "");')
    checks += [f'_Static_assert(CLASS_{c} == {n}, "");' for n, c in enumerate(ReasonClass)]
    source.write_text('#include "reasons.h"\n' + "\n".join(checks))
    result = compiled(source, bpf_source.bpf_directory())
    assert result.returncode == 0, result.stderr
