# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The BPF file system: where an instance's maps and programs stay when nobody runs.

::

    /sys/fs/bpf/mapxdp/home/run-5f3a09c1/slots …    pinned by one run of ``up``
                            run-77b1d20e/slots …    by the run before, until that is replaced
                            current                 a link to the one that is in force

A run pins under a name of its own and takes the link over in one step. What a killed ``up``
pinned stays until another run has taken over everything: a program array whose last pin goes
is emptied by the kernel, also while attached programs use it.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from mapxdp import netns
from mapxdp.config import require_name
from mapxdp.errors import HostError, refusals

MOUNT_POINT = Path("/sys/fs/bpf")
INSTANCES = MOUNT_POINT / "mapxdp"
_FSTYPE = "bpf"
_CURRENT = "current"
_MADE_BY_A_RUN = re.compile(r"(run|next)-[0-9a-f]{8}|current")


def instance_directory(name: str) -> Path:
    """Where the instance ``name`` is pinned; InvalidValue for what is no name of one."""
    return INSTANCES / require_name(name)


def ensure_mounted() -> bool:
    """Mounts the BPF file system if it is not; True if that was necessary.

    HostError inside ``ip netns exec``, which mounts another /sys for its command alone: what
    is pinned there disappears with the command.
    """
    mounts = _mounts()
    if mounts.get(str(MOUNT_POINT), ("", ""))[0] == _FSTYPE:
        return False
    source = mounts.get("/sys", ("", ""))[1]
    if (netns.DIRECTORY / source).exists() and source:
        raise HostError(
            f"{MOUNT_POINT} is hidden here by 'ip netns exec {source}': what is pinned would "
            "vanish with this command",
            f"run mapxdp outside of it, with --netns {source}",
        )
    _mount()
    return True


def _mount() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fstype = _FSTYPE.encode()
    if libc.mount(fstype, str(MOUNT_POINT).encode(), fstype, 0, None) != 0:
        error = ctypes.get_errno()
        raise HostError(
            f"the BPF file system cannot be mounted at {MOUNT_POINT}: {os.strerror(error)}",
            f"mount -t bpf bpf {MOUNT_POINT}, and put it in /etc/fstab",
        )


def _mounts() -> dict[str, tuple[str, str]]:
    """Type and source of what is mounted last at each place (proc_pid_mountinfo(5))."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        fstype, source = after.split()[:2]
        mounts[before.split()[4]] = (fstype, source)
    return mounts


def new_run(directory: Path) -> Path:
    """Where another run of ``up`` may pin; nothing is there yet."""
    return directory / f"run-{secrets.token_hex(4)}"


def current(directory: Path) -> Path | None:
    """The run that is in force; None where none is."""
    try:
        return directory / (directory / _CURRENT).readlink()
    except FileNotFoundError:
        return None


def runs(directory: Path) -> list[Path]:
    """Every run that has pinned something, in force or not."""
    if not directory.is_dir():
        return []
    return [path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()]


def make_current(run: Path) -> None:
    """Puts a run in force, in one step in place of the one before."""
    staged = run.with_name(run.name.replace("run-", "next-"))
    with _changes(run.parent):
        staged.symlink_to(run.name)
        staged.rename(run.with_name(_CURRENT))


def remove_run(run: Path, pins: Iterable[str]) -> None:
    """Unpins ``pins`` of a run; directories stay where there is more in them."""
    with _changes(run):
        for pin in pins:
            (run / pin).unlink(missing_ok=True)
    for directory in (run, run.parent):
        with suppress(OSError):
            directory.rmdir()


def remove_runs(directory: Path, pins: Collection[str], keep: Path | None = None) -> None:
    """Unpins ``pins`` of every run but ``keep``; without one, the directory goes too."""
    if not directory.is_dir():
        return
    with _changes(directory):
        found = [path for path in directory.iterdir() if _MADE_BY_A_RUN.fullmatch(path.name)]
        for link in (path for path in found if path.is_symlink()):
            if keep is None or link.name != _CURRENT:
                link.unlink()
    for run in (path for path in found if path.is_dir() and not path.is_symlink()):
        if run != keep:
            remove_run(run, pins)
    with suppress(OSError):
        directory.rmdir()


def _changes(directory: Path) -> AbstractContextManager[None]:
    return refusals(
        f"{directory} cannot be changed", f"see that {MOUNT_POINT} is a writable BPF file system"
    )
