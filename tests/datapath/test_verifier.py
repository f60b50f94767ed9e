# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the kernel's verifier had to do for each program, recorded and bounded.

Older verifiers prune less: the programs stay far below the limit of a million instructions.
"""

from __future__ import annotations

import pytest

from harness.ce import LoadedCe
from harness.domains import EXAMPLE_RULE, domain
from mapxdp.model.rule import MappingRule

#: What Linux 6.18 took at most, over both modes and all port sets, and some room.
BUDGETS = {
    "46": 40_000,  # 30 936
    "64": 60_000,  # 47 077
    "control": 42_000,  # 32 721
    "46_allocate": 45_000,  # 35 725
    "46_reclaim": 150_000,  # 117 282
    "46_share": 350_000,  # 264 481
    "46_flow": 75_000,  # 55 213
    "46_sweep": 40_000,  # 31 039
    "46_hairpin": 8_000,  # 6 176
    "46_refuse": 20_000,  # 15 022
    "46_other": 14_000,  # 10 850
    "46_mss": 32_000,  # 25 000
    "46_error": 95_000,  # 71 541
    "46_fragment": 58_000,  # 43 624
    "46_first": 31_000,  # 23 442
    "46_pieces": 110_000,  # 84 680
    "46_abandon": 2_000,  # 724
    "46_send": 70_000,  # 51 862
    "64_error": 95_000,  # 80 077
    "64_mss": 32_000,  # 25 000
    "64_extension": 13_000,  # 9 464
    "64_other": 32_000,  # 24 235
    "64_fragment": 60_000,  # 45 740
    "64_pieces": 87_000,  # 66 437
    "64_send": 35_000,  # 26 184
}
#: Those that only MAP-T has.
TRANSLATION_BUDGETS = {
    "46_options": 6_000,  # 3 797
    "46_checksum": 8_000,  # 5 448
    "64_refuse": 6_000,  # 4 102
}
UNSHARED = MappingRule(EXAMPLE_RULE.ipv6, EXAMPLE_RULE.ipv4, ea_length=8)


@pytest.mark.parametrize("mode", ["map-t", "map-e"])
@pytest.mark.parametrize("rule", [EXAMPLE_RULE, UNSHARED], ids=["252 ports", "65536 ports"])
def test_processed_instructions(
    rule: MappingRule,
    mode: str,
    bpf: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LoadedCe(domain(mode, rule)) as ce:
        ports = len(ce.domain.port_set)
        took = {
            program.name.split("_", 1)[1]: program.verified_instructions for program in ce.programs
        }
    with capsys.disabled():
        for name, number in took.items():
            print(f"\n  {mode}, {ports} ports, {name}: {number}", end="")
    budgets = BUDGETS | (TRANSLATION_BUDGETS if mode == "map-t" else {})
    assert took.keys() == budgets.keys()
    assert {name: number for name, number in took.items() if not 0 < number < budgets[name]} == {}
