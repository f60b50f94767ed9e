# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Small UDP packets of established connections, in both directions, by what forwards them."""

from benchmarks.pps.measurement import run

__all__ = ["run"]
