"""What a machine needs for the tests that load BPF programs."""

from __future__ import annotations

import os
from importlib.util import find_spec


def missing_for_bpf() -> str | None:
    """Why BPF tests cannot run here; None where they can."""
    if os.geteuid() != 0:
        return "BPF programs are loaded by root only: run tools/test with sudo"
    if find_spec("bcc") is None:
        return "bcc is missing: apt install python3-bpfcc"
    return None
