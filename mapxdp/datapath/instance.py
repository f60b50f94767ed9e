# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One CE's datapath in the kernel: prepared next to what runs, then pinned in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mapxdp.contract import Contract
from mapxdp.datapath import bpffs, libbpf, programs, state, tables
from mapxdp.datapath.maps import STATE_MAPS, MapSet
from mapxdp.datapath.programs import ProgramSet
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.errors import StateError, refusals
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.model.domain import Domain

_LOAD_MAPS = (
    "config",
    "rules",
    "rule_by_ipv4",
    "rule_by_ipv6",
    "rule_by_psid",
    "scratch",
    "objects",
    "programs",
    "fragments",
    "datagrams",
    "fragment_work",
    "shortcuts_46",
    "shortcuts_64",
    "shortcut_work",
)
UPSTREAM_PIN = "upstream"
DOWNSTREAM_PIN = "downstream"
CONTROL_PIN = "control"
_ACCELERATOR_PARTS = ("wan", "lan", "confirm")


def accelerator_pin(part: str) -> str:
    """The name of a pin: ``part`` is "wan", "lan" or "confirm"."""
    return f"accelerator_{part}"


#: Everything that has to outlive the process that made it.
_PINS = (
    *STATE_MAPS,
    *_LOAD_MAPS,
    UPSTREAM_PIN,
    DOWNSTREAM_PIN,
    *map(accelerator_pin, _ACCELERATOR_PARTS),
    CONTROL_PIN,
)


@dataclass(frozen=True)
class Instance:
    """Loaded programs over configured maps."""

    run: Path
    maps: MapSet
    programs: ProgramSet
    kept_mappings: bool
    replaced_mappings: bool

    @property
    def attachable(self) -> dict[str, int]:
        """The programs that are attached somewhere, by the names of their pins."""
        accelerator = self.programs.accelerator.items()
        return {
            UPSTREAM_PIN: self.programs.upstream.fd,
            DOWNSTREAM_PIN: self.programs.downstream.fd,
            **{accelerator_pin(part): program.fd for part, program in accelerator},
        }

    @property
    def _pins(self) -> dict[str, int]:
        """Everything that has to outlive this process, by its name."""
        return {
            **{name: self.maps.fds[name] for name in (*STATE_MAPS, *_LOAD_MAPS)},
            **self.attachable,
            CONTROL_PIN: self.programs.control.fd,
        }

    def stage(self) -> None:
        """Pins everything beside what is pinned already, before anything is attached.

        Attached programs do not keep the program array filled: without a pin it would be
        emptied when this process ends, however it ends.
        """
        with refusals(f"{self.run} cannot be made", "see /sys/fs/bpf: is it a BPF file system?"):
            self.run.mkdir(parents=True)
        for name, fd in self._pins.items():
            libbpf.pin(fd, self.run / name)

    def unstage(self) -> None:
        """Takes back what was staged, and the directories if nothing else is in them."""
        bpffs.remove_run(self.run, _PINS)

    def commit(self) -> None:
        """Puts what was staged in force, in one step."""
        bpffs.make_current(self.run)

    def remove_former(self) -> None:
        """Unpins what runs of ``up`` before this one pinned, killed ones too."""
        bpffs.remove_runs(self.run.parent, _PINS, keep=self.run)


@contextmanager
def prepare(
    name: str, settings: DatapathSettings, l2_length: int, hook: AcceleratorHook
) -> Iterator[Instance]:
    """Compiles, loads and configures; nothing of a running instance is changed.

    The port mappings of a running instance are kept, unless the IPv4 address or the port set
    changed. StateError if they are pinned in another layout.
    """
    directory = bpffs.instance_directory(name)
    domain = settings.domain
    contract = tables.contract_of(settings)
    with ExitStack() as closing:
        maps = closing.enter_context(MapSet(contract))
        former = bpffs.current(directory)
        keeps = former is not None and _opens_state(maps, contract, settings, former)
        if not keeps:
            maps.create(STATE_MAPS)
            state.initialise(maps, settings)
        maps.create(_LOAD_MAPS)
        state.write_rules(maps, domain)
        state.write_config(maps, replace(settings, hash_key=state.read_instance(maps)["hash_key"]))
        loaded = closing.enter_context(programs.load(domain.mode, maps, l2_length, hook))
        yield Instance(
            run=bpffs.new_run(directory),
            maps=maps,
            programs=loaded,
            kept_mappings=keeps,
            replaced_mappings=former is not None and not keeps,
        )


def _opens_state(maps: MapSet, contract: Contract, settings: DatapathSettings, run: Path) -> bool:
    """Opens the pinned state; false if it is that of another address or port set."""
    with MapSet(contract) as pinned:
        pinned.open_pinned(("instance",), run)
        identity = contract["instance"].unpack(pinned.value("instance"))
    if identity["port_set"] != state.port_set_fingerprint(settings.domain):
        return False
    if identity["layout"] != contract.fingerprint(STATE_MAPS):
        raise StateError(
            f"{run} was pinned by a version with another layout of its maps",
            f"mapxdp down {run.parent.name}, then up again (its port mappings are lost)",
        )
    maps.open_pinned(STATE_MAPS, run)
    return True


def remove(name: str) -> None:
    """Unpins everything of an instance; what others have put beside it stays."""
    bpffs.remove_runs(bpffs.instance_directory(name), _PINS)


@contextmanager
def opened_accelerators(name: str) -> Iterator[list[int]]:
    """The programs at XDP or TC ingress that every run of an instance pinned, meanwhile open."""
    pins = [accelerator_pin(part) for part in ("wan", "lan")]
    with ExitStack() as closing:
        programs = []
        for run in bpffs.runs(bpffs.instance_directory(name)):
            for pin in pins:
                with suppress(libbpf.NotPinned):
                    programs.append(libbpf.open_pinned(run / pin))
                    closing.callback(os.close, programs[-1])
        yield programs


@contextmanager
def opened(name: str, domain: Domain) -> Iterator[MapSet]:
    """The pinned maps of the running instance of ``domain``, for reading.

    StateError where nothing is in force, or another version pinned it.
    """
    with MapSet(tables.contract_for(domain.port_set)) as maps:
        maps.open_pinned((*STATE_MAPS, "config"), pinned(name))
        yield maps


def pinned(name: str) -> Path:
    """Where what is in force of an instance is pinned; StateError where nothing is."""
    run = bpffs.current(bpffs.instance_directory(name))
    if run is None:
        raise StateError(
            f"{name} is not wholly up: its datapath is not pinned, perhaps 'up' was killed",
            f"mapxdp up -c FILE again, or mapxdp down {name}",
        )
    return run
