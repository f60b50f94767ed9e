# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``up`` as a program that kills itself before its N-th step: ``python -m harness.killed N …``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from harness import steps
from mapxdp import ce


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
    numbers = count(1)

    def die(_: str) -> None:
        if next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with steps.watched(die):
        ce.up(config, namespace, print)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
