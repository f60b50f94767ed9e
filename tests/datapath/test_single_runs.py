# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The benchmark's runs of one program: what one of them makes is no limit for the next."""

from __future__ import annotations

import os

import pytest

from benchmarks import bpf
from mapxdp.datapath import libbpf
from mapxdp.datapath.trial import PASSED_ON

pytestmark = pytest.mark.usefixtures("bpf")


def test_a_run_may_make_more_than_the_last_one() -> None:
    fd = bpf.load_empty(libbpf.PROGRAM_TYPE_SCHED_CLS, PASSED_ON)
    try:
        runs = bpf.SingleRuns(fd, bytes(64), bytes(192))
        runs.options.data_size_out = 1
        assert len(runs.take(2, PASSED_ON)) == 2
    finally:
        os.close(fd)
