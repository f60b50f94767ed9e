# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The list of sessions: which, in which order, and what it says of each."""

from __future__ import annotations

import io
import json
from ipaddress import IPv4Address

import pytest
from rich.console import Console

from harness import snapshots
from harness.snapshots import replace
from mapxdp import cli
from mapxdp.commands import sessions as command
from mapxdp.errors import InvalidValue, StateError
from mapxdp.model.timeouts import MappingFacts, Protocol
from mapxdp.observed import Mapping, MappingKind, MappingState
from mapxdp.sessions import Ended, Selection, SortKey, end
from mapxdp.views import sessions as view

P = snapshots.PORTS
TCP = snapshots.mapping(Protocol.TCP, 10, P[0], idle=5, timeout=7440)
UDP = snapshots.mapping(
    Protocol.UDP, 11, P[1], idle=2, facts=MappingFacts(several_peers=True), timeout=120
)
PING = replace(snapshots.mapping(Protocol.ICMP, 10, P[2], idle=50, timeout=60), peer_port=0)
FLOW = replace(snapshots.flow(12, P[3], 5), facts=MappingFacts(), timeout=240)
FORWARD = snapshots.forward(Protocol.TCP, 20, 443, P[4])
EXPIRED = snapshots.mapping(Protocol.UDP, 13, P[5], idle=301)
ALL = (TCP, UDP, PING, FLOW, FORWARD, EXPIRED)


def lines(chosen: list[Mapping], width: int = 80, ended: Ended | None = None) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(view.render(chosen, ended))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_table() -> None:
    assert lines(Selection(expired=True, sort=SortKey.PORT).of(ALL)) == [
        "     LAN                port remote             kind    state        idle  left",
        "tcp  192.168.1.10:41232 1232 198.51.100.7:443   own     established    5s 2h03m",
        "udp  192.168.1.11:41233 1233 198.51.100.7:443 + own     unanswered     2s 1m58s",
        "icmp 192.168.1.10:41234 1234 198.51.100.7       own     answered      50s   10s",
        "tcp  192.168.1.12:41235 1235 198.51.100.12:443  flow    opening        1s 3m59s",
        "tcp  192.168.1.20:443   2256 anyone             forward waiting",
        "udp  192.168.1.13:42257 2257 198.51.100.7:443   own     expired     5m01s    0s",
    ]


def test_nothing_is_lost_where_it_is_narrow() -> None:
    """Addresses go on in the next line; nothing is cut."""
    narrow = lines([TCP], width=56)
    assert all(len(line) <= 56 for line in narrow)
    text = "".join(narrow)
    for part in ("1232", "established", "2h03m"):
        assert part in text


def test_no_sessions() -> None:
    assert lines([]) == ["no sessions"]


def test_words_for_what_ended() -> None:
    assert lines([TCP], ended=Ended(1, 0))[-1] == "ended 1"
    assert view.ended_in_words(Ended(3, 2)) == "ended 3; 2 had ended or changed by itself"


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), [FLOW, UDP, TCP, PING, FORWARD]),
        (Selection(expired=True), [FLOW, UDP, TCP, PING, EXPIRED, FORWARD]),
        (Selection(host=IPv4Address("192.168.1.10")), [TCP, PING]),
        (Selection(protocol=Protocol.UDP), [UDP]),
        (Selection(port=P[3]), [FLOW]),
        (Selection(port=443), []),
        (Selection(kind=MappingKind.FORWARD), [FORWARD]),
        (Selection(kind=MappingKind.OWN, protocol=Protocol.TCP), [TCP]),
        (Selection(forwards=False), [FLOW, UDP, TCP, PING]),
        (Selection(limit=2), [FLOW, UDP]),
        (Selection(limit=0), []),
        (Selection(sort=SortKey.LEFT), [PING, UDP, FLOW, TCP, FORWARD]),
        (Selection(sort=SortKey.AGE), [FLOW, UDP, TCP, PING, FORWARD]),
        (Selection(sort=SortKey.HOST), [TCP, PING, UDP, FLOW, FORWARD]),
    ],
)
def test_selection(selection: Selection, chosen: list[Mapping]) -> None:
    assert selection.of(ALL) == chosen


def test_hosts_are_sorted_as_numbers() -> None:
    far = replace(TCP, host=IPv4Address("192.168.1.100"))
    near = replace(TCP, host=IPv4Address("192.168.1.9"))
    assert Selection(sort=SortKey.HOST).of([far, near]) == [near, far]


@pytest.mark.parametrize(
    ("mapping", "state"),
    [
        (TCP, MappingState.ESTABLISHED),
        (replace(TCP, facts=MappingFacts()), MappingState.OPENING),
        (replace(TCP, facts=MappingFacts(answered=True, closing=True)), MappingState.CLOSING),
        (replace(TCP, facts=MappingFacts(True, True, True)), MappingState.ESTABLISHED),
        (replace(UDP, facts=MappingFacts(answered=True)), MappingState.ANSWERED),
        (PING, MappingState.ANSWERED),
        (FORWARD, MappingState.WAITING),
    ],
)
def test_states(mapping: Mapping, state: MappingState) -> None:
    assert mapping.state is state


def test_json() -> None:
    data = json.loads(json.dumps(view.to_json("home", [FLOW, FORWARD], Ended(1, 1))))
    assert (data["name"], data["ended"], data["changed"]) == ("home", 1, 1)
    assert data["sessions"][0] == {
        "protocol": "tcp",
        "host": "192.168.1.12",
        "host_port": 41235,
        "port": 1235,
        "remote": "198.51.100.12",
        "remote_port": 443,
        "several_remotes": False,
        "kind": "flow",
        "state": "opening",
        "live": True,
        "age_seconds": 61,
        "idle_seconds": 1,
        "expires_in_seconds": 239,
    }
    assert data["sessions"][1]["remote"] is None
    assert data["sessions"][1]["expires_in_seconds"] is None
    assert "ended" not in view.to_json("home", [])


def selected(*arguments: str) -> Selection:
    return command.selected(cli._parser().parse_args(["sessions", *arguments]))


def test_options() -> None:
    assert selected() == Selection()
    assert selected(
        *("--host", "192.168.1.10", "--protocol", "icmp", "--port", "80", "--kind", "flow"),
        *("--all", "--sort", "left", "--limit", "3"),
    ) == Selection(
        IPv4Address("192.168.1.10"),
        Protocol.ICMP,
        80,
        MappingKind.FLOW,
        expired=True,
        sort=SortKey.LEFT,
        limit=3,
    )


@pytest.mark.parametrize("more", [(), ("--all",), ("--limit", "5"), ("--sort", "age")])
def test_delete_wants_something_that_narrows_it_down(more: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValue, match="--all-hosts"):
        selected("--delete", *more)


def test_delete_leaves_forwards_alone() -> None:
    assert FORWARD not in selected("--delete", "--all-hosts").of(ALL)
    assert FORWARD not in selected("--delete", "--host", str(FORWARD.host)).of(ALL)
    with pytest.raises(InvalidValue, match="forward del"):
        selected("--delete", "--kind", "forward")


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(InvalidValue, match="--limit"):
        selected("--limit", "-1")


@pytest.mark.parametrize("host", ["192.168.1.256", "[red]", "", "::1"])
def test_hostile_hosts_are_refused(host: str) -> None:
    with pytest.raises(SystemExit):
        selected(f"--host={host}")


def test_the_software_datapath_ends_nothing() -> None:
    now = replace(snapshots.snapshot(), record=snapshots.record(process=1))
    with pytest.raises(StateError, match="software datapath"):
        end(now, [TCP])


def test_nothing_to_end_needs_no_program() -> None:
    assert end(snapshots.snapshot(), []) == Ended(0, 0)
