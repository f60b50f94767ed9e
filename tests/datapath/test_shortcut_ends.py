# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ends a shortcut: at once what closes or resets its connection, and with the tick whatever
else becomes of its mapping."""

from __future__ import annotations

import pytest

from harness import packets
from harness.established import HOOKS, accelerated, answer, ask, established
from harness.exchange import HIGH, SERVER, port_given, receive, send
from harness.loaded import LoadedCes
from mapxdp.model.accelerator import AcceleratorHook

pytestmark = [
    pytest.mark.parametrize("hook", HOOKS, ids=str),
    pytest.mark.parametrize("mode", ["map-t", "map-e"]),
]


@pytest.mark.parametrize("flag", [packets.RST, packets.FIN], ids=["RST", "FIN"])
def test_the_remote_ends_both_directions(
    flag: int, mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    ce = accelerated(loaded_ces, mode, hook)
    port = established(ce, "tcp")
    assert not answer(ce, port, "tcp", flag | packets.ACK)
    assert not ask(ce, "tcp")
    assert not answer(ce, port, "tcp")


@pytest.mark.parametrize("flag", [packets.RST, packets.FIN], ids=["RST", "FIN"])
def test_the_host_ends_both_directions(
    flag: int, mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    ce = accelerated(loaded_ces, mode, hook)
    port = established(ce, "tcp")
    assert not ask(ce, "tcp", flag | packets.ACK)
    assert not answer(ce, port, "tcp")


def test_a_reset_that_was_void_is_over(
    mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    """RFC 7857 section 2.2: what the host sends afterwards shows it, and has to be seen."""
    ce = accelerated(loaded_ces, mode, hook)
    port = established(ce, "tcp")
    answer(ce, port, "tcp", packets.RST)
    assert not ask(ce, "tcp")
    answer(ce, port, "tcp")
    assert ask(ce, "tcp")
    assert answer(ce, port, "tcp")


def test_a_released_port_is_seen_within_a_tick(
    mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    """By itself, too: the control plane ends all shortcuts besides."""
    ce = accelerated(loaded_ces, mode, hook)
    port = established(ce)
    (owner,) = (slot["owner"] for slot in ce.slots().values())
    ce.command("COMMAND_RELEASE_SLOT", ce.slot_index("UDP", port), owner)
    ce.advance(1)
    assert not receive(ce, port).packets
    assert not ask(ce)


def test_one_connection_leaves_others_alone(
    mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    ce = accelerated(loaded_ces, mode, hook)
    established(ce, "tcp")
    other = port_given(send(ce, "tcp", port=40001))
    receive(ce, other, "tcp")
    send(ce, "tcp", port=40001, flags=packets.ACK)
    receive(ce, other, "tcp", SERVER, HIGH, packets.RST)
    assert ask(ce, "tcp")
