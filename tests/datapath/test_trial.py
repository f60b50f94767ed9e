# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A program that sends copies: all of them are seen, in their order, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.ce import ETHERNET, LoadedCe
from harness.domains import domain
from harness.exchange import lan_packet
from mapxdp.datapath import libbpf, tables
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.trial import TrialLink
from mapxdp.errors import HostError
from mapxdp.reasons import Reason

#: Sends copies, each with its number in the first octet of the packet, then ends.
_COPIES = """
#include "portable.h"

static long (*clone_redirect)(struct __sk_buff *skb, __u32 ifindex, __u64 flags) =
	(void *)BPF_FUNC_clone_redirect;

int copies(struct __sk_buff *skb)
{
	for (__u32 i = 0; i < 6; i++) {
		__u8 number = i;

		kernel_skb_store_bytes(skb, 14, &number, 1, 0);
		clone_redirect(skb, skb->ifindex, i % 3 == 2 ? BPF_F_INGRESS : 0);
	}
	return VERDICT;
}
"""
SHOT = 2


def loaded(verdict: int) -> int:
    contract = tables.contract_for(domain("map-t").port_set)
    text = _COPIES.replace("VERDICT", str(verdict))
    bytecode = compile_text(text, ["copies"], contract, 14, {})
    return libbpf.load_program("copies", bytecode["copies"]).fd


@pytest.fixture(scope="module")
def copies(bpf: None) -> Iterator[int]:
    fd = loaded(SHOT)
    yield fd
    os.close(fd)


def numbers(frames: tuple[bytes, ...]) -> list[int]:
    return [frame[14] for frame in frames]


@pytest.mark.parametrize("length", [1, 19, 46, 1500, 3600, 9000, 16000])
def test_copies_in_both_directions(length: int, copies: int, trial_link: TrialLink) -> None:
    frame = ETHERNET + b"\x08\x00" + bytes(range(256)) * (length // 256) + bytes(length % 256)
    trial = trial_link.run(copies, frame)
    assert trial.verdict == SHOT
    assert numbers(trial.transmitted) == [0, 1, 3, 4]
    assert numbers(trial.received) == [2, 5]
    for copy in (*trial.transmitted, *trial.received, trial.frame):
        assert copy[:14] + copy[15:] == frame[:14] + frame[15:]


def test_a_frame_that_the_kernel_does_not_make(copies: int, trial_link: TrialLink) -> None:
    with pytest.raises(HostError, match="makes no packet of 60014 octets"):
        trial_link.run(copies, ETHERNET + b"\x08\x00" + bytes(60000))


def test_runs_do_not_mix(copies: int, trial_link: TrialLink) -> None:
    """Whatever the kernel still had to do for one is done before the next."""
    for number in range(50):
        trial = trial_link.run(copies, ETHERNET + b"\x08\x00" + bytes([0, number]) * 30)
        assert {copy[15] for copy in (*trial.transmitted, *trial.received)} == {number}
        assert len(trial.transmitted + trial.received) == 6


def test_this_threads_namespace_and_cpus_are_as_they_were(
    copies: int, trial_link: TrialLink
) -> None:
    before = Path("/proc/thread-self/ns/net").readlink(), os.sched_getaffinity(0)
    trial_link.run(copies, ETHERNET + b"\x08\x00" + bytes(46))
    assert (Path("/proc/thread-self/ns/net").readlink(), os.sched_getaffinity(0)) == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_namespace_goes_with_the_link(bpf: None) -> None:
    """It has no name: nothing but these files keeps it."""
    before = open_files()
    with TrialLink():
        assert open_files() > before
    assert open_files() == before


def test_a_ce_on_a_link_does_as_one_without(ce: LoadedCe, trial_link: TrialLink) -> None:
    packet = lan_packet()
    without = ce.from_lan(packet)
    ce.link = trial_link
    assert ce.from_lan(packet) == without
    assert without.reason is Reason.TRANSLATED
    assert ce.from_lan(packet[:8]).reason is Reason.MALFORMED_IPV4
