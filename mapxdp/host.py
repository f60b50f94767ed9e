# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What this machine must be, and the few kernel settings that a CE needs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mapxdp.errors import HostError, permission_remedy, refusals

#: 64-bit compare-and-swap in BPF came with 5.12; this is the first long-term kernel after it.
OLDEST_KERNEL = (5, 15)
IPV4_FORWARDING = "net/ipv4/ip_forward"
IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"
_SYSCTLS = Path("/proc/sys")


def require_root() -> None:
    """HostError unless this process may load BPF programs."""
    if os.geteuid() != 0:
        raise HostError(
            "BPF programs and network interfaces are changed by root only",
            permission_remedy(),
        )


def require_kernel(release: str | None = None) -> None:
    """HostError if the kernel (or the named release of one) is too old."""
    release = os.uname().release if release is None else release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise HostError(
            f"kernel {release} is too old: atomic operations in BPF are needed",
            f"update to Linux {oldest} or newer",
        )


def usable_cpus() -> int:
    """How many CPUs this process may use: no more can be done at a time."""
    return len(os.sched_getaffinity(0))


def sysctl(name: str) -> str:
    """A kernel setting of this network namespace."""
    with refusals(f"the kernel setting {name} cannot be read", _remedy(name)):
        return (_SYSCTLS / name).read_text(encoding="ascii").strip()


def set_sysctl(name: str, value: str) -> str | None:
    """Sets a kernel setting of this network namespace; its former value if it changed."""
    former = sysctl(name)
    if former == value:
        return None
    with refusals(f"the kernel setting {name} cannot be set to {value}", _remedy(name)):
        (_SYSCTLS / name).write_text(value, encoding="ascii")
    return former


def _remedy(name: str) -> str:
    if name.startswith("net/ipv6/"):
        return "is IPv6 off (ipv6.disable=1 on the kernel's command line)? Turn it on"
    return "see that /proc/sys is mounted and writable here"
