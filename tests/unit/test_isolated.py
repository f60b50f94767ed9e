# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does a library that ends its process end only the child, and do several run at a time?"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from mapxdp import isolated


def test_a_result_comes_back() -> None:
    assert isolated.run(lambda: {"a": b"\x00"}) == {"a": b"\x00"}


def test_an_exception_comes_back_with_what_was_written() -> None:
    def complain() -> None:
        os.write(2, b"line 3: no such thing\n")
        raise ValueError("no")

    with pytest.raises(isolated.Raised) as raised:
        isolated.run(complain)
    assert isinstance(raised.value.error, ValueError)
    assert raised.value.diagnostics == "line 3: no such thing"


def test_an_abort_is_an_error_and_leaves_standard_error_alone() -> None:
    def abort() -> None:
        os.write(2, b"LLVM ERROR: unimplemented opcode\n")
        os.abort()

    before = os.fstat(sys.__stderr__.fileno() if sys.__stderr__ else 2).st_ino
    with pytest.raises(isolated.Crashed) as crashed:
        isolated.run(abort)
    assert crashed.value.diagnostics == "LLVM ERROR: unimplemented opcode"
    assert "-6" in str(crashed.value)
    assert os.fstat(sys.__stderr__.fileno() if sys.__stderr__ else 2).st_ino == before


def test_a_lock_is_not_held_by_the_child() -> None:
    """Else it would be, until the child has ended, after its parent was killed."""
    with tempfile.TemporaryFile() as lock:
        number = lock.fileno()

        def is_open() -> bool:
            try:
                os.fstat(number)
            except OSError:
                return False
            return True

        assert not isolated.run(is_open)


def test_results_come_back_in_order_whoever_ends_first(tmp_path: Path) -> None:
    """The first waits for the second: they run at the same time."""
    first, second = tmp_path / "first", tmp_path / "second"

    def waits_for(other: Path, own: Path) -> str:
        own.touch()
        while not other.exists():
            time.sleep(0.001)
        return own.name

    functions = [partial(waits_for, second, first), partial(waits_for, first, second)]
    assert isolated.run_all(functions, 2) == ["first", "second"]


def test_no_more_run_at_a_time_than_asked_for(tmp_path: Path) -> None:
    def alone() -> None:
        mark = tmp_path / "at work"
        mark.mkdir()  # fails where it is there already
        time.sleep(0.01)
        mark.rmdir()

    assert isolated.run_all([alone] * 4, 1) == [None] * 4


def test_the_first_to_fail_ends_the_others(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def hangs() -> None:
        started.write_text(str(os.getpid()))
        time.sleep(600)

    def fails() -> None:
        while not (started.exists() and started.read_text()):
            time.sleep(0.001)
        raise ValueError("no")

    with pytest.raises(isolated.Raised, match="no"):
        isolated.run_all([hangs, fails], 2)
    with pytest.raises(ChildProcessError):  # it has been waited for, too
        os.waitpid(int(started.read_text()), os.WNOHANG)
