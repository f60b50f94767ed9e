# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""RFC 7597 section 8.1, RFC 7599 section 8.2: also of a connection that has a shortcut, each packet
has to come from the IPv6 address that its IPv4 address and port belong to."""

from __future__ import annotations

import pytest

from harness import packets, traffic
from harness.domains import mesh
from harness.established import HOOKS
from harness.exchange import HIGH, lan_packet, port_given, receive
from harness.loaded import LoadedCes
from mapxdp.model.accelerator import AcceleratorHook

#: A host behind another CE of the mesh.
PEER = "203.0.113.50"
#: Octets of the IPv6 header: of the source's prefix, its EA bits, its interface identifier.
OF_THE_SOURCE = [8, 13, 23]


@pytest.mark.parametrize("hook", HOOKS, ids=str)
@pytest.mark.parametrize("mode", ["map-t", "map-e"])
@pytest.mark.parametrize("octet", OF_THE_SOURCE)
def test_a_forged_source_takes_no_shortcut(
    octet: int, mode: str, hook: AcceleratorHook, loaded_ces: LoadedCes
) -> None:
    ce = loaded_ces.get(mesh(mode), hook=hook)
    question = lan_packet(remote=PEER)
    port = port_given(ce.from_lan(question))
    for _ in range(3):
        receive(ce, port, remote=PEER)
        ce.from_lan(question)
    step = traffic.FromWan("udp", port, PEER, HIGH, packets.ACK, b"y", b"", 0, 0)
    answer = traffic.downstream_packet(ce.domain, step, port)
    before = ce.taken
    assert ce.from_wan(answer).packets
    assert ce.taken == before + 1
    forged = bytearray(answer)
    forged[octet] ^= 1
    assert not ce.from_wan(bytes(forged)).packets
    assert ce.taken == before + 1
