# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44: what mappings cost when they begin, when they are there, and when there are none left."""

from __future__ import annotations

from benchmarks.frames import Generator, Sink
from benchmarks.measure import Effort, cpus, pinned_to
from benchmarks.napt import flood, lookups, mappings, memory
from benchmarks.report import Report


def run(effort: Effort, report: Report) -> None:
    """All parts, one after the other, on the first CPU; the flood comes from the second."""
    memory.run(report)
    sink = Sink()
    try:
        with pinned_to(cpus()[0]), Generator(sink) as generator:
            mappings.run(effort, generator, sink, report)
            lookups.run(effort, generator, sink, report)
        flood.run(effort, sink, report)
    finally:
        sink.close()
