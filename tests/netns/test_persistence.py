# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The datapath needs no process: what is killed, upgraded or misconfigured stops no packet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab import running_lab, udp_stream
from mapxdp import ce, netns, record
from mapxdp.datapath import bpffs, instance, observe, state
from mapxdp.errors import ConfigError, StateError
from mapxdp.lab import clients
from mapxdp.lab.checks import Running
from mapxdp.lab.topology import SERVER_IPV4
from mapxdp.observed import Mapping


@pytest.fixture(params=["map-t", "map-e"])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(request.param) as running:
        yield running


def config_file(lab: Running, directory: Path, **changes: str) -> Path:
    path = directory / "ce.toml"
    text = lab.lab.config_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def mappings(lab: Running) -> dict[tuple[object, ...], int]:
    """External port by protocol and LAN endpoint."""

    def endpoint(mapping: Mapping) -> tuple[object, ...]:
        return mapping.protocol, mapping.host, mapping.host_port

    with instance.opened(lab.lab.instance, lab.lab.domain) as maps:
        return {endpoint(mapping): mapping.port for mapping in observe.read_mappings(maps)}


def test_upgrade_in_place_loses_nothing(lab: Running, tmp_path: Path) -> None:
    path = config_file(lab, tmp_path)
    with netns.entered(lab.lab.netns("client2")):
        connections = clients.open_connections(SERVER_IPV4, 50, 20000)
    said: list[str] = []
    with udp_stream(lab) as stream:
        before = mappings(lab)
        ce.up(path, lab.lab.netns("ce"), said.append)
        sent_by_then = stream.sent
        time.sleep(0.2)
        after = mappings(lab)
    assert "kept the port mappings of the running datapath" in said
    assert stream.sent > sent_by_then
    assert stream.lost == []
    assert {key: after[key] for key in before} == before
    assert clients.use_and_abort(connections) == 50


def test_reload_with_a_bad_file_changes_nothing(lab: Running, tmp_path: Path) -> None:
    before = record.load(lab.lab.instance)
    pinned = _pinned(lab)
    path = tmp_path / "ce.toml"
    for text in (
        lab.lab.config_text() + "[surprise]\n",
        lab.lab.config_text().replace("ea_length = 16", "ea_length = 60"),
        "not toml at all",
        "",
    ):
        path.write_text(text, encoding="utf-8")
        with udp_stream(lab) as stream, pytest.raises((ConfigError, StateError)):
            ce.reload(path, lab.lab.netns("ce"), lambda _: None)
        assert stream.lost == []
    assert record.load(lab.lab.instance) == before
    assert _pinned(lab) == pinned


def _pinned(lab: Running) -> dict[str, int]:
    run = _run(lab)
    return {path.name: path.stat().st_ino for path in run.iterdir()}


def _run(lab: Running) -> Path:
    run = bpffs.current(bpffs.instance_directory(lab.lab.instance))
    assert run is not None
    return run


def test_reload_of_what_does_not_run(lab: Running, tmp_path: Path) -> None:
    path = config_file(lab, tmp_path)
    path.write_text(path.read_text().replace(lab.lab.instance, "nobody"), encoding="utf-8")
    with pytest.raises(StateError, match="nobody is not running: there is nothing to reload"):
        ce.reload(path, lab.lab.netns("ce"), lambda _: None)


def test_reload_changes_what_is_asked(lab: Running, tmp_path: Path) -> None:
    path = config_file(lab, tmp_path)
    with path.open("a", encoding="utf-8") as text:
        text.write("[mtu]\nwan = 1400\nmss_clamp = 1000\n")
    with udp_stream(lab) as stream:
        before = mappings(lab)
        ce.reload(path, lab.lab.netns("ce"), lambda _: None)
        time.sleep(0.2)
    assert stream.lost == []
    assert {key: mappings(lab)[key] for key in before} == before
    with instance.opened(lab.lab.instance, lab.lab.domain) as maps:
        now = state.read_active_config(maps)
    overhead = lab.lab.domain.mode.overhead
    assert (now["mss"], now["ipv4_mtu"]) == (1000, 1400 - overhead)
    with netns.entered(lab.lab.netns("client1")):
        assert clients.udp_exchange(SERVER_IPV4, 512)


def test_another_address_begins_anew(lab: Running, tmp_path: Path) -> None:
    """Another PSID: other ports, no mapping of the old set, the old MAP address gone."""
    old, new = "2001:db8:12:3400::/56", "2001:db8:12:3500::/56"
    with netns.entered(lab.lab.netns("client1")):
        assert clients.udp_exchange(SERVER_IPV4, 64)
    path = config_file(lab, tmp_path, **{old: new})
    said: list[str] = []
    ce.reload(path, lab.lab.netns("ce"), said.append)
    assert "the IPv4 address or the port set changed: began with no port mappings" in said
    assert f"removed the former MAP address {lab.lab.domain.map_address}/128" in said
    now = record.load(lab.lab.instance)
    assert now is not None
    assert now.map_address == "2001:db8:12:3500:0:c000:212:35"


def test_killed_while_bringing_up(lab: Running, tmp_path: Path) -> None:
    """kill -9 at any moment of an upgrade: traffic goes on, and the next up succeeds."""
    path = config_file(lab, tmp_path)
    command = [sys.executable, "-m", "mapxdp", "up", "-c", path, "--netns", lab.lab.netns("ce")]
    with udp_stream(lab) as stream:
        before = mappings(lab)
        for delay in (0.1, 0.5, 0.9, 1.1, 1.3, 1.5, 1.7, 2.0):
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with netns.entered(lab.lab.netns("client2")):
                assert clients.udp_exchange(SERVER_IPV4, 64), f"killed after {delay} s"
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        after = mappings(lab)
    assert stream.lost == []
    assert {key: after[key] for key in before} == before


def test_killed_while_watching(lab: Running) -> None:
    command = [sys.executable, "-m", "mapxdp", "top", lab.lab.instance]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with netns.entered(lab.lab.netns("client1")):
        assert clients.udp_exchange(SERVER_IPV4, 64)


def test_pinned_map_of_another_layout(lab: Running, tmp_path: Path) -> None:
    """It is refused with the command that helps, and what runs goes on."""
    from mapxdp.contract import MapSpec
    from mapxdp.datapath import libbpf

    directory = _run(lab)
    (directory / "slots").unlink()
    libbpf.pin(
        libbpf.create_map(MapSpec("slots", "ARRAY", "__u32", 4, "", 32, 768, 0)),
        directory / "slots",
    )
    with pytest.raises(StateError, match="is a map of another layout") as raised:
        ce.up(config_file(lab, tmp_path), lab.lab.netns("ce"), lambda _: None)
    assert f"mapxdp down {lab.lab.instance}" in raised.value.remedy
    with netns.entered(lab.lab.netns("client1")):
        assert clients.udp_exchange(SERVER_IPV4, 64)
