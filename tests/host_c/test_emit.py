# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is a packet whole or not there, whatever the kernel refuses while it is written?

``emit.c`` holds the programs as they are, over helpers that say their names and fail as told:
the one way to see a want of memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.host_c import flags
from mapxdp.reasons import Reason

#: For each mode's programs, what their emit functions take.
OUT = {
    "mapt.bpf.c": ("translation_46", "translation_64"),
    "mape.bpf.c": ("encapsulation_46", "decapsulation_64"),
}
#: What resizes a packet in the end. A kernel before 6.3 refuses to remove a tunnel at once.
RESIZING = {
    ("mapt.bpf.c", "46"): ["change_proto"],
    ("mapt.bpf.c", "64"): ["change_proto"],
    ("mape.bpf.c", "46"): ["adjust_room"],
    ("mape.bpf.c", "64"): ["change_proto", "adjust_room"],
}


@dataclass(frozen=True)
class Emitted:
    """The helpers that were called for a packet, and what became of it."""

    calls: list[str]
    reason: int


Emit = Callable[[str], dict[str, Emitted]]


@pytest.fixture(scope="module", params=OUT)
def programs(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def emit(programs: str, tmp_path_factory: pytest.TempPathFactory) -> Emit:
    """Writes a packet in each direction; one helper fails."""
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is missing: apt install gcc libc6-dev")
        pytest.skip("gcc is missing: apt install gcc libc6-dev")
    made = tmp_path_factory.mktemp("emit") / "emit"
    upstream, downstream = OUT[programs]
    done = subprocess.run(
        [
            *(compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *("-Wno-unused-variable", "-Wno-unused-parameter", "-DL2_LENGTH=14"),
            "-Wno-stringop-overflow",  # into maps, which are no variables of this size here
            *(f"-DPROGRAMS_OF=<{programs}>", *flags()),
            *(f"-DUPSTREAM_OUT={upstream}", f"-DDOWNSTREAM_OUT={downstream}"),
            *(Path(__file__).with_name("emit.c"), "-o", made),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr

    def run(failing: str) -> dict[str, Emitted]:
        done = subprocess.run([made, failing], capture_output=True, text=True, check=True)
        *lines, pulled = done.stdout.splitlines()
        assert pulled == "pulled 66", "the headers end at 34 + 32"
        found = {}
        for line in lines:
            direction, *calls, reason = line.split()
            found[direction] = Emitted(calls, int(reason))
        return found

    return run


@pytest.mark.parametrize("direction", ["46", "64"])
def test_the_head_is_made_writable_before_the_first_write(emit: Emit, direction: str) -> None:
    emitted = emit("")[direction]
    assert emitted.reason == Reason.TRANSLATED.number
    assert emitted.calls[0] == "pull_data"
    assert emitted.calls.count("pull_data") == 1
    assert {"store_bytes", "l4_csum_replace"} <= set(emitted.calls)


@pytest.mark.parametrize("direction", ["46", "64"])
def test_a_packet_that_cannot_be_written_is_left_whole(emit: Emit, direction: str) -> None:
    emitted = emit("pull_data")[direction]
    assert emitted == Emitted(["pull_data"], Reason.KERNEL_REFUSED.number)


@pytest.mark.parametrize("direction", ["46", "64"])
def test_a_packet_that_cannot_be_resized_ends_there(
    emit: Emit, programs: str, direction: str
) -> None:
    for helper in RESIZING[programs, direction]:
        emitted = emit(f"remove_tunnel {helper}")[direction]
        assert emitted.calls[-1] == helper
        assert emitted.reason == Reason.KERNEL_REFUSED.number


@pytest.mark.parametrize("programs", ["mape.bpf.c"], indirect=True)
def test_a_tunnel_header_is_removed_at_once_where_the_kernel_can(emit: Emit) -> None:
    at_once, piecemeal = emit("")["64"], emit("remove_tunnel")["64"]
    assert at_once.calls.count("remove_tunnel") == 1
    assert not {"change_proto", "adjust_room"} & set(at_once.calls)
    assert {"change_proto", "adjust_room"} <= set(piecemeal.calls)
    assert at_once.reason == piecemeal.reason == Reason.TRANSLATED.number
