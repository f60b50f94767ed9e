# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Datagrams longer than the WAN's MTU, end to end, with real sockets."""

from __future__ import annotations

import pytest

from harness.lab import running_lab
from mapxdp.lab import checks


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
def test_long_datagrams_there_and_back(mode: str, bpf: None) -> None:
    with running_lab(mode, "software") as lab:
        assert [check for check in checks.fragments(lab) if not check.passed] == []
