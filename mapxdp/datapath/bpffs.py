# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The BPF file system: where an instance's maps and programs stay when nobody runs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mapxdp import netns
from mapxdp.config import require_name
from mapxdp.errors import HostError

MOUNT_POINT = Path("/sys/fs/bpf")
INSTANCES = MOUNT_POINT / "mapxdp"
_FSTYPE = "bpf"


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


def remove(directory: Path, names: Iterable[str]) -> None:
    """Unpins ``names``, and removes the directory unless there is more in it."""
    for name in names:
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()
