# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How the headers of ``bpf/`` are compiled for the host."""

from __future__ import annotations

from pathlib import Path

from harness.domains import domain
from mapxdp.datapath import tables

ROOT = Path(__file__).parents[2]


def flags() -> list[str]:
    """Where the headers are, and the capacities of the example CE."""
    capacities = tables.contract_for(domain("map-t").port_set).capacities
    return [f"-D{name}={value}" for name, value in capacities.items()] + [f"-I{ROOT / 'bpf'}"]
