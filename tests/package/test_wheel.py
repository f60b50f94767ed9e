# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``pip install .`` into a clean virtual environment gives a working ``mapxdp``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.router import Router, router

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a virtual environment with nothing but mapxdp installed."""
    directory = tmp_path_factory.mktemp("clean")
    commands = (
        [SYSTEM_PYTHON, "-m", "venv", "--system-site-packages", directory / "venv"],
        [directory / "venv/bin/pip", "install", "-q", ROOT],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    return directory / "venv" / "bin"


def run(installed: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [installed / "mapxdp", *arguments], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_c_text_is_inside(installed: Path) -> None:
    where = subprocess.run(
        [installed / "python", "-c", "import mapxdp.bpf_source as s; print(s.bpf_directory())"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    ).stdout.strip()
    directory = Path(where)
    assert directory.name == "_bpf"
    for path in (ROOT / "bpf").rglob("*"):
        if path.is_file():
            copy = directory / path.relative_to(ROOT / "bpf")
            assert copy.read_bytes() == path.read_bytes()


def test_calc(installed: Path) -> None:
    result = run(
        installed,
        "calc",
        "--json",
        "--mode=map-t",
        "--end-user-prefix=2001:db8:12:3400::/56",
        "--rule=2001:db8::/40,192.0.2.0/24,16",
        "--dmr=2001:db8:ffff::/64",
    )
    assert json.loads(result)["psid"] == 52


def test_up_and_down(bpf: None, installed: Path, tmp_path: Path) -> None:
    cpe: Router
    with router(tmp_path, "w") as cpe:
        run(installed, "up", "-c", cpe.config, "--netns", cpe.name)
        status = json.loads(run(installed, "status", cpe.name, "--json"))
        assert status["mode"] == "map-t"
        assert [entry["problem"] for entry in status["health"] if entry["problem"]] == []
        run(installed, "down", cpe.name)
