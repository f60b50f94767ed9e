# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The BPF file system: where an instance's maps and programs stay when nobody runs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from mapxdp.errors import HostError

MOUNT_POINT = Path("/sys/fs/bpf")
INSTANCES = MOUNT_POINT / "mapxdp"
_FSTYPE = "bpf"


def instance_directory(name: str) -> Path:
    """Where the instance ``name`` is pinned."""
    return INSTANCES / name


def ensure_mounted() -> bool:
    """Mounts the BPF file system if it is not; True if that was necessary.

    HostError inside a private mount namespace, as ``ip netns exec`` makes one: what is
    pinned there disappears with the process.
    """
    if _is_mounted():
        return False
    if Path("/proc/self/ns/mnt").readlink() != Path("/proc/1/ns/mnt").readlink():
        raise HostError(
            f"{MOUNT_POINT} is hidden: this shell has a mount namespace of its own, as "
            "'ip netns exec' makes one; what is pinned here would vanish with it",
            "run mapxdp outside, with --netns NAME",
        )
    libc = ctypes.CDLL(None, use_errno=True)
    target = str(MOUNT_POINT).encode()
    if libc.mount(b"bpf", target, _FSTYPE.encode(), 0, None) != 0:
        error = ctypes.get_errno()
        raise HostError(
            f"the BPF file system cannot be mounted at {MOUNT_POINT}: {os.strerror(error)}",
            f"mount -t bpf bpf {MOUNT_POINT}, and put it in /etc/fstab",
        )
    return True


def _is_mounted() -> bool:
    """True if a BPF file system is what one sees at the mount point."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[4] == str(MOUNT_POINT) and after.split()[0] == _FSTYPE:
                return True
    return False


def instance_names() -> list[str]:
    """The instances that are pinned."""
    if not INSTANCES.is_dir():
        return []
    return sorted(path.name for path in INSTANCES.iterdir() if path.is_dir())


def remove(directory: Path) -> None:
    """Unpins everything of an instance; nothing happens where there is none."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
