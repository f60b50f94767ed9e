# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp sessions``, ``forward`` and ``log`` on pinned maps, with a control program of our
own: one that does as it is told, and logs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from harness import snapshots
from mapxdp import cli, record
from mapxdp.contract import Contract
from mapxdp.datapath import bpffs, control, libbpf, observe, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.compiler import compile_text
from mapxdp.datapath.maps import STATE_MAPS, MapSet
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.model.napt44 import Forward
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import MappingKind

DOMAIN = snapshots.snapshot().config.domain
PORTS = snapshots.PORTS

#: Writes owner words, without a thought of indexes and counts.
PROGRAM = """
#include "portable.h"
HELPER(long, output, BPF_FUNC_ringbuf_output, void *map, void *data, __u64 size, __u64 flags);

int control(struct __sk_buff *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct command *command = data + 14;
	struct event event = {};
	struct mapping *mapping;
	__u32 at;

	if ((void *)(command + 1) > end)
		return COMMAND_MALFORMED;
	at = command->slot;
	if (command->kind == COMMAND_RELEASE_FLOW)
		mapping = kernel_map_lookup(MAP(flows), &at);
	else
		mapping = kernel_map_lookup(MAP(slots), &at);
	if (!mapping)
		return COMMAND_MALFORMED;
	if (mapping->owner != command->owner)
		return COMMAND_CHANGED;
	mapping->owner = 0;
	event.kind = EVENT_PORT_RELEASED;
	if (command->kind == COMMAND_FORWARD) {
		event.kind = EVENT_PORT_MAPPED;
		mapping->owner = *(__u32 *)&command->endpoint.ipv4;
		mapping->owner |= (__u64)command->endpoint.port << 32;
		mapping->owner |= (__u64)SLOT_STATIC << 48;
	}
	event.host = command->endpoint.ipv4;
	event.host_port = command->endpoint.port;
	output(MAP(events), &event, sizeof(event), 0);
	return COMMAND_DONE;
}
"""


@dataclass
class Running:
    """A pinned instance named ``name``, with its record in a directory of the test."""

    name: str
    maps: MapSet

    @property
    def contract(self) -> Contract:
        return self.maps.contract

    def own(self, position: int, host_port: int) -> None:
        """An endpoint's port: alive, of TCP."""
        mapping = replace(snapshots.mapping(Protocol.TCP, 10, PORTS[position]), host_port=host_port)
        owner = control.owner_word(self.contract, mapping)
        self._write("slots", "taken", position, owner, 0)

    def flow(self, index: int, position: int, remote: IPv4Address) -> None:
        mapping = replace(
            snapshots.flow(11, PORTS[position], 0), peer=remote, kind=MappingKind.FLOW
        )
        owner = control.owner_word(self.contract, mapping)
        peer = int.from_bytes(remote.packed, sys.byteorder) | mapping.peer_port << 32
        self._write("flows", "flows_taken", index, owner, position, peer)
        shared = self.contract.number("SLOT_SHARED") << 48
        self._write("slots", "taken", position, shared, 0)
        with_key = control.Control(
            self.contract, DOMAIN.port_set, lambda _: 0, self.maps.value, lambda _: None
        )
        key = control.flow_key(with_key, mapping)
        libbpf.update(self.maps.fds["flow_index"], key, index.to_bytes(8, sys.byteorder))

    def _write(
        self, name: str, bitmap: str, index: int, owner: int, slot: int, peer: int = 1
    ) -> None:
        now = TickClock.of_this_kernel().tick_at(time.monotonic_ns(), 0)
        layout, pool = self.contract["mapping"], self.contract["pool"]
        fields = {each.name: 0 for each in layout.fields if each.name != "reserved"}
        fields |= {"owner": owner, "tick_46": now, "created": now, "peer": peer, "slot": slot}
        self.maps.set_value(name, layout.pack(**fields), index)
        content = pool.unpack(self.maps.value("pool"))
        words = list(content[bitmap])
        words[index // 64] |= 1 << index % 64
        self.maps.set_value("pool", pool.pack(**content | {bitmap: words}))

    def ports(self) -> list[int]:
        return sorted(mapping.port for mapping in observe.read_mappings(self.maps))


@pytest.fixture
def running(bpf: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Running]:
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    bpffs.ensure_mounted()
    name = f"test-{os.getpid()}"
    directory = bpffs.instance_directory(name)
    settings = DatapathSettings(DOMAIN, Napt44Kind.BPF, 1480, None, TickClock.of_this_kernel())
    with MapSet(tables.contract_for(DOMAIN.port_set)) as maps:
        maps.create((*STATE_MAPS, "config"))
        state.initialise(maps, settings)
        state.write_config(maps, settings)
        fds = {name: maps.fds[name] for name in ("slots", "flows", "events")}
        code = compile_text(PROGRAM, ["control"], maps.contract, 14, fds)
        program = libbpf.load_program("control", code["control"])
        directory.mkdir(parents=True)
        try:
            for pin, fd in (*maps.fds.items(), (control.PIN, program.fd)):
                libbpf.pin(fd, directory / pin)
            replace(snapshots.record(), name=name).save()
            yield Running(name, maps)
        finally:
            os.close(program.fd)
            bpffs.remove(directory)


def test_delete_ends_what_is_listed(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    for position in range(3):
        running.own(position, 50000 + position)
    running.flow(40, 9, IPv4Address("198.51.100.1"))
    running.flow(41, 9, IPv4Address("198.51.100.2"))
    assert cli.main(["sessions", "--port", str(PORTS[1]), "--delete", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [entry["host_port"] for entry in data["sessions"]] == [50001]
    assert (data["ended"], data["changed"]) == (1, 0)
    assert running.ports() == [PORTS[0], PORTS[2], PORTS[9], PORTS[9]]
    assert cli.main(["sessions", "--kind", "flow", "--delete"]) == 0
    assert capsys.readouterr().out.endswith("ended 2\n")
    assert running.ports() == [PORTS[0], PORTS[2]]
    assert cli.main(["sessions", "--delete"]) == 2
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 0
    assert running.ports() == []


def test_forward_add_list_and_del(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.own(0, 50000)
    assert cli.main(["forward", "add", "tcp", str(PORTS[0]), "192.168.1.20:443"]) == 4
    assert "192.168.1.10:50000" in capsys.readouterr().err
    assert cli.main(["forward", "add", "tcp", "80", "192.168.1.20:443"]) == 2
    assert "1232-1235" in capsys.readouterr().err
    assert cli.main(["forward", "add", "tcp", str(PORTS[7]), "192.168.1.20:443"]) == 0
    assert capsys.readouterr().out == f"forwards 192.0.2.18 tcp {PORTS[7]} to 192.168.1.20:443\n"
    # The toy program keeps no bitmap: what it made is looked up where it is.
    with control.opened(running.name, DOMAIN) as opened:
        again = Forward(Protocol.TCP, PORTS[7], IPv4Address("192.168.1.21"), 443)
        assert control.forward(opened, again, PORTS[7]) is control.Result.CHANGED
    loaded = record.load(running.name)
    assert loaded is not None
    assert loaded.forwards == (f"tcp {PORTS[7]} to 192.168.1.20:443",)
    assert cli.main(["forward", "list", "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["forward", "del", "tcp", str(PORTS[7])]) == 0
    forgotten = record.load(running.name)
    assert forgotten is not None
    assert forgotten.forwards == ()


def test_no_control_program(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """It was brought up by an older version."""
    (bpffs.instance_directory(running.name) / control.PIN).unlink()
    running.own(0, 50000)
    assert cli.main(["sessions", "--delete", "--all-hosts"]) == 4
    assert "takes no commands" in capsys.readouterr().err
    (bpffs.instance_directory(running.name) / "flows").unlink()
    assert cli.main(["sessions"]) == 4
    assert "another version" in capsys.readouterr().err


def test_log_once(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["log", "--once"]) == 0
    assert capsys.readouterr().out == ""
    for host in range(5):
        assert cli.main(["forward", "add", "tcp", "any", f"192.168.1.2{host}:443"]) in (0, 4)
    capsys.readouterr()
    assert cli.main(["log", "--once", "--json", "-n", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "port_mapped"
    assert json.loads(line)["host_port"] == 443
    assert cli.main(["log", "--once"]) == 0
    assert capsys.readouterr().out == ""


def test_log_follows_until_ctrl_c(running: Running) -> None:
    """A process of its own: it is interrupted while it waits, and ends as others do."""
    follower = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(record.DIRECTORY), "log", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert cli.main(["forward", "add", "udp", "any", "192.168.1.20:53"]) == 0
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["host"] == "192.168.1.20"
        follower.send_signal(2)
        assert follower.wait(10) == 130
        assert follower.stdout.read() == ""
    finally:
        follower.kill()
        follower.wait()
        assert follower.stdout is not None
        follower.stdout.close()


#: The command line, with the records in another directory.
FOLLOW = """
import sys
from pathlib import Path
from mapxdp import cli, record
record.DIRECTORY = Path(sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""


def test_log_ends_when_the_ce_is_taken_down(running: Running) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(record.DIRECTORY), "log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert cli.main(["forward", "add", "udp", "any", "192.168.1.20:53"]) == 0
        assert follower.stdout is not None
        assert "mapped" in follower.stdout.readline()
        record.delete(running.name)
        bpffs.remove(bpffs.instance_directory(running.name))
        out, errors = follower.communicate(timeout=10)
        assert (follower.returncode, out) == (0, "")
        assert "was taken down" in errors
    finally:
        follower.kill()
        follower.wait()
