# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""New connections: the part of ``napt`` that sets mappings up, beside masquerade, by itself."""

from __future__ import annotations

from benchmarks.frames import Generator, Sink
from benchmarks.measure import Effort, cpus, pinned_to
from benchmarks.napt import mappings
from benchmarks.report import Report


def run(effort: Effort, report: Report) -> None:
    """Own ports, then shared ones, on the first CPU."""
    sink = Sink()
    try:
        with pinned_to(cpus()[0]), Generator(sink) as generator:
            mappings.run(effort, generator, sink, report)
    finally:
        sink.close()
