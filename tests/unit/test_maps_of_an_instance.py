# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does `up` make every map that the programs use? Tests of programs make all there are."""

from __future__ import annotations

from harness.domains import domain
from mapxdp.datapath import instance, tables
from mapxdp.datapath.maps import STATE_MAPS


def test_every_map_is_state_or_made_at_each_load() -> None:
    contract = tables.contract_for(domain("map-t").port_set)
    made = [*STATE_MAPS, *instance._LOAD_MAPS]
    assert sorted(made) == sorted(spec.name for spec in contract.maps)
