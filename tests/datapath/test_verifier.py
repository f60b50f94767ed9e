# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the kernel's verifier had to do for each program, recorded and bounded.

Older verifiers prune less: the programs stay far below the limit of a million instructions.
"""

from __future__ import annotations

import pytest

from harness.ce import LoadedCe
from harness.domains import EXAMPLE_RULE, domain
from mapxdp.model.rule import MappingRule

BOUND = 250_000
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
        for program in ce.programs:
            with capsys.disabled():
                print(f"\n  {program.name}, {ports} ports: {program.verified_instructions}", end="")
            assert 0 < program.verified_instructions < BOUND
