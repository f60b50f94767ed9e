# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab as a program: nothing of it is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness import lab as harness
from harness.lab import running_lab
from mapxdp import netns, record
from mapxdp.datapath import bpffs
from mapxdp.errors import HostError, StateError
from mapxdp.lab import child, relay
from mapxdp.lab.run import built
from mapxdp.lab.topology import NODES, Lab
from mapxdp.model.domain import Mode

PREFIX = f"mxrun{os.getpid()}-"
LAB = Lab(PREFIX, Mode.MAP_T)


@contextmanager
def lab_command() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mapxdp", "lab", "--mode=map-t", f"--prefix={PREFIX}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"the lab ended without saying {words!r}")


def left_over() -> list[str]:
    namespaces = [name for name in map(LAB.netns, NODES) if (netns.DIRECTORY / name).exists()]
    files = [str(path) for path in record.DIRECTORY.glob(f"{PREFIX}*")]
    pins = map(bpffs.instance_directory, (LAB.instance, LAB.peer_instance))
    return [*namespaces, *files, *(str(path) for path in pins if path.exists())]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_cleanly(bpf: None, number: signal.Signals) -> None:
    with lab_command() as process:
        wait_for(process, "ping")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else 128 + number)
    assert left_over() == []


def test_what_a_killed_lab_left_is_removed(bpf: None) -> None:
    with lab_command() as process:
        wait_for(process, "ping")
        process.send_signal(signal.SIGKILL)
    assert left_over() != []
    with lab_command() as process:
        wait_for(process, "ping")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert left_over() == []


def test_two_at_once(bpf: None) -> None:
    with (
        running_lab("map-t") as running,
        pytest.raises(StateError, match=f"another lab runs with the prefix {harness.prefix()}"),
        built(running.lab, lambda _: None),
    ):
        pass


def test_a_child_that_dies_at_once(bpf: None) -> None:
    nowhere = LAB.netns("br")
    with (
        pytest.raises(HostError, match="the lab's BR has died"),
        relay.running(LAB.relay, nowhere, LAB.mtu),
    ):
        pass


def test_a_child_that_dies_later(bpf: None) -> None:
    with (
        child.running("the child", _ready_and_gone) as process,
        pytest.raises(HostError, match="the child has died"),
    ):
        process.ask("question")


def _ready_and_gone(connection: child.Connection) -> None:
    connection.send("ready")
