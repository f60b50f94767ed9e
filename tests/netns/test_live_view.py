# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp top`` on a terminal: drawn, resized, and quit with q."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

from harness.router import Router
from mapxdp import cli


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_for(fd: int, seconds: float) -> str:
    """What the program draws within some seconds."""
    drawn, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([fd], [], [], left)
        if readable:
            try:
                drawn += os.read(fd, 65536)
            except OSError:  # the other end is closed
                break
    return drawn.decode(errors="replace")


def test_top_on_a_terminal(cpe: Router) -> None:
    cpe.up()
    ours, theirs = pty.openpty()
    resize(ours, 24, 80)
    process = subprocess.Popen(
        [sys.executable, "-m", "mapxdp", "top", cpe.name],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    )
    os.close(theirs)
    try:
        assert "TCP ports" in read_for(ours, 3)
        resize(ours, 10, 40)
        assert "TCP ports" in read_for(ours, 2)
        os.write(ours, b"q")
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


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
