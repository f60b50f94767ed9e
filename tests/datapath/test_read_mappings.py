# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the views read of a datapath: the mappings that the software path would have made."""

from __future__ import annotations

import pytest

from harness import packets
from harness.domains import RULES, domain
from harness.follower import Follower
from harness.loaded import LoadedCes
from harness.packets import SERVER
from harness.policies import NO_LIMIT, policy
from mapxdp.contract import Struct
from mapxdp.datapath import observe

HOSTS = ("192.168.1.2", "192.168.1.3")


def fill(follower: Follower, each: int) -> None:
    """``each`` mappings for each protocol, of two hosts, of several ages and lifetimes."""
    for number in range(each):
        host, port = HOSTS[number % 2], 40000 + number
        udp = packets.udp(host, SERVER, port, 53, b"x")
        follower.from_lan(packets.ipv4(udp, packets.UDP, host))
        tcp = packets.tcp(host, SERVER, port, 80, flags=packets.SYN)
        follower.from_lan(packets.ipv4(tcp, packets.TCP, host))
        follower.from_lan(packets.ipv4(packets.echo(port), packets.ICMP, host))


@pytest.mark.parametrize("count", [63, 252, 1008])
def test_mappings_are_those_of_the_software_path(count: int, loaded_ces: LoadedCes) -> None:
    """All but the time since the last packet: the clock of the test stands still."""
    unlimited = policy(host_ports_min=NO_LIMIT)
    follower = Follower(loaded_ces.get(domain("map-t", RULES[count]), policy=unlimited))
    fill(follower, 50)
    found = {mapping._replace(idle=0, age=0) for mapping in observe.read_mappings(follower.ce.maps)}
    expected = {mapping._replace(idle=0, age=0) for mapping in follower.software.napt44.mappings()}
    assert len(found) == 150
    assert found == expected


def test_the_layout_is_not_asked_for_each_mapping(
    loaded_ces: LoadedCes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of 2048 ports is read each second: what does not depend on the slot is done once."""
    follower = Follower(loaded_ces.get(domain("map-t", RULES[252])))
    calls = 0

    def counted(self: Struct, data: bytes) -> dict[str, object]:
        nonlocal calls
        calls += 1
        return original(self, data)

    original = Struct.unpack
    monkeypatch.setattr(Struct, "unpack", counted)
    seen = []
    for more in (2, 50):
        fill(follower, more)
        calls = 0
        observe.read_mappings(follower.ce.maps)
        seen.append(calls)
    assert seen[0] == seen[1]
