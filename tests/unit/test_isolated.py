# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does a library that ends its process end only the child?"""

from __future__ import annotations

import os
import sys
import tempfile

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
