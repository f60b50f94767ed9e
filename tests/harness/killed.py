"""``up`` as a program that kills itself before its N-th step: ``python -m harness.killed N …``.

A step is whatever changes something outside of the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mapxdp import ce, host
from mapxdp.bringup import software
from mapxdp.datapath import bpffs, libbpf
from mapxdp.links import Links
from mapxdp.record import Record

STEPS: tuple[tuple[Any, str], ...] = (
    (Links, "_request"),
    (Record, "save"),
    (libbpf, "pin"),
    (bpffs, "make_current"),
    (bpffs, "remove_run"),
    (Path, "symlink_to"),
    (host, "set_sysctl"),
    (software.daemon, "start"),
    (software.daemon, "stop"),
)
#: Of the pins these will do: the first, one in the middle that matters, and the last.
PINS = ("slots", "programs", "downstream")


def killed_up(step: int, config: Path, namespace: str) -> bool:
    """Runs ``up`` until its ``step``-th step; False if it ended before."""
    command = [sys.executable, "-m", "harness.killed", str(step), str(config), namespace]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def main(step: int, config: Path, namespace: str) -> None:
    taken = 0

    def counting(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step_or_die(*arguments: Any, **parameters: Any) -> Any:
            nonlocal taken
            taken += name != "pin" or arguments[1].name in PINS
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **parameters)

        return step_or_die

    for owner, name in STEPS:
        setattr(owner, name, counting(getattr(owner, name), name))
    ce.up(config, namespace, print)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
