# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Two CPUs allocate at once: no port with two owners, no endpoint with two ports, no leak.

Allocation happens once for an endpoint, so that its races happen only while the table fills:
the rounds begin with an empty table again and again. The steps of the protocol are pulled
apart by a delay, so that the other CPU comes in between; mutants that leave a step out show
that the test would see it.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.ce import clear_slots, inconsistencies, stopped_settings
from harness.domains import RULES, domain
from mapxdp import bpf_source
from mapxdp.contract import MapSpec
from mapxdp.datapath import libbpf, state, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.maps import MapSet
from mapxdp.model.timeouts import Timeouts

STRESS = Path(__file__).with_name("napt44_stress.bpf.c").read_text(encoding="utf-8")
HOSTS = 36
ROUNDS = 1_000
ROUNDS_FOR_A_MUTANT = 3_000
RUNS_PER_ROUND = 3_000
RUNS_WITH_EXPIRY = 150_000

#: Where the other CPU should come in between. Each place has to exist in napt44_alloc.h.
WINDOWS = (
    "\tmark_taken(applicant->endpoint.protocol, position);",
    "\terror = eim_insert(applicant->endpoint, index);",
    "\tif (error == INSERT_OK) {",
    "\tgive_back(applicant, slot, position);\n\tif (error",
    "\tforget_owner(owner, index * SLOTS + position);",
    "\tpublish_owner(slot, owner_word(&applicant->endpoint, SLOT_CLAIMED));",
)
DELAY = """
	{
		__u32 delay = 0;
#pragma clang loop unroll(disable)
		for (__u32 turn = 0; turn < 32; turn++)
			delay += kernel_random();
		OPAQUE(delay);
	}
"""

#: A step left out, and what the witnesses must see then.
MUTANTS = {
    "claim without compare-and-swap": (
        "napt44.h",
        "return __sync_val_compare_and_swap(&slot->owner, owner, wanted) == owner;",
        "__sync_lock_test_and_set(&slot->owner, wanted);\n\treturn 1;",
    ),
    "index entry replaced": ("napt44.h", "&index, BPF_NOEXIST)", "&index, BPF_ANY)"),
    "loser keeps its slot": (
        "napt44_alloc.h",
        "\tgive_back(applicant, slot, position);\n\tif (error",
        "\tif (error",
    ),
}

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to run at once"
)


#: Test-only maps: what the witnesses saw.
WITNESSES = (
    MapSpec("violations", "ARRAY", "__u32", 4, "", 8, 8, 0),
    MapSpec("owners_seen", "ARRAY", "__u32", 4, "", 8, 65536, 0),
    MapSpec("ports_seen", "HASH", "", 8, "", 8, 1024, 0),
)
VIOLATIONS = {
    1: "an endpoint with two ports",
    2: "a port with two endpoints",
    3: "outside the set",
    4: "refused although ports were free",
}

STRESSED = domain("map-t", RULES[63])
NEVER = Timeouts()
AT_ONCE = Timeouts(udp_unanswered=2**32 - 16, udp_answered=2**32 - 16)


class Stress:
    """The stress program over maps that are emptied for each round."""

    def __init__(self, program: int, maps: MapSet, witnesses: dict[str, int]) -> None:
        self._program = program
        self._maps = maps
        self._witnesses = witnesses

    def empty(self) -> None:
        contract = self._maps.contract
        clear_slots(self._maps)
        for fd in (self._maps.fds["eim"], self._witnesses["ports_seen"]):
            for key in list(libbpf.keys(fd, 8)):
                libbpf.delete(fd, key)
        for port in STRESSED.port_set:
            libbpf.update(self._witnesses["owners_seen"], port.to_bytes(4, sys.byteorder), bytes(8))
        assert contract.number("SLOTS") >= len(STRESSED.port_set)
        state.initialise(self._maps, STRESSED)

    def run_on_two_cpus(self, runs: int) -> None:
        ready = threading.Barrier(2)

        def work(cpu: int) -> None:
            os.sched_setaffinity(0, {cpu})
            ready.wait()
            libbpf.run_program(self._program, bytes(64), repeat=runs)

        threads = [
            threading.Thread(target=work, args=(cpu,))
            for cpu in sorted(os.sched_getaffinity(0))[:2]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def violations(self) -> dict[str, int]:
        values = libbpf.lookup_all(self._witnesses["violations"], WITNESSES[0])
        numbers = [int.from_bytes(value, sys.byteorder) for value in values]
        return {name: numbers[what] for what, name in VIOLATIONS.items() if numbers[what]}

    def leaks(self) -> list[str]:
        """What is inconsistent now that nothing runs."""
        return inconsistencies(self._maps, STRESSED)


@contextmanager
def stress(directory: Path, hosts: int, timeouts: Timeouts) -> Iterator[Stress]:
    """The stress program made from the C text in ``directory``."""
    contract = tables.contract_for(STRESSED.port_set)
    witnesses = {spec.name: libbpf.create_map(spec) for spec in WITNESSES}
    with MapSet(contract) as maps:
        maps.create(spec.name for spec in contract.maps)
        state.initialise(maps, STRESSED)
        state.write_config(maps, stopped_settings(STRESSED, timeouts=timeouts))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bpf_source, "bpf_directory", lambda: directory)
            bytecode = compile_text(
                f"#define HOSTS {hosts}\n{STRESS}",
                ["napt44_stress"],
                contract,
                14,
                maps.fds | witnesses,
            )
        program = libbpf.load_program("napt44_stress", bytecode["napt44_stress"]).fd
        try:
            yield Stress(program, maps, witnesses)
        finally:
            for fd in (program, *witnesses.values()):
                os.close(fd)


@pytest.fixture
def widened(tmp_path: Path) -> Path:
    """A copy of the C text, its steps pulled apart by delays."""
    directory = tmp_path / "bpf"
    shutil.copytree(bpf_source.bpf_directory(), directory)
    for place in WINDOWS:
        replace(directory / "napt44_alloc.h", place, DELAY + place)
    return directory


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has changed: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def first_violation(directory: Path, rounds: int) -> object:
    """What the first round with a violation saw; None after so many rounds without one."""
    with stress(directory, HOSTS, NEVER) as it:
        for _ in range(rounds):
            it.empty()
            it.run_on_two_cpus(RUNS_PER_ROUND)
            if it.violations() or it.leaks():
                return it.violations(), it.leaks()
    return None


def test_rounds_from_an_empty_table(bpf: None, widened: Path) -> None:
    assert first_violation(widened, ROUNDS) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_seen(name: str, bpf: None, widened: Path) -> None:
    file, old, new = MUTANTS[name]
    replace(widened / file, old, new)
    assert first_violation(widened, ROUNDS_FOR_A_MUTANT) is not None


def test_every_mapping_always_expired(bpf: None, widened: Path) -> None:
    """More endpoints than ports, and every port may be taken at any time: nothing is lost."""
    with stress(widened, 4 * len(STRESSED.port_set), AT_ONCE) as it:
        it.run_on_two_cpus(RUNS_WITH_EXPIRY)
        assert it.leaks() == []
        assert "outside the set" not in it.violations()
