# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Network namespaces for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.router import Router, router


@pytest.fixture
def cpe(bpf: None, tmp_path: Path) -> Iterator[Router]:
    """A router on which nothing of mapxdp runs yet."""
    with router(tmp_path, "a") as made:
        yield made
