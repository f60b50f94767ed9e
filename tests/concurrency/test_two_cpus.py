# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Two CPUs allocate at once: no port with two owners, no endpoint with two ports, no leak.

Some races happen only while the table fills, others only while it changes: the rounds begin with
an empty table again and again, once with mappings that never expire and once with mappings that
always have. The steps of the protocol are pulled apart by a delay, so that the other CPU comes
in between; mutants that leave a step out show that the test would see it.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.ce import clear_state, inconsistencies, stopped_settings
from harness.domains import RULES, domain
from harness.policies import shared
from mapxdp import bpf_source
from mapxdp.contract import MapSpec, read_contract
from mapxdp.datapath import libbpf, state, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.maps import MapSet

STRESS = Path(__file__).with_name("napt44_stress.bpf.c").read_text(encoding="utf-8")
PROGRAMS = ("stress_own", "stress_flow", "stress_sweep", "stress_turns")
ROUNDS = 400
#: Of those rounds, the part that is run where nothing is expected; a nightly run takes all.
PATIENCE = 1.0 if "MAPXDP_EXAMPLES" in os.environ else 0.4
#: A mutant is mostly seen in the first of those rounds; where other tests keep the CPUs busy, two
#: programs seldom meet.
PATIENCE_WITH_MUTANTS = 6
RUNS = 1_500
ROUNDS_IN_TURNS = 250
RUNS_IN_TURNS = 15_000

#: Where the other CPU should come in between. Each place has to exist in its file once.
WINDOWS = {
    "napt44_alloc.h": (
        "\tmark_taken(index, position);",
        "\terror = eim_insert(applicant->endpoint, index * SLOTS + position);",
        "\tif (error == INSERT_OK) {\n\t\tpublish_owner",
        "\tend_own_mapping(applicant->config, slot, index, owner, applicant->now);",
        "\tpublish_owner(slot, wanted);",
    ),
    "napt44_share.h": (
        "\tif (owner_state(READ_ONCE(slot->owner)) == SLOT_SHARED)",
        "\tresult = insert_flow(applicant, slot_index, flow_index);",
        "\tcount_flow(applicant->endpoint.ipv4, 1);",
    ),
    "napt44_flow.h": (
        "\t\tif (!READ_ONCE(slot->flow_count))\n",
        "\t\tpublish_owner(slot, shared);",
        "\tclear_bit(shared_word(protocol, position / WORD_BITS), position);",
        "\tleave_slot(slot_index, protocol);\n\tcount_flow",
    ),
}
DELAY = """
	{
		__u32 delay = 0;
#pragma clang loop unroll(disable)
		for (__u32 turn = 0; turn < 32; turn++)
			delay += kernel_random();
		OPAQUE(delay);
	}
"""

#: A step left out, and in which kind of rounds the witnesses must see it.
MUTANTS = {
    "a claim without compare-and-swap": (
        "never",
        "napt44.h",
        "return __sync_val_compare_and_swap(&mapping->owner, owner, wanted) == owner;",
        "WRITE_ONCE(mapping->owner, wanted);\n\treturn 1;",
    ),
    "an endpoint's index entry replaced": (
        "never",
        "napt44_own.h",
        "&endpoint, &index, BPF_NOEXIST)",
        "&endpoint, &index, BPF_ANY)",
    ),
    "a loser that keeps its slot": (
        "never",
        "napt44_alloc.h",
        "\tgive_back(index, slot, position);\n\treturn error",
        "\treturn error",
    ),
    "the claim of a remote replaced": (
        "in turns",
        "napt44_share.h",
        "long error = flow_insert(claim, flow_index);",
        "__u64 mutant = flow_index;\n"
        "\tlong error = kernel_map_update(MAP(flow_index), &claim, &mutant, BPF_ANY);",
    ),
    "a port joined without a second look": (
        "in turns",
        "napt44_share.h",
        "if (owner_state(READ_ONCE(slot->owner)) == SLOT_SHARED)\n\t\treturn 1;",
        "return 1;",
    ),
    "a port freed without a second look": (
        "in turns",
        "napt44_flow.h",
        "if (!READ_ONCE(slot->flow_count))\n",
        "if (1)\n",
    ),
}

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to run at once"
)


#: Test-only maps: what the witnesses saw.
WITNESSES = (
    MapSpec("violations", "ARRAY", "__u32", 4, "", 8, 8, 0),
    MapSpec("owners_seen", "ARRAY", "__u32", 4, "", 8, 5 * 65536, 0),
    MapSpec("ports_seen", "HASH", "", 8, "", 8, 4096, 0),
)
VIOLATIONS = {
    1: "an endpoint with two ports",
    2: "a port with two endpoints",
    3: "outside the set",
    5: "a flow that lost its port or its claim",
}

STRESSED = domain("map-t", RULES[63])


class Crowd(NamedTuple):
    """How many endpoints want how many ports, whose mappings have expired always or never.

    With ``turns``, flows only, and each CPU ends those of its own endpoints.
    """

    hosts: int
    ports: int
    always_overdue: bool
    turns: bool = False


CROWDS = {
    "never": Crowd(28, 63, always_overdue=False),
    "always": Crowd(150, 63, always_overdue=True),
    "in turns": Crowd(4, 3, always_overdue=False, turns=True),
}
#: Ticks in which a mapping expires: long ago, or never in a test.
OVERDUE = 2**32 - 16


class Stress:
    """The stress programs over maps that are emptied for each round."""

    def __init__(
        self, fds: list[int], maps: MapSet, witnesses: dict[str, int], crowd: Crowd
    ) -> None:
        self._programs = fds
        self._turns = crowd.turns
        self._maps = maps
        self._witnesses = witnesses
        reserved = frozenset(list(STRESSED.port_set)[crowd.ports :])
        self._settings = stopped_settings(STRESSED, policy=shared(reserved_ports=reserved))
        self._configure(crowd.always_overdue)

    def _configure(self, always_overdue: bool) -> None:
        contract = self._maps.contract
        values = tables.config_values(contract, self._settings)
        if always_overdue:
            values["timeout"] = [OVERDUE] * len(values["timeout"])
        half = contract["config"].pack(**values)
        self._maps.set_value("config", contract["config_buffer"].pack(active=0, half=half * 2))

    def empty(self) -> None:
        clear_state(self._maps)
        for key in list(libbpf.keys(self._witnesses["ports_seen"], 8)):
            libbpf.delete(self._witnesses["ports_seen"], key)
        for remote in range(5):
            for port in STRESSED.port_set:
                key = (remote << 16 | port).to_bytes(4, sys.byteorder)
                libbpf.update(self._witnesses["owners_seen"], key, bytes(8))
        state.initialise(self._maps, self._settings)

    def run_on_two_cpus(self, runs: int) -> None:
        """Each CPU runs each program; first the same, then different ones."""
        own, flow, sweep, turns = self._programs
        orders = ((own, flow, sweep, own, flow), (own, flow, flow, flow, own))
        if self._turns:
            orders = ((turns,) * 5,) * 2
        ready = threading.Barrier(2)

        def work(cpu: int, order: tuple[int, ...]) -> None:
            os.sched_setaffinity(0, {cpu})
            for program in order:
                ready.wait()
                libbpf.run_program(program, bytes(64), repeat=runs)

        threads = [
            threading.Thread(target=work, args=(cpu, order))
            for cpu, order in zip(sorted(os.sched_getaffinity(0))[:2], orders, strict=True)
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

    def use(self) -> tuple[int, int]:
        """Ports and flows in use, to see that there was something to see."""
        pool = self._maps.contract["pool"].unpack(self._maps.value("pool"))
        return pool["used"][1], pool["flow_count"]


@contextmanager
def stress(directory: Path, crowd: Crowd) -> Iterator[Stress]:
    """The stress programs made from the C text in ``directory``."""
    capacities = dict(tables.contract_for(STRESSED.port_set).capacities) | {"FLOWS": 512}
    contract = read_contract(**capacities)
    witnesses = {spec.name: libbpf.create_map(spec) for spec in WITNESSES}
    with MapSet(contract) as maps:
        maps.create(spec.name for spec in contract.maps)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bpf_source, "bpf_directory", lambda: directory)
            bytecode = compile_text(
                f"#define STRESS_HOSTS {crowd.hosts}\n{STRESS}",
                PROGRAMS,
                contract,
                14,
                maps.fds | witnesses,
            )
        fds = [libbpf.load_program(name, bytecode[name]).fd for name in PROGRAMS]
        try:
            yield Stress(fds, maps, witnesses, crowd)
        finally:
            for fd in (*fds, *witnesses.values()):
                os.close(fd)


@pytest.fixture
def widened(tmp_path: Path) -> Path:
    """A copy of the C text, its steps pulled apart by delays."""
    directory = tmp_path / "bpf"
    shutil.copytree(bpf_source.bpf_directory(), directory)
    for file, places in WINDOWS.items():
        for place in places:
            replace(directory / file, place, DELAY + place)
    return directory


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has changed: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def first_violation(directory: Path, crowd: Crowd, patience: float = 1) -> object:
    """What the first round with a violation saw; None after all rounds without one."""
    rounds = int((ROUNDS_IN_TURNS if crowd.turns else ROUNDS) * patience)
    with stress(directory, crowd) as it:
        for number in range(rounds):
            it.empty()
            it.run_on_two_cpus(RUNS_IN_TURNS if crowd.turns else RUNS)
            violations = it.violations()
            if crowd.always_overdue:  # then a port changes hands all the time
                violations = {what: n for what, n in violations.items() if what == VIOLATIONS[3]}
            elif not crowd.turns:
                assert all(it.use()), "nothing was stressed"
            leaks = it.leaks()
            if violations or leaks:
                return number, violations, leaks
    return None


@pytest.mark.parametrize("crowd", CROWDS)
def test_rounds_from_an_empty_table(crowd: str, bpf: None, widened: Path) -> None:
    assert first_violation(widened, CROWDS[crowd], PATIENCE) is None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_seen(name: str, bpf: None, widened: Path) -> None:
    crowd, file, old, new = MUTANTS[name]
    replace(widened / file, old, new)
    assert first_violation(widened, CROWDS[crowd], PATIENCE_WITH_MUTANTS) is not None
