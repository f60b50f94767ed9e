# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp sessions``, ``forward`` and ``log`` on a pinned datapath, packets sent by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from harness import packets, snapshots
from harness.ce import LoadedCe, inconsistencies
from harness.loaded import LoadedCes
from harness.packets import HOST, SERVER
from mapxdp import cli, record
from mapxdp.datapath import bpffs, control, instance, libbpf, observe, shortcuts, state
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import STATE_MAPS
from mapxdp.model.napt44 import Forward, LogLevel, Napt44Policy
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import MappingKind, MappingState

PORTS = snapshots.PORTS
LOGGED = Napt44Policy(log=LogLevel.DESTINATIONS)


@dataclass
class Running:
    """A pinned instance, with its record in a directory of the test."""

    name: str
    ce: LoadedCe

    def connect(self, port: int, remote_port: int = 5000, remote: str = SERVER) -> None:
        """A SYN from a port of the host."""
        data = packets.tcp(HOST, remote, port, remote_port, flags=packets.SYN)
        outcome = self.ce.from_lan(packets.ipv4(data, packets.TCP, HOST, remote))
        assert outcome.packets

    def kinds(self) -> list[MappingKind]:
        return [mapping.kind for mapping in observe.read_mappings(self.ce.maps)]

    def recounted(self) -> list[str]:
        return inconsistencies(self.ce.maps, self.ce.domain)

    def forwards(self) -> tuple[str, ...]:
        loaded = record.load(self.name)
        assert loaded is not None
        return loaded.forwards


@pytest.fixture
def running(
    loaded_ces: LoadedCes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Running]:
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    ce = loaded_ces.example("map-t", clock=TickClock.of_this_kernel(), policy=LOGGED)
    name = f"test-{os.getpid()}"
    directory = bpffs.instance_directory(name)
    bpffs.ensure_mounted()
    run = bpffs.new_run(directory)
    run.mkdir(parents=True)
    try:
        for pin in (*STATE_MAPS, *shortcuts.TABLES, "config"):
            libbpf.pin(ce.maps.fds[pin], run / pin)
        libbpf.pin(ce.programs.control.fd, run / instance.CONTROL_PIN)
        bpffs.make_current(run)
        replace(snapshots.record(), name=name).save()
        assert cli.main(["log", "--once", "-n", "0"]) == 0
        yield Running(name, ce)
    finally:
        instance.remove(name)


Output = pytest.CaptureFixture[str]


def test_what_the_views_see(running: Running) -> None:
    running.connect(50000)
    running.connect(50001, remote_port=443)
    own, flow = observe.read_mappings(running.ce.maps)
    assert (own.kind, own.host_port, own.peer_port) == (MappingKind.OWN, 50000, 5000)
    assert (flow.kind, flow.host_port, flow.peer_port) == (MappingKind.FLOW, 50001, 443)
    assert {own.state, flow.state} == {MappingState.OPENING}
    assert own.idle <= 1
    pool = observe.read_pool(running.ce.maps)
    assert (pool.ports[Protocol.TCP].used, pool.ports[Protocol.TCP].shared) == (2, 1)
    assert pool.flows == 1
    (host,) = observe.read_hosts(running.ce.maps)
    assert (host.ports[Protocol.TCP], host.flows) == (1, 1)


def test_delete_ends_what_is_listed(running: Running, capsys: Output) -> None:
    for number in range(3):
        running.connect(PORTS[number])
    for remote in ("198.51.100.1", "198.51.100.2"):
        running.connect(50000, 443, remote)
    assert cli.main(["sessions", "--port", str(PORTS[1]), "--delete", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [entry["host_port"] for entry in data["sessions"]] == [PORTS[1]]
    assert (data["ended"], data["changed"]) == (1, 0)
    assert running.recounted() == []
    assert running.kinds().count(MappingKind.OWN) == 2
    assert cli.main(["sessions", "--kind", "flow", "--delete"]) == 0
    assert capsys.readouterr().out.endswith("ended 2\n")
    assert running.kinds() == [MappingKind.OWN] * 2
    assert cli.main(["sessions", "--delete"]) == 2
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 0
    assert running.kinds() == []
    assert running.recounted() == []
    assert cli.main(["sessions"]) == 0
    assert capsys.readouterr().out.endswith("no sessions\n")


def test_forward_add_list_and_del(running: Running, capsys: Output) -> None:
    running.connect(PORTS[0])
    assert cli.main(["forward", "add", "tcp", str(PORTS[0]), "192.168.1.20:443"]) == 4
    assert f"{HOST}:{PORTS[0]} has tcp port {PORTS[0]} in use" in capsys.readouterr().err
    assert cli.main(["forward", "add", "tcp", "80", "192.168.1.20:443"]) == 2
    assert "1232-1235" in capsys.readouterr().err
    assert cli.main(["forward", "add", "tcp", str(PORTS[7]), "192.168.1.20:443"]) == 0
    made = f"tcp {PORTS[7]} to 192.168.1.20:443"
    assert capsys.readouterr().out == f"forwards 192.0.2.18 {made}\n"
    assert running.forwards() == (made,)
    assert cli.main(["forward", "add", "tcp", "any", "192.168.1.20:443"]) == 4
    assert f"mapxdp forward del tcp {PORTS[7]}" in capsys.readouterr().err
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 0
    assert cli.main(["forward", "list"]) == 0
    assert "never  run time" in capsys.readouterr().out
    assert cli.main(["forward", "del", "tcp", str(PORTS[7])]) == 0
    assert (running.forwards(), running.kinds()) == ((), [])
    assert running.recounted() == []


def test_any_port(running: Running, capsys: Output) -> None:
    """The first that is free; its own number if the set has it."""
    running.connect(PORTS[0])
    assert cli.main(["forward", "add", "tcp", "any", "192.168.1.20:443"]) == 0
    assert cli.main(["forward", "add", "tcp", "any", f"192.168.1.21:{PORTS[99]}"]) == 0
    assert [text.split()[1] for text in running.forwards()] == [str(PORTS[1]), str(PORTS[99])]


def test_an_expired_port_becomes_a_forward(running: Running) -> None:
    running.connect(PORTS[3])
    running.connect(PORTS[4], 443)
    own, flow = observe.read_mappings(running.ce.maps)
    later = replace(running.ce.settings.clock, offset=10_000)
    state.write_config(running.ce.maps, replace(running.ce.settings, clock=later))
    for mapping, to in ((own, "192.168.1.20:443"), (flow, f"{HOST}:{PORTS[4]}")):
        assert cli.main(["forward", "add", "tcp", str(mapping.port), to]) == 0
    assert running.kinds() == [MappingKind.FORWARD] * 2
    assert running.recounted() == []


def test_a_used_forward(running: Running, capsys: Output) -> None:
    assert cli.main(["forward", "add", "tcp", str(PORTS[7]), f"{HOST}:443"]) == 0
    running.connect(443)
    (mapping,) = observe.read_mappings(running.ce.maps)
    assert (mapping.kind, mapping.state) == (MappingKind.FORWARD, MappingState.USED)
    assert cli.main(["forward", "list"]) == 0
    assert "s ago" in capsys.readouterr().out


def test_a_forward_where_something_is(running: Running) -> None:
    running.connect(PORTS[7])
    wanted = Forward(Protocol.TCP, PORTS[7], IPv4Address("192.168.1.20"), 443)
    with control.opened(running.name, running.ce.domain) as opened:
        assert control.forward(opened, wanted, PORTS[7]) is control.Result.CHANGED
        (mapping,) = observe.read_mappings(running.ce.maps)
        assert control.release(opened, mapping) is control.Result.DONE
        assert control.release(opened, mapping) is control.Result.CHANGED


def test_no_control_program(running: Running, capsys: Output) -> None:
    """It was brought up by an older version."""
    run = instance.pinned(running.name)
    (run / instance.CONTROL_PIN).unlink()
    running.connect(50000)
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 4
    assert f"{instance.CONTROL_PIN} is not there any more" in capsys.readouterr().err
    (run / "flows").unlink()
    assert cli.main(["sessions"]) == 4
    assert "flows is not there any more" in capsys.readouterr().err


def test_log_once(running: Running, capsys: Output) -> None:
    assert cli.main(["log", "--once"]) == 0
    assert capsys.readouterr().out == ""
    running.connect(PORTS[0])
    running.connect(50001, 443)
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 0
    capsys.readouterr()
    assert cli.main(["log", "--once", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"port_mapped", "flow_mapped", "port_released", "flow_released"} <= {
        line["event"] for line in lines
    }
    first = lines[0]
    assert (first["host"], first["host_port"], first["external"], first["port"]) == (
        *(HOST, PORTS[0]),
        *("192.0.2.18", PORTS[0]),
    )
    assert (first["remote"], first["remote_port"]) == (SERVER, 5000)
    assert cli.main(["log", "--once"]) == 0
    assert capsys.readouterr().out == ""


def follower(*options: str) -> subprocess.Popen[str]:
    """``mapxdp log`` in a process of its own, with the records of the test."""
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(record.DIRECTORY), "log", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FOLLOW = """
import signal, sys
from pathlib import Path
from mapxdp import cli, record
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
record.DIRECTORY = Path(sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""


def test_log_follows_until_ctrl_c(running: Running) -> None:
    with follower("--json") as process:
        assert process.stdout is not None
        for port in (50000, 50001):
            running.connect(port)
            assert json.loads(process.stdout.readline())["host_port"] == port
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (130, "", "")


def test_log_ends_when_the_ce_is_taken_down(running: Running) -> None:
    with follower() as process:
        assert process.stdout is not None
        running.connect(50000)
        assert f"mapped tcp {HOST}:50000 → 192.0.2.18:" in process.stdout.readline()
        record.delete(running.name)
        instance.remove(running.name)
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    assert "was taken down" in errors
