# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The log of mappings: from bytes to lines, and what the command does with them."""

from __future__ import annotations

import argparse
import json
import re
import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from harness import snapshots
from mapxdp import cli, record
from mapxdp.commands import log
from mapxdp.datapath import events, tables
from mapxdp.errors import HostError, StateError
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Event, EventKind
from mapxdp.views import events as view

CONFIG = snapshots.snapshot().config
CONTRACT = tables.contract_for(CONFIG.domain.port_set)
OFFSET = 1_700_000_000 * 10**9
MAPPED = Event(
    time_ns=5 * 10**9,
    kind=EventKind.PORT_MAPPED,
    protocol=Protocol.TCP,
    host=IPv4Address("192.168.1.10"),
    host_port=51234,
    port=4930,
    remote=None,
    remote_port=0,
)
FLOW = replace(
    MAPPED, kind=EventKind.FLOW_MAPPED, remote=IPv4Address("198.51.100.7"), remote_port=443
)
REFUSED = replace(MAPPED, kind=EventKind.REFUSED, port=0)


def packed(**changes: Any) -> bytes:
    fields = {
        "time_ns": 5 * 10**9,
        "kind": CONTRACT.number("EVENT_PORT_MAPPED"),
        "protocol": CONTRACT.number("INDEX_TCP"),
        "host": bytes([192, 168, 1, 10]),
        "host_port": 51234,
        "port": 4930,
        "remote": bytes(4),
        "remote_port": 0,
        "zero": 0,
    }
    return CONTRACT["event"].pack(**fields | changes)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (MAPPED, "mapped tcp 192.168.1.10:51234 → 192.0.2.18:4930"),
        (
            replace(MAPPED, kind=EventKind.PORT_RELEASED, protocol=Protocol.ICMP),
            "released icmp 192.168.1.10:51234 → 192.0.2.18:4930",
        ),
        (FLOW, "flow mapped tcp 192.168.1.10:51234 → 192.0.2.18:4930 to 198.51.100.7:443"),
        (
            replace(FLOW, kind=EventKind.FLOW_RELEASED, protocol=Protocol.UDP, remote=None),
            "flow released udp 192.168.1.10:51234 → 192.0.2.18:4930",
        ),
        (REFUSED, "refused tcp 192.168.1.10:51234"),
        (
            replace(MAPPED, kind=None, protocol=None),
            "unknown event ? 192.168.1.10:51234 → 192.0.2.18:4930",
        ),
    ],
)
def test_words(event: Event, text: str) -> None:
    assert view.text(event, "192.0.2.18") == text


def test_a_line_has_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-1")
    time.tzset()
    try:
        assert view.line(MAPPED, OFFSET, "192.0.2.18").startswith("2023-11-14 23:13:25 mapped")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_json() -> None:
    assert json.loads(json.dumps(view.to_json(FLOW, OFFSET, "192.0.2.18"))) == {
        "time": "2023-11-14T22:13:25.000+00:00",
        "event": "flow_mapped",
        "protocol": "tcp",
        "host": "192.168.1.10",
        "host_port": 51234,
        "external": "192.0.2.18",
        "port": 4930,
        "remote": "198.51.100.7",
        "remote_port": 443,
    }
    bare = view.to_json(REFUSED, OFFSET, "192.0.2.18")
    assert (bare["port"], bare["remote"], bare["remote_port"]) == (None, None, None)


def test_the_wall_clock() -> None:
    assert abs(view.wall_clock_offset() + time.monotonic_ns() - time.time_ns()) < 10**9


def test_decoding() -> None:
    flow = packed(
        kind=CONTRACT.number("EVENT_FLOW_MAPPED"), remote=bytes([198, 51, 100, 7]), remote_port=443
    )
    assert list(events.decode(CONTRACT, [packed(), flow])) == [MAPPED, FLOW]


def test_every_kind_is_known() -> None:
    assert {f"EVENT_{kind.name}" for kind in EventKind} == set(CONTRACT.enums["event_kind"])


def test_what_a_newer_datapath_writes_is_shown_as_far_as_it_is_understood() -> None:
    samples = [b"", packed()[:-1], packed(kind=99, protocol=2**32 - 1) + b"more"]
    (event,) = events.decode(CONTRACT, samples)
    assert (event.kind, event.protocol) == (None, None)
    assert view.to_json(event, OFFSET, "192.0.2.18")["event"] is None


def test_a_time_out_of_range() -> None:
    (event,) = events.decode(CONTRACT, [packed(time_ns=2**64 - 1)])
    assert view.line(event, OFFSET * 1000, "192.0.2.18").startswith("(no time) mapped")
    assert view.to_json(event, OFFSET * 1000, "192.0.2.18")["time"] is None


def options(*given: str) -> argparse.Namespace:
    return cli._parser().parse_args(["log", *given])


def written(*given: str, batches: list[list[Event]]) -> list[str]:
    lines: list[str] = []
    log.follow(((CONFIG, batch) for batch in batches), lines.append, options(*given))
    return lines


def test_everything_is_followed() -> None:
    assert len(written(batches=[[MAPPED, FLOW], [], [REFUSED]])) == 3
    assert len(written("--since-start", batches=[[MAPPED, FLOW], [], [REFUSED]])) == 3


@pytest.mark.parametrize(("count", "lines"), [("0", 2), ("1", 3), ("2", 4), ("9", 5)])
def test_a_count_limits_what_was_there_only(count: str, lines: int) -> None:
    first, following = [MAPPED, MAPPED, FLOW], [REFUSED, REFUSED]
    found = written("-n", count, batches=[first, following])
    assert len(found) == lines
    assert "refused" in found[-1]
    if lines == 3:
        assert "flow" in found[0]


def test_formats() -> None:
    (line,) = written(batches=[[MAPPED]])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d mapped tcp", line)
    (line,) = written("--syslog", batches=[[MAPPED]])
    assert line == "mapped tcp 192.168.1.10:51234 → 192.0.2.18:4930"
    (line,) = written("--json", "--syslog", batches=[[MAPPED]])
    assert json.loads(line)["event"] == "port_mapped"


@pytest.mark.parametrize("given", [("-n", "-1"), ("-n", "x"), ("-n", "1", "--since-start")])
def test_hostile_options(given: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        options(*given)


def test_syslog(tmp_path: Path) -> None:
    address = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(5)
        handler = log.open_syslog("home", address)
        handler.emit(log._log_record("mapped → %s [x]"))
        assert server.recv(500) == "<30>mapxdp[home]: mapped → %s [x]\0".encode()
        handler.close()


def test_no_syslog(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be opened"):
        log.open_syslog("home", str(tmp_path / "none"))


def test_syslog_that_went_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The event is named on standard error, and the log goes on."""
    address = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(address))
        handler = log.open_syslog("home", str(address))
    address.unlink()
    handler.emit(log._log_record("mapped"))
    handler.emit(log._log_record("released"))
    handler.close()
    assert capsys.readouterr().err == "mapxdp: not logged: mapped\nmapxdp: not logged: released\n"


def test_one_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    with (
        events.only_reader("home"),
        events.only_reader("other"),
        pytest.raises(StateError, match="another process"),
        events.only_reader("home"),
    ):
        pass
    with events.only_reader("home"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    snapshots.record(process=1).save()
    assert cli.main(["log"]) == 4
    assert "software datapath keeps no log" in capsys.readouterr().err
