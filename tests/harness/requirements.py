"""What a machine needs for the tests that load BPF programs."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec

_FIRST_WITH_LIVE_FRAMES = (5, 18)


def missing_for_bpf() -> str | None:
    """Why BPF tests cannot run here; None where they can."""
    if os.geteuid() != 0:
        return "BPF programs are loaded by root only: run tools/test with sudo"
    if find_spec("bcc") is None:
        return "bcc is missing: apt install python3-bpfcc"
    return None


def missing_for_live_frames() -> str | None:
    """Why benchmarks cannot run here; None where they can."""
    missing = missing_for_bpf()
    if missing is not None:
        return missing
    if shutil.which("nft") is None:
        return "nft is missing: apt install nftables"
    release = os.uname().release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < _FIRST_WITH_LIVE_FRAMES:
        return f"kernel {release} cannot run XDP on live frames: Linux 5.18 is the first that can"
    return None
