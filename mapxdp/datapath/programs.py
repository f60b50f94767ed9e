# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The BPF programs of a mode: compiled against open maps, loaded, and linked together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

from mapxdp import host
from mapxdp.contract import Contract
from mapxdp.datapath import libbpf
from mapxdp.datapath.compiler import compile_programs, prepare_programs
from mapxdp.datapath.libbpf import LoadedProgram
from mapxdp.datapath.maps import MapSet
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.model.domain import Mode

#: What is attached upstream and downstream, and what the control plane runs.
_ENTRIES = ("46", "64", "control")
#: The tail-called programs of every mode (bpf/hook_tc_46.h, bpf/hook_tc_extension.h), by
#: direction and step.
_STEPS = (
    "46_allocate",
    "46_reclaim",
    "46_share",
    "46_flow",
    "46_sweep",
    "46_hairpin",
    "46_refuse",
    "46_other",
    "46_mss",
    "46_first",
    "64_extension",
    "64_other",
    "64_mss",
)
#: Those that only translation needs (bpf/hook_tc_prepare.h).
_STEPS_OF_TRANSLATION = ("46_options", "46_checksum", "64_refuse")
#: Those of a text of their own (bpf/mapt_rare.bpf.c).
_RARE_STEPS = (
    "46_error",
    "46_fragment",
    "46_pieces",
    "46_send",
    "46_abandon",
    "64_error",
    "64_fragment",
    "64_pieces",
    "64_send",
)


#: The accelerator's programs (bpf/mapt_accelerator.bpf.c): where each is attached, and to what
#: kind of hook. TC egress of the LAN makes shortcuts for both kinds.
_ACCELERATOR = {
    AcceleratorHook.NONE: {},
    AcceleratorHook.TC: {"lan": "tc_lan", "wan": "tc_wan", "confirm": "confirm"},
    AcceleratorHook.XDP: {"lan": "xdp_lan", "wan": "xdp_wan", "confirm": "confirm"},
}


@dataclass(frozen=True, slots=True)
class ProgramSet:
    """The loaded programs. A context manager that closes them; filters and pins keep them.

    ``accelerator``: those of "lan", "wan" and "confirm" (TC egress of the LAN), where there is one.
    """

    upstream: LoadedProgram
    downstream: LoadedProgram
    control: LoadedProgram
    tail_called: tuple[LoadedProgram, ...]
    accelerator: Mapping[str, LoadedProgram] = field(default_factory=dict)

    def __enter__(self) -> ProgramSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in self:
            os.close(program.fd)

    def __iter__(self) -> Iterator[LoadedProgram]:
        around = (*self.tail_called, *self.accelerator.values())
        return iter((self.upstream, self.downstream, self.control, *around))


def load(
    mode: Mode, maps: MapSet, l2_length: int, accelerator: AcceleratorHook = AcceleratorHook.NONE
) -> ProgramSet:
    """Compiles and loads the programs of ``mode`` against ``maps``, and fills ``programs``.

    ``l2_length`` is the length of the interface's link-layer header: see ``Link.l2_length``.
    """
    prefix = _prefix(mode)
    entries = [f"{prefix}_{entry}" for entry in _ENTRIES]
    steps = (*_steps(mode), *_RARE_STEPS)
    tail_called = {f"{prefix}_{step}": _place(*step.split("_")) for step in steps}
    places = {entries[0]: "PROGRAM_ENTRY", entries[1]: "PROGRAM_ENTRY_64", **tail_called}
    shortcuts = {at: f"{prefix}_{step}" for at, step in _ACCELERATOR[accelerator].items()}
    with ExitStack() as failed:
        loaded = _load(failed, _sources(mode, accelerator), maps, l2_length)
        for name, entry in places.items():
            fd = loaded[name].fd.to_bytes(4, sys.byteorder)
            maps.set_value("programs", fd, maps.contract.number(entry))
        failed.pop_all()
    return ProgramSet(
        upstream=loaded[entries[0]],
        downstream=loaded[entries[1]],
        control=loaded[entries[2]],
        tail_called=tuple(loaded[name] for name in tail_called),
        accelerator={at: loaded[name] for at, name in shortcuts.items()},
    )


def prepare(
    mode: Mode, contract: Contract, l2_length: int, accelerators: Iterable[AcceleratorHook]
) -> None:
    """Compiles what ``load`` will need, whichever of the ``accelerators`` it is asked for."""
    for accelerator in accelerators:
        prepare_programs(_sources(mode, accelerator), contract, l2_length)


def _load(
    failed: ExitStack, sources: Mapping[str, list[str]], maps: MapSet, l2_length: int
) -> dict[str, LoadedProgram]:
    """Programs of the texts of ``bpf/``, by name; ``failed`` closes them."""
    bytecode = compile_programs(sources, maps.contract, l2_length, maps.fds)

    def load_one(name: str) -> LoadedProgram:
        load = libbpf.load_xdp_program if "_xdp_" in name else libbpf.load_program
        program = load(name, bytecode[name])
        failed.callback(os.close, program.fd)
        return program

    # The verifier takes nearly all of the time, and verifies for several threads at a time.
    with ThreadPoolExecutor(host.usable_cpus()) as pool:
        return dict(zip(bytecode, pool.map(load_one, bytecode), strict=True))


def _prefix(mode: Mode) -> str:
    return "mapt" if mode.translates else "mape"


def _steps(mode: Mode) -> tuple[str, ...]:
    """What is tail-called in the text of the entries."""
    return _STEPS + (_STEPS_OF_TRANSLATION if mode.translates else ())


def _sources(mode: Mode, accelerator: AcceleratorHook) -> dict[str, list[str]]:
    """The texts of ``bpf/``, and the programs of each."""
    prefix = _prefix(mode)
    texts = {
        f"{prefix}.bpf.c": (*_ENTRIES, *_steps(mode)),
        f"{prefix}_rare.bpf.c": _RARE_STEPS,
        f"{prefix}_accelerator.bpf.c": tuple(_ACCELERATOR[accelerator].values()),
    }
    return {text: [f"{prefix}_{name}" for name in names] for text, names in texts.items() if names}


def _place(direction: str, step: str) -> str:
    """Of a program in the map of programs: upstream steps have no direction in their name."""
    return f"PROGRAM_{step.upper()}" + ("" if direction == "46" else f"_{direction}")
