# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fixtures for all tests, and the rule about skipping: never silently, and never in CI."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from harness.ce import LoadedCe
from harness.loaded import LoadedCes
from harness.requirements import missing_for_bpf
from mapxdp.datapath.trial import TrialLink


def pytest_configure() -> None:
    """The programs of many datapaths are open at once: more than the usual 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="session")
def bpf() -> None:
    """Asked for by every test that loads BPF programs."""
    reason = missing_for_bpf()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"BPF tests may not be skipped in CI, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def loaded_ces(bpf: None) -> Iterator[LoadedCes]:
    """Compiled datapaths, each compiled once in a session."""
    with LoadedCes() as ces:
        yield ces


@pytest.fixture(scope="session")
def trial_link(bpf: None) -> Iterator[TrialLink]:
    """An interface for programs that send copies: ``ce.link = trial_link`` has a CE use it."""
    with TrialLink() as link:
        yield link


@pytest.fixture(params=["map-t", "map-e"])
def ce(request: pytest.FixtureRequest, loaded_ces: LoadedCes) -> LoadedCe:
    """A freshly reset datapath of the RFC's example CE, in each mode."""
    return loaded_ces.example(request.param)
