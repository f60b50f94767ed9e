# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Says how many packets the two paths were compared on, where one process ran all tests."""

from __future__ import annotations

import pytest

from harness.follower import AGREED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if AGREED:
        counted = f"{AGREED.total()} packets, of {len(AGREED)} reasons"
        terminalreporter.write_line(f"BPF and the software path agreed on {counted}")
