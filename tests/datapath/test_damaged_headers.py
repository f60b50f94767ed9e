# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""RFC 1812 section 5.2.2: the accelerator leaves IPv4 headers with a wrong checksum to the kernel,
which discards them. Translated, they would be right again."""

from __future__ import annotations

import pytest

from harness import traffic
from harness.established import HOOKS, accelerated, established
from harness.exchange import HIGH, SERVER, lan_packet, receive
from harness.loaded import LoadedCes
from mapxdp.model.accelerator import AcceleratorHook

#: Octets of an IPv4 header that no program looks at: TOS, identification, checksum.
UNSEEN = [1, 4, 5, 10, 11]


def damaged(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ 0x04]) + packet[at + 1 :]


@pytest.mark.parametrize("hook", HOOKS, ids=str)
@pytest.mark.parametrize("mode", ["map-t", "map-e"])
@pytest.mark.parametrize("octet", UNSEEN)
def test_from_the_lan(octet: int, mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes) -> None:
    ce = accelerated(loaded_ces, mode, hook)
    established(ce)
    taken = ce.taken
    ce.from_lan(damaged(lan_packet(), octet))
    assert ce.taken == taken
    ce.from_lan(lan_packet())
    assert ce.taken == taken + 1


@pytest.mark.parametrize("hook", HOOKS, ids=str)
@pytest.mark.parametrize("octet", UNSEEN)
def test_from_the_tunnel(octet: int, hook: AcceleratorHook, loaded_ces: LoadedCes) -> None:
    ce = accelerated(loaded_ces, "map-e", hook)
    port = established(ce)
    taken = ce.taken
    step = traffic.FromWan("udp", port, SERVER, HIGH, 0, b"y", b"", 0, 0)
    ce.from_wan(damaged(traffic.downstream_packet(ce.domain, step, port), 40 + octet))
    assert ce.taken == taken
    receive(ce, port)
    assert ce.taken == taken + 1
