# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The benchmarks run, count what they say they count, and leave nothing behind.

How fast anything is, is not tested: the machines that run tests are shared.
"""

from __future__ import annotations

import os

import pytest

from benchmarks import cost, load, napt, pps, scale, setup, tcp
from benchmarks.measure import Effort
from benchmarks.pps import drops, two_cpus
from benchmarks.report import Report
from harness.requirements import missing_for_live_frames
from mapxdp import netns


@pytest.fixture
def live_frames(bpf: None) -> None:
    reason = missing_for_live_frames()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"benchmarks may not be skipped in CI, but {reason}")
    pytest.skip(reason)


def test_napt(live_frames: None) -> None:
    """Each part checks that every frame came through, and began a mapping where it should."""
    report = Report("napt, tiny", echo=False)
    napt.run(Effort.tiny(), report)
    data = report.data()
    titles = [table["title"] for table in data["tables"]]
    assert titles[0] == "Memory"
    assert len([title for title in titles if title.startswith("New mappings")]) == 2
    assert len([title for title in titles if title.startswith("Times masquerade's")]) == 2
    assert "Established mappings" in titles
    assert titles[-1] == "Flood of refused packets"
    ours = f"mxbench{os.getpid()}-"
    assert not [path for path in netns.DIRECTORY.glob("*") if path.name.startswith(ours)]


def test_scale(live_frames: None) -> None:
    """Every frame came through: by a rule where there are some, of few ports, and of many flows."""
    report = Report("scale, tiny", echo=False)
    scale.run(Effort.tiny(), report)
    rules, mesh, ports, flows = (table["rows"] for table in report.data()["tables"])
    assert [row["FMRs"] for row in rules] == [0, 1, 100, 1000, 10_000, 10_000]
    assert all({"ns", "x without FMRs", "x one FMR"} <= row.keys() for row in rules)
    assert [row["destinations"] for row in mesh] == 6 * [64, 8192]
    assert [row["ports"] for row in ports] == [240, 65536]
    assert [row["flows"] for row in flows] == [1, 512]


def test_pps(live_frames: None) -> None:
    """Every variant forwards, in both directions, and leaves nothing behind."""
    report = Report("pps, tiny", echo=False)
    pps.run(Effort.tiny(), report)
    tables = report.data()["tables"]
    assert [table["title"] for table in tables] == [
        f"{count} connections, {direction}stream"
        for count in (1, 16)
        for direction in ("up", "down")
    ]
    for table in tables:
        names = [row["variant"] for row in table["rows"]]
        assert names[:3] == ["plain forwarding", "nft masquerade", "bare XDP"]
        assert len(names) == 9
        assert all("ns" in row for row in table["rows"])
    ours = f"mxpps{os.getpid()}-"
    assert not [path for path in netns.DIRECTORY.glob("*") if path.name.startswith(ours)]


def test_two_cpus(live_frames: None) -> None:
    """Every variant forwards on both, connections of their own and one that they share."""
    report = Report("cpus, tiny", echo=False)
    two_cpus.run(Effort.tiny(), report)
    rows = report.data()["tables"][0]["rows"]
    assert len(rows) == 5 * 2 * 2
    assert {row["connections"] for row in rows} == {"own", "the same"}


def test_drops(live_frames: None) -> None:
    """Each kind of frame is dropped for the reason in its row, or the benchmark says so."""
    report = Report("drops, tiny", echo=False)
    drops.run(Effort.tiny(), report)
    rows = report.data()["tables"][0]["rows"]
    assert {"PORT_OUTSIDE_SET", "NO_MAPPING"} <= {row["reason"] for row in rows}
    assert [row["mode"] for row in rows] == ["map-t"] * 9 + ["map-e"] * 11


def test_cost(live_frames: None) -> None:
    """Packets went on in both directions of both modes, whatever took them."""
    report = Report("cost, tiny", echo=False)
    cost.run(Effort.tiny(), report)
    rows = report.data()["tables"][0]["rows"]
    assert [(row["mode"], row["accelerator"], row["way"]) for row in rows] == [
        ("map-t", accelerator, way)
        for accelerator in ("off", "tc", "xdp")
        for way in ("up", "down")
    ]
    assert all(row["verified"] > 1000 and row["jited"] > 1000 for row in rows)


def test_load(live_frames: None) -> None:
    """Packets cross a CE that is changed meanwhile; those that cannot are counted as lost."""
    report = Report("load, tiny", echo=False)
    load.run(Effort.tiny(), report)
    starts, changes = (table["rows"] for table in report.data()["tables"])
    assert [row["from"] for row in starts] == ["bytecode on disk", "bytecode in memory"] * 2
    assert [row["change"] for row in changes] == ["up", "reload", "down, then up"] * 2
    assert all(row["sent up"] > 100 and row["sent down"] > 100 for row in changes)
    assert all(row["lost up"] + row["lost down"] for row in changes[2::3])
    kept = [row for row in changes if row["change"] != "down, then up"]
    assert all(
        2 * row[f"lost {way}"] < row[f"sent {way}"] for row in kept for way in ("up", "down")
    )


def test_tcp(bpf: None) -> None:
    """Connections carry octets both ways, through everything."""
    report = Report("tcp, tiny", echo=False)
    tcp.run(Effort.tiny(), report)
    tables = report.data()["tables"]
    assert len(tables) == 4
    for table in tables:
        names = [row["variant"] for row in table["rows"]]
        assert names == [
            "plain forwarding",
            "nft masquerade",
            "plain forwarding of IPv6",
            "mapxdp map-t",
            "mapxdp map-e",
        ]
        assert all(row["Gbit/s"]["low"] > 0 for row in table["rows"])
    ours = f"mxtcp{os.getpid()}-"
    assert not [path for path in netns.DIRECTORY.glob("*") if path.name.startswith(ours)]


def test_setup(live_frames: None) -> None:
    """Own ports and shared ones, each beside masquerade."""
    report = Report("setup, tiny", echo=False)
    setup.run(Effort.tiny(), report)
    titles = [table["title"] for table in report.data()["tables"]]
    assert [title.split(",")[0] for title in titles] == ["New mappings", "Times masquerade's"] * 2
