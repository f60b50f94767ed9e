# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``up`` killed (SIGKILL) before each of its steps: traffic goes on, and all can be undone."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from harness.killed import killed_up
from harness.lab import running_lab
from harness.router import CONFIG, Router
from mapxdp import ce, cli, netns, record
from mapxdp.datapath import bpffs
from mapxdp.errors import StateError
from mapxdp.lab import clients
from mapxdp.lab.topology import SERVER_IPV4
from mapxdp.software import daemon

pytestmark = pytest.mark.timeout(600)


def test_upgrade_killed_at_each_step(bpf: None, tmp_path: Path) -> None:
    """Old and new connections work after each, whatever was half done."""
    path = tmp_path / "ce.toml"
    with running_lab("map-t") as lab:
        path.write_text(lab.lab.config_text(), encoding="utf-8")
        with netns.entered(lab.lab.netns("client1")):
            old = clients.open_connections(SERVER_IPV4, 20, 20000)
        for step in count(1):
            was_killed = killed_up(step, path, lab.lab.netns("ce"))
            with netns.entered(lab.lab.netns("client2")):
                assert clients.udp_exchange(SERVER_IPV4, 64), f"killed at step {step}"
            if not was_killed:
                break
        assert step > 10
        assert clients.use_and_abort(old) == 20
        directory = bpffs.instance_directory(lab.lab.instance)
        assert len(list(directory.iterdir())) == 2, "what killed runs pinned is still there"
        ce.down(lab.lab.instance, lambda _: None)
        assert not directory.exists()


@pytest.mark.parametrize("datapath", ["tc", "software"])
def test_first_up_killed_at_each_step(datapath: str, cpe: Router) -> None:
    """``down`` undoes what was done by then, and so does ``down`` after another ``up``."""
    mode = f'mode = "map-t"\ndatapath = "{datapath}"'
    cpe.write_config(CONFIG.replace('mode = "map-t"', mode))
    before = cpe.state()
    for step in count(1, 2):  # the upgrade takes every step there is
        was_killed = killed_up(step, cpe.config, cpe.name)
        if record.load(cpe.name) is not None:
            if step % 3 == 0:
                cpe.up()
            ce.down(cpe.name, lambda _: None)
        assert cpe.state() == before, f"killed at step {step}"
        assert daemon.processes(cpe.name) == []
        if not was_killed:
            break
    assert step > 10


def test_move_to_xdp_killed_at_every_third_step(cpe: Router) -> None:
    """The next ``up`` takes over whatever is there, and ``down`` leaves nothing."""
    cpe.add_port("lan")
    cpe.set_polling("cpe", "on")
    cpe.set_polling("lan", "on")
    before, attached = cpe.state(), cpe.everything_attached()
    for step in count(1, 3):
        cpe.configure("tc", "lan")
        cpe.up()
        cpe.configure("xdp", "lan")
        was_killed = killed_up(step, cpe.config, cpe.name)
        cpe.up()
        ce.down(cpe.name, lambda _: None)
        assert cpe.everything_attached() == attached, f"killed at step {step}"
        assert cpe.state() == before, f"killed at step {step}"
        if not was_killed:
            break
    assert step > 10


def test_status_of_what_was_killed(cpe: Router, capsys: pytest.CaptureFixture[str]) -> None:
    assert killed_up(8, cpe.config, cpe.name)
    assert cli.main(["status", cpe.name]) == StateError.exit_code
    assert f"{cpe.name} is not wholly up" in capsys.readouterr().err


def test_down_without_a_record(cpe: Router) -> None:
    """Its programs are found by their name, in whatever namespace they are."""
    cpe.up()
    record.delete(cpe.name)
    said: list[str] = []
    ce.down(cpe.name, said.append)
    assert f"no record of {cpe.name}; its programs and route are off wan in {cpe.name}" in said
    state = cpe.state()
    assert state["hooks"] == {"INGRESS": None, "EGRESS": None}
    assert (state["pins"], state["routes"]) == (set(), "")


def test_two_at_once(cpe: Router) -> None:
    """An ``up`` must not take away what another is just staging."""
    with (
        record.changing(cpe.name),
        pytest.raises(StateError, match=f"another mapxdp command is bringing {cpe.name} up"),
    ):
        cpe.up()
    with record.changing(cpe.name), pytest.raises(StateError, match="another mapxdp command"):
        ce.down(cpe.name, lambda _: None)
    cpe.up()
