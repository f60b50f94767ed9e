# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections past the kernel: the table ``accelerator``."""

from __future__ import annotations

from mapxdp.model.accelerator import AcceleratorPolicy
from mapxdp.table_reader import TableReader


def read_accelerator(table: TableReader) -> AcceleratorPolicy | None:
    """What the table says; None where nothing is to be accelerated."""
    usual = AcceleratorPolicy()
    policy = AcceleratorPolicy(
        revalidate=table.number("revalidate", default=usual.revalidate),
        connections=table.number("connections", default=usual.connections),
    )
    return policy if table.flag("enabled", default=True) else None
