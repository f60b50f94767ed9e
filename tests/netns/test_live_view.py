# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp top`` on a terminal: drawn, resized, quit with q, and ended when the CE is gone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from harness.router import CONFIG, Router
from harness.waiting import is_readable
from mapxdp import ce, cli, record, snapshot
from mapxdp.datapath import instance
from mapxdp.errors import StateError
from mapxdp.software import daemon

SOFTWARE = CONFIG.replace('mode = "map-t"', 'mode = "map-t"\ndatapath = "software"')


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_for(fd: int, seconds: float) -> str:
    """What the program draws within some seconds."""
    drawn, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if is_readable(fd, left):
            try:
                drawn += os.read(fd, 65536)
            except OSError:  # the other end is closed
                break
    return drawn.decode(errors="replace")


@contextmanager
def top_on_a_terminal(name: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The running command, and the other end of its terminal."""
    ours, theirs = pty.openpty()
    resize(ours, 24, 80)
    process = subprocess.Popen(
        [sys.executable, "-m", "mapxdp", "top", name],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    )
    os.close(theirs)
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_top_on_a_terminal(cpe: Router) -> None:
    cpe.up()
    with top_on_a_terminal(cpe.name) as (terminal, process):
        assert "TCP ports" in read_for(terminal, 3)
        resize(terminal, 10, 40)
        assert "TCP ports" in read_for(terminal, 2)
        os.write(terminal, b"q")
        assert process.wait(5) == 0


@pytest.mark.parametrize("config", [CONFIG, SOFTWARE], ids=["tc", "software"])
def test_top_ends_when_there_is_nothing_to_show(config: str, cpe: Router) -> None:
    cpe.write_config(config)
    cpe.up()
    with top_on_a_terminal(cpe.name) as (terminal, process):
        assert "TCP ports" in read_for(terminal, 3)
        ce.down(cpe.name, lambda _: None)
        assert f"{cpe.name} is no longer running" in read_for(terminal, 3)
        assert process.wait(5) == StateError.exit_code


def test_top_ends_when_the_process_is_killed(
    cpe: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    cpe.write_config(SOFTWARE)
    cpe.up()
    time.sleep(0.5)
    running = record.load(cpe.name)
    assert running is not None
    assert running.process is not None
    with snapshot.watching(cpe.name) as take:
        assert not take().process_ended
        os.kill(running.process, signal.SIGKILL)
        while daemon.is_running(running.process):
            time.sleep(0.01)
        assert take().process_ended
    assert cli.main(["top", cpe.name, "--once"]) == StateError.exit_code
    said = f"{cpe.name} is no longer running: process {running.process} has ended"
    assert said in capsys.readouterr().err
    # The last words are still to be had, with what is wrong beside them.
    assert cli.main(["status", cpe.name]) == 1
    assert "✗ process" in capsys.readouterr().out
    ce.down(cpe.name, lambda _: None)
    assert list(record.DIRECTORY.glob(f"{cpe.name}.*.state")) == []


def test_views_follow_a_ce_that_is_brought_up_anew(cpe: Router) -> None:
    """Other maps with other numbers of entries, and a process in place of another."""
    cpe.up()
    other_set = CONFIG.replace("2001:db8::/40", "2001:db8::/42").replace("= 16", "= 14")
    with snapshot.watching(cpe.name) as take:
        assert take().usable_ports == 252
        cpe.write_config(other_set)
        cpe.up()
        assert take().usable_ports == 1008
        ce.down(cpe.name, lambda _: None)
        with pytest.raises(StateError, match="no longer running"):
            take()
        cpe.write_config()
        cpe.up()
        assert take().usable_ports == 252
        instance.remove(cpe.name)
        with pytest.raises(StateError, match="is not pinned"):
            take()


def test_views_follow_a_process_that_takes_over(cpe: Router) -> None:
    """All the time there is one of them to look at."""
    cpe.write_config(SOFTWARE)
    cpe.up()
    time.sleep(0.5)
    seen, stop = set(), threading.Event()

    def look() -> None:
        with snapshot.watching(cpe.name) as take:
            while not stop.is_set():
                now = take()
                assert not now.process_ended
                seen.add(now.record.process)
                time.sleep(0.01)

    with ThreadPoolExecutor(1) as executor:
        looking = executor.submit(look)
        try:
            cpe.up()
            time.sleep(1.5)
        finally:
            stop.set()
        looking.result()
    assert len(seen) == 2


def test_one_frame_and_json(cpe: Router, capsys: pytest.CaptureFixture[str]) -> None:
    cpe.up()
    assert cli.main(["top", cpe.name, "--once"]) == 0
    assert "0 of 252" in capsys.readouterr().out
    assert cli.main(["top", cpe.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ports"]["tcp"]["usable"] == 252
    assert cli.main(["status", cpe.name]) == 0
    assert "✓ TC egress of wan" in capsys.readouterr().out


def test_status_says_what_is_missing(cpe: Router, capsys: pytest.CaptureFixture[str]) -> None:
    cpe.up()
    cpe.ip("route del default")
    assert cli.main(["status", cpe.name]) == 1
    assert "✗ IPv4 default route: missing; mapxdp up -c" in capsys.readouterr().out
