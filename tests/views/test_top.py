# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The live view's frames, rendered at fixed sizes: whole, small, and very small."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from harness import snapshots
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import hosts_of, pool_of
from mapxdp.snapshot import rates
from mapxdp.views.top import HISTORY, Top, to_json


def frame(top: Top, width: int = 80, height: int = 24) -> list[str]:
    console = Console(
        width=width, height=height, file=io.StringIO(), color_system=None, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(top)
    return [line.rstrip() for line in capture.get().splitlines()]


def busy() -> Top:
    top = Top(snapshots.busy(0))
    for second in range(1, 8):
        top.add(snapshots.busy(second))
    return top


def test_whole_frame() -> None:
    assert frame(busy()) == [
        "mapxdp home  MAP-T on eth1  up 1d 02:03:11",
        "192.0.2.18  PSID 52  2001:db8:12:3400:0:c000:212:34",
        "─" * 80,
        "LAN → WAN     1 kpacket/s    800 kbit/s  ███████",
        "WAN → LAN     2 kpacket/s     20 Mbit/s  ███████",
        "─" * 80,
        "                                  in use  own  shared  forward  most",
        "TCP ports   █████████████░░░  201 of 252  150      50        1   240",
        "UDP ports   ██░░░░░░░░░░░░░░   30 of 252   30       0        0   240",
        "ICMP ports  █░░░░░░░░░░░░░░░    1 of 252    1       0        0   240",
        "new mappings  5/s   flows on shared ports  120 of 16384, most 2400",
        "─" * 80,
        "dropped so far                                        LAN hosts        own flows",
        "no mapping: nothing on the LAN uses this port 1.23 k  192.168.1.3       31   120",
        "every port of the set is in use                   12  192.168.1.2      150     0",
        "q quits",
    ]


def test_refused_hosts_are_shown_once_there_are_any() -> None:
    """One that uses nothing is known by the end of its address only."""
    lines = frame(Top(snapshots.busy(0, refusals=True)))
    assert lines[12].endswith("LAN hosts        own flows refused")
    assert lines[15].endswith("*.1.9              0     0      77")


def test_a_tall_terminal_shows_the_ranges() -> None:
    lines = frame(busy(), height=34)
    assert [line for line in lines if " ranges" in line] == [
        "TCP ranges  " + "█" * 50 + "▃" + "·" * 12,
        "UDP ranges  " + "█" * 7 + "▅" + "·" * 55,
        "ICMP ranges " + "▃" + "·" * 62,
    ]


def test_ranges_share_a_bar_where_they_are_many() -> None:
    lines = frame(busy(), width=40, height=34)
    assert next(line for line in lines if "TCP ranges" in line).endswith("█" * 16 + "▆" + "·" * 4)


def test_unknown_limits_are_left_out() -> None:
    """The software datapath keeps no high-water mark and has no table of flows."""
    mappings = snapshots.busy().mappings
    bare = dataclasses.replace(snapshots.busy(), pool=pool_of(mappings), hosts=hosts_of(mappings))
    lines = frame(Top(bare))
    assert "TCP ports   █████████████░░░  201 of 252  150      50        1" in lines
    assert "new mappings  0/s   flows on shared ports  120" in lines
    assert to_json(Top(bare))["flows"]["capacity"] is None


def test_hosts_the_datapath_does_not_tell_apart() -> None:
    """They share a limit, so they share a line: named for the busiest."""
    ours = snapshots.mapping(Protocol.UDP, 5, snapshots.PORTS[0])
    others = [ours._replace(host=ours.host + 4096, port=port) for port in snapshots.PORTS[1:4]]
    lines = frame(Top(snapshots.snapshot(mappings=(ours, *others))))
    assert any("192.168.17.5 +1    4     0" in line for line in lines)


def test_expired_mappings_are_not_in_use() -> None:
    assert not any("192.168.1.4" in line for line in frame(busy()))


def test_network_namespace_is_named() -> None:
    assert "on eth1 in lab-ce" in frame(Top(snapshots.snapshot(netns="lab-ce")))[0]


def test_nothing_happened_yet() -> None:
    lines = frame(Top(snapshots.snapshot()))
    assert any("nothing" in line for line in lines)
    assert any("0 of 252" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 20), (40, 16), (200, 60), (20, 8)])
def test_frames_fit(width: int, height: int) -> None:
    """No line is longer than the terminal; down to 80 by 24 nothing is cut from below."""
    lines = frame(busy(), width, height)
    assert all(len(line) <= width for line in lines)
    if height >= 15:
        assert len(lines) <= height


def test_drops_fill_the_room_there_is() -> None:
    assert len(frame(busy(), height=15)) == 15
    assert len(frame(busy(), height=29)) == 16


def test_history_keeps_a_minute() -> None:
    top = Top(snapshots.busy(0))
    for second in range(1, 100):
        top.add(snapshots.busy(second))
    assert len(top.upstream) == HISTORY


def test_rates() -> None:
    between = rates(snapshots.busy(1), snapshots.busy(3))
    assert between.upstream_packets == 1000
    assert between.downstream_bits == 2000 * 1250 * 8
    assert between.new_mappings == 5


def test_rates_of_no_time_and_of_counters_that_began_anew() -> None:
    same = snapshots.busy(1)
    assert rates(same, same).upstream_packets == 0
    assert rates(snapshots.busy(9), snapshots.snapshot(10)).upstream_packets == 0


def test_json() -> None:
    data = json.loads(json.dumps(to_json(busy())))
    ranges = data["ports"]["tcp"].pop("ranges")
    assert ranges[0] == [1232, 1235, 4]
    assert sum(used for _, _, used in ranges) == 201
    assert data["ports"]["tcp"] == {
        "used": 201,
        "usable": 252,
        "own": 150,
        "shared": 50,
        "forwards": 1,
        "taken": 0,
        "high_water": 240,
    }
    assert data["flows"] == {"used": 120, "taken": 0, "capacity": 16384, "high_water": 2400}
    assert data["downstream"] == {"packets_per_second": 2000.0, "bits_per_second": 20000000}
    assert data["drops"] == {"NO_MAPPING": 1234, "PORTS_EXHAUSTED": 12}
    assert data["hosts"] == [
        {"host": "192.168.1.3", "others": 0, "ports": 31, "flows": 120, "refused": 0},
        {"host": "192.168.1.2", "others": 0, "ports": 150, "flows": 0, "refused": 0},
    ]
    assert (data["name"], data["mode"], data["psid"]) == ("home", "map-t", 52)
