# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the software datapath changes on the host, and that all of it is taken back.

Its traffic is tested with the lab, beside that of BPF.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from harness.router import CONFIG, Router
from mapxdp import ce, health, record
from mapxdp.errors import HostError, StateError
from mapxdp.software import daemon

SOFTWARE = CONFIG.replace('mode = "map-t"', 'mode = "map-t"\ndatapath = "software"')


def proxies(cpe: Router) -> str:
    return cpe.ip("-6 neigh show proxy")


def settings(cpe: Router) -> list[str]:
    names = (
        "ipv4/ip_forward",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/wan/accept_ra",
        "ipv6/conf/wan/proxy_ndp",
        "ipv6/neigh/wan/proxy_delay",
    )
    return [cpe.read(f"/proc/sys/net/{name}") for name in names]


def process_of(cpe: Router) -> int:
    running = record.load(cpe.name)
    assert running is not None
    assert running.process is not None
    return running.process


def test_up_then_down(cpe: Router) -> None:
    cpe.write_config(SOFTWARE)
    before, settings_before = cpe.state(), settings(cpe)
    cpe.up()
    process = process_of(cpe)
    assert daemon.is_running(process)
    assert "default dev mapxdp0" in cpe.ip("-4 route show")
    assert "2001:db8:12:3400:0:c000:212:34 dev wan proxy" in proxies(cpe)
    # Router advertisements are still taken, although the host forwards IPv6 now.
    assert settings(cpe) == ["1", "1", "2", "1", "0"]

    ce.down(cpe.name, lambda _: None)
    assert not daemon.is_running(process)
    assert cpe.state() == before
    assert settings(cpe) == settings_before
    assert proxies(cpe) == ""
    assert list(record.DIRECTORY.glob(f"{cpe.name}*")) == []


def test_up_again_replaces_the_process(cpe: Router) -> None:
    cpe.write_config(SOFTWARE)
    cpe.up()
    first = process_of(cpe)
    cpe.up()
    assert process_of(cpe) != first
    assert not daemon.is_running(first)
    ce.down(cpe.name, lambda _: None)


def test_death_of_the_process_is_seen_and_mended(cpe: Router) -> None:
    cpe.write_config(SOFTWARE)
    cpe.up()
    process = process_of(cpe)
    os.kill(process, signal.SIGKILL)
    while daemon.is_running(process):
        time.sleep(0.01)
    running = record.load(cpe.name)
    assert running is not None
    assert any("has ended" in str(entry.problem) for entry in health.check(running))
    cpe.up()
    running = record.load(cpe.name)
    assert running is not None
    assert [entry.problem for entry in health.check(running) if entry.problem] == []


def test_datapaths_are_not_mixed(cpe: Router) -> None:
    cpe.up()
    cpe.write_config(SOFTWARE)
    with pytest.raises(StateError, match="runs with the datapath tc"):
        cpe.up()


def test_a_process_that_cannot_start_says_why(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    cpe.write_config(SOFTWARE)
    before = cpe.state()
    monkeypatch.setattr(daemon, "_MODULE", "mapxdp.software.no_such_module")
    with pytest.raises(HostError, match=r"did not start: .*no_such_module"):
        cpe.up()
    assert cpe.state() == before
    assert "no_such_module" in record.file(cpe.name, "log").read_text(encoding="utf-8")
    daemon.remove_files(cpe.name)
