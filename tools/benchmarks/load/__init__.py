# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing a CE up: how long each part takes, and what a running one loses when it is changed."""

from benchmarks.load.measurement import run

__all__ = ["run"]
