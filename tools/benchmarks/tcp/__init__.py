# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bulk TCP between two hosts with all offloads, by what forwards between them."""

from benchmarks.tcp.measurement import run

__all__ = ["run"]
