# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reading a ring buffer that a program fills while we look."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mapxdp.contract import read_contract
from mapxdp.datapath import libbpf, ringbuf
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.ringbuf import RingBuffer

#: Writes each packet's first 8 octets of payload into the buffer; says if there was no room.
PROGRAM = """
#include "portable.h"
HELPER(long, output, BPF_FUNC_ringbuf_output, void *map, void *data, __u64 size, __u64 flags);

int fill(struct __sk_buff *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u64 value;

	if (data + 22 > end)
		return 2;
	value = *(__u64 *)(data + 14);
	return output(MAP(events), &value, sizeof(value), 0) ? 1 : 0;
}
"""


class Writer:
    def __init__(self) -> None:
        contract = read_contract(
            SLOTS=64,
            EIM_ENTRIES=64,
            FLOWS=64,
            PERMISSIONS=64,
            EVENT_BYTES=1 << 16,
            RULES=16,
            TREE_NODES=1,
            SHORTCUTS=4,
        )
        self.maps = MapSet(contract)
        self.maps.create(["events"])
        code = compile_text(PROGRAM, ["fill"], contract, 14, {"events": self.maps.fds["events"]})
        self.program = libbpf.load_program("fill", code["fill"])

    def write(self, value: int) -> bool:
        """False if the buffer is full."""
        frame = bytes(14) + value.to_bytes(8, "little") + bytes(40)
        return libbpf.run_program(self.program.fd, frame).verdict == 0


@pytest.fixture(scope="module")
def loaded(bpf: None) -> Iterator[Writer]:
    writer = Writer()
    yield writer
    os.close(writer.program.fd)
    writer.maps.close()


@pytest.fixture
def ring(loaded: Writer) -> Iterator[RingBuffer]:
    """Empty to begin with."""
    with RingBuffer(loaded.maps.fds["events"]) as opened:
        while opened.read():
            pass
        yield opened


def numbers(samples: list[bytes]) -> list[int]:
    return [int.from_bytes(sample, "little") for sample in samples]


def test_nothing_there(ring: RingBuffer) -> None:
    before = time.monotonic()
    assert ring.read() == []
    assert not ring.wait(0.05)
    assert 0.04 < time.monotonic() - before < 5


def test_what_was_written_is_read_once_in_order(loaded: Writer, ring: RingBuffer) -> None:
    for number in range(50):
        assert loaded.write(number)
    assert ring.wait(5)
    assert numbers(ring.read()) == list(range(50))
    assert ring.read() == []


def test_the_buffer_wraps(loaded: Writer, ring: RingBuffer) -> None:
    """64 KiB hold 4096 records of 16 octets: three rounds."""
    for number in range(12_000):
        assert loaded.write(number)
        if number % 1000 == 999:
            assert numbers(ring.read()) == list(range(number - 999, number + 1))


def test_a_batch_is_bounded(loaded: Writer, ring: RingBuffer) -> None:
    written = 0
    while loaded.write(written):
        written += 1
    assert written > 3 * ringbuf.BATCH
    found: list[int] = []
    while samples := ring.read():
        assert len(samples) <= ringbuf.BATCH
        found += numbers(samples)
    assert found == list(range(written))


def test_a_full_buffer_keeps_the_oldest_and_recovers(loaded: Writer, ring: RingBuffer) -> None:
    while loaded.write(1):
        pass
    assert not loaded.write(2)
    while ring.read():
        pass
    assert loaded.write(3)
    assert numbers(ring.read()) == [3]


def test_a_waiting_reader_wakes_up(loaded: Writer, ring: RingBuffer) -> None:
    timer = threading.Timer(0.1, lambda: loaded.write(9))
    timer.start()
    assert ring.wait(10)
    timer.join()
    assert numbers(ring.read()) == [9]


def test_another_reader_goes_on_where_one_ended(loaded: Writer, ring: RingBuffer) -> None:
    loaded.write(1)
    assert numbers(ring.read()) == [1]
    ring.close()
    ring.close()
    loaded.write(2)
    with RingBuffer(loaded.maps.fds["events"]) as other:
        assert numbers(other.read()) == [2]


class Interrupting(list[bytes]):
    """Ctrl-C is pressed whenever a sample arrives.

    The signal is for this thread, the only one of mapxdp: tests may have others beside it.
    """

    def append(self, sample: bytes) -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        super().append(sample)


def test_ctrl_c_while_reading_is_not_lost(loaded: Writer, ring: RingBuffer) -> None:
    """It comes from within the callback at the worst possible moment, and ends the read."""
    loaded.write(1)
    loaded.write(2)
    ring._samples = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        ring.read()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT}


def test_something_else_than_a_ring_buffer(bpf: None) -> None:
    sizes = {"SLOTS": 64, "EIM_ENTRIES": 64, "FLOWS": 64, "PERMISSIONS": 64, "RULES": 1}
    contract = read_contract(**sizes, EVENT_BYTES=1 << 16, TREE_NODES=1, SHORTCUTS=4)
    with MapSet(contract) as maps:
        maps.create(["pool"])
        with pytest.raises(OSError, match="ring buffer"):
            RingBuffer(maps.fds["pool"])
