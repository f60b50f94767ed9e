# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the tables take: all of it when the CE is brought up, none later."""

from __future__ import annotations

from pathlib import Path

from benchmarks import edges
from benchmarks.edges import PortShare
from benchmarks.report import Cell, Report
from mapxdp.datapath import tables
from mapxdp.datapath.maps import MapSet
from mapxdp.model.domain import Mode

_METHOD = """\
What the kernel says its maps take (memlock in /proc/self/fdinfo), all of it from the beginning: no
mapping takes more later. A port counts once; each of its three protocols has a slot. "per port":
slots and their index; "per flow": flows and their index; "rest": permissions, log, counters, hosts,
pool, configuration. {conntrack}"""
_COLUMNS = ("ports", "flows", "bytes per port", "bytes per flow", "rest, KiB", "all, KiB")
_OF_PORTS, _OF_FLOWS = ("slots", "eim"), ("flows", "flow_index")
_SHARES = (edges.EXAMPLE, PortShare(4, 6, "2001:db8:12:3400::/56"), edges.HALF)


def run(report: Report) -> None:
    """For a few sizes of the port set."""
    method = _METHOD.format(conntrack=_conntrack())
    report.table("Memory", method, _COLUMNS, [_row(share) for share in _SHARES])


def _row(share: PortShare) -> list[Cell]:
    port_set = share.domain(Mode.MAP_T).port_set
    contract = tables.contract_for(port_set)
    with MapSet(contract) as maps:
        maps.create(spec.name for spec in contract.maps)
        taken = {name: _memlock(fd) for name, fd in maps.fds.items()}
    of_ports = sum(taken[name] for name in _OF_PORTS)
    of_flows = sum(taken[name] for name in _OF_FLOWS)
    everything = sum(taken.values())
    flows = contract.number("FLOWS")
    return [
        len(port_set),
        flows,
        of_ports / len(port_set),
        of_flows / flows,
        (everything - of_ports - of_flows) / 1024,
        everything / 1024,
    ]


def _memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0


def _conntrack() -> str:
    """What the kernel's own takes; empty where it does not say."""
    try:
        lines = Path("/proc/slabinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    for line in lines:
        words = line.split()
        if words[0] == "nf_conntrack":
            return f"The kernel's own: {words[3]} bytes for a connection, and its extensions."
    return ""
