# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Adding and deleting port forwards: what is refused, what is tried, what is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from harness import snapshots
from harness.snapshots import replace
from mapxdp import cli, forwards, record
from mapxdp.config import Napt44Mode
from mapxdp.datapath import control
from mapxdp.datapath.control import Result
from mapxdp.errors import InvalidValue, StateError
from mapxdp.model.napt44 import Forward, Napt44Policy
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind
from mapxdp.snapshot import Snapshot

P = snapshots.PORTS
HOST = IPv4Address("192.168.1.20")
ANY = Forward(Protocol.TCP, None, HOST, 443)


@dataclass
class Commands:
    """What a datapath was told; ports in ``changed`` were taken at the last moment."""

    released: list[Mapping] = field(default_factory=list)
    forwarded: list[int] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)
    answer: Result = Result.DONE

    @contextmanager
    def opened(self, *_: Any) -> Iterator[Commands]:
        yield self

    def release(self, _: Any, mapping: Mapping) -> Result:
        self.released.append(mapping)
        return self.answer

    def forward(self, _: Any, __: Forward, port: int) -> Result:
        self.forwarded.append(port)
        return Result.CHANGED if port in self.changed else self.answer


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    told = Commands()
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    for name in ("opened", "release", "forward"):
        monkeypatch.setattr(control, name, getattr(told, name))
    return told


def running(*mappings: Mapping, policy: Napt44Policy | None = None, **changes: Any) -> Snapshot:
    now = snapshots.snapshot(mappings=mappings)
    config = replace(now.config, policy=policy or Napt44Policy())
    made = replace(now, config=config, record=snapshots.record(**changes))
    made.record.save()
    return made


def remembered() -> tuple[str, ...]:
    loaded = record.load("home")
    assert loaded is not None
    return loaded.forwards


def test_any_free_port(commands: Commands) -> None:
    live = snapshots.mapping(Protocol.TCP, 2, P[0])
    udp = snapshots.mapping(Protocol.UDP, 2, P[1])
    made = forwards.add(running(live, udp), ANY)
    assert (made, commands.forwarded) == (replace(ANY, port=P[1]), [P[1]])
    assert remembered() == (f"tcp {P[1]} to 192.168.1.20:443",)


def test_any_prefers_the_servers_own_number(commands: Commands) -> None:
    made = forwards.add(running(), replace(ANY, host_port=P[9]))
    assert made.port == P[9]


def test_any_tries_the_next_one(commands: Commands) -> None:
    commands.changed = {P[0], P[1]}
    assert forwards.add(running(), ANY).port == P[2]


def test_any_takes_an_expired_port_last(commands: Commands) -> None:
    expired = [snapshots.mapping(Protocol.TCP, 2, port, idle=301) for port in P[:-1]]
    assert forwards.add(running(*expired), ANY).port == P[-1]
    full = [*expired, snapshots.mapping(Protocol.TCP, 2, P[-1])]
    assert forwards.add(running(*full), ANY).port == P[0]
    assert (commands.released, commands.forwarded[-1]) == ([expired[0]], P[0])


def test_any_when_every_port_is_in_use(commands: Commands) -> None:
    full = [snapshots.mapping(Protocol.TCP, 2, port) for port in P]
    with pytest.raises(StateError, match="every tcp port"):
        forwards.add(running(*full), ANY)
    assert remembered() == ()


def test_any_leaves_reserved_ports_alone(commands: Commands) -> None:
    policy = Napt44Policy(reserved_ports=frozenset(P[:3]))
    assert forwards.add(running(policy=policy), ANY).port == P[3]
    with pytest.raises(InvalidValue, match="reserved"):
        forwards.add(running(policy=policy), replace(ANY, port=P[0]))


@pytest.mark.parametrize("port", [80, 443, 65535, P[-1] + 1])
def test_a_port_outside_the_set_is_refused_with_what_is_owned(
    commands: Commands, port: int
) -> None:
    with pytest.raises(InvalidValue, match=r"1232-1235, 2256-2259, .*64720-64723") as error:
        forwards.add(running(), replace(ANY, port=port))
    assert error.value.exit_code == 2
    assert commands.forwarded == []


def test_a_port_in_use_is_refused_with_by_whom(commands: Commands) -> None:
    live = snapshots.mapping(Protocol.TCP, 2, P[0])
    with pytest.raises(StateError, match=r"192.168.1.2:41232 has tcp port 1232 in use") as error:
        forwards.add(running(live), replace(ANY, port=P[0]))
    assert "mapxdp sessions --protocol tcp --port 1232 --delete" in str(error.value)
    flows = [snapshots.flow(host, P[0], 1) for host in (2, 3, 4)]
    with pytest.raises(StateError, match=r"192.168.1.2:41232 and 2 more has"):
        forwards.add(running(*flows), replace(ANY, port=P[0]))
    there = snapshots.forward(Protocol.TCP, 9, 80, P[0])
    with pytest.raises(StateError, match="forward del tcp 1232"):
        forwards.add(running(there), replace(ANY, port=P[0]))


def test_an_endpoint_has_one_port(commands: Commands) -> None:
    """The server's own traffic leaves by its forward: it cannot have another port as well."""
    own = replace(snapshots.mapping(Protocol.TCP, 20, P[5]), host_port=443)
    with pytest.raises(StateError, match=r"192.168.1.20:443 already has tcp port 2257 in use"):
        forwards.add(running(own), ANY)
    expired = replace(own, idle=301)
    forwards.add(running(expired), ANY)
    assert commands.released == [expired]


def test_an_expired_mapping_of_the_endpoint_on_the_very_port(commands: Commands) -> None:
    expired = replace(snapshots.mapping(Protocol.TCP, 20, P[5], idle=301), host_port=443)
    forwards.add(running(expired), replace(ANY, port=P[5]))
    assert commands.released[0] == expired
    assert commands.forwarded == [P[5]]


def test_expired_flows_make_room(commands: Commands) -> None:
    flows = [replace(snapshots.flow(2, P[0], number), idle=301) for number in range(3)]
    forwards.add(running(*flows), replace(ANY, port=P[0]))
    assert (commands.released, commands.forwarded) == (flows, [P[0]])


def test_a_port_taken_at_the_same_moment(commands: Commands) -> None:
    commands.changed = {P[0]}
    with pytest.raises(StateError, match="same moment"):
        forwards.add(running(), replace(ANY, port=P[0]))
    assert remembered() == ()


def test_a_well_known_port_of_an_unshared_address(commands: Commands) -> None:
    """It is in the set, but NAPT44 hands out none below 1024."""
    now = running()
    whole = replace(
        now.config.domain,
        rules=(replace(now.config.domain.bmr, ipv4=IPv4Network("192.0.2.0/24"), ea_length=8),),
    )
    commands.changed = {443}
    with pytest.raises(StateError, match="443 is reserved"):
        forwards.add(replace(now, config=replace(now.config, domain=whole)), replace(ANY, port=443))


def test_a_full_index(commands: Commands) -> None:
    commands.answer = Result.INDEX_FULL
    with pytest.raises(StateError, match="index"):
        forwards.add(running(), ANY)
    assert remembered() == ()


def test_others_forward_nothing(commands: Commands) -> None:
    now = running()
    with pytest.raises(StateError, match="netfilter"):
        forwards.add(replace(now, config=replace(now.config, napt44=Napt44Mode.NETFILTER)), ANY)
    with pytest.raises(StateError, match="software"):
        forwards.add(running(process=1), ANY)
    with pytest.raises(StateError, match="software"):
        forwards.delete(running(process=1), Protocol.TCP, P[0])


def test_delete(commands: Commands) -> None:
    there = snapshots.forward(Protocol.TCP, 20, 443, P[0])
    now = running(there, forwards=("tcp 1232 to 192.168.1.20:443", "udp 1232 to 192.168.1.9:9"))
    assert forwards.delete(now, Protocol.TCP, P[0]) == "tcp 1232 to 192.168.1.20:443"
    assert commands.released == [there]
    assert remembered() == ("udp 1232 to 192.168.1.9:9",)


def test_delete_of_what_is_remembered_only(commands: Commands) -> None:
    now = running(forwards=("tcp 1232 to 192.168.1.20:443",))
    forwards.delete(now, Protocol.TCP, P[0])
    assert (commands.released, remembered()) == ([], ())


def test_delete_of_nothing(commands: Commands) -> None:
    own = snapshots.mapping(Protocol.TCP, 2, P[0])
    with pytest.raises(StateError, match="tcp port 1232 is not forwarded"):
        forwards.delete(running(own), Protocol.TCP, P[0])
    assert own.kind is MappingKind.OWN


def test_delete_of_a_configured_one(commands: Commands) -> None:
    there = snapshots.forward(Protocol.TCP, 20, 443, P[0])
    now = running(there, policy=Napt44Policy(forwards=(ANY,)))
    with pytest.raises(StateError, match=r"home.toml"):
        forwards.delete(now, Protocol.TCP, P[0])
    assert commands.released == []


def test_delete_of_one_that_changed(commands: Commands) -> None:
    commands.answer = Result.CHANGED
    there = snapshots.forward(Protocol.TCP, 20, 443, P[0])
    with pytest.raises(StateError, match="changed"):
        forwards.delete(running(there), Protocol.TCP, P[0])


@pytest.mark.parametrize("forward", [ANY, Forward(Protocol.UDP, 4930, HOST, 65535)])
def test_text_and_back(forward: Forward) -> None:
    assert forwards.parse(str(forward)) == forward


@pytest.mark.parametrize(
    "text",
    ["", "tcp", "tcp 1 to", "tcp 1 in 192.168.1.1:1", "sctp 1 to 192.168.1.1:1",
     "tcp 0 to 192.168.1.1:1", "tcp 65536 to 192.168.1.1:1", "tcp x to 192.168.1.1:1",
     "tcp 1 to 192.168.1.1", "tcp 1 to 192.168.1.1:0", "tcp 1 to ::1:80",
     "tcp 1 to 192.168.1.1:" + "9" * 5000, "tcp 1 to 192.168.1.1:٣"],
)  # fmt: skip
def test_hostile_text(text: str) -> None:
    with pytest.raises(InvalidValue):
        forwards.parse(text)


def test_a_record_of_a_version_without_forwards(tmp_path: Path, commands: Commands) -> None:
    running()
    path = tmp_path / "home.json"
    path.write_text(path.read_text().replace('"forwards"', '"process"'))
    loaded = record.load("home")
    assert loaded is not None
    assert loaded.forwards == ()


@pytest.mark.parametrize("broken", ["null", "7"])
def test_a_record_that_was_tampered_with(tmp_path: Path, commands: Commands, broken: str) -> None:
    running()
    path = tmp_path / "home.json"
    path.write_text(path.read_text().replace('"forwards": []', f'"forwards": {broken}'))
    with pytest.raises(StateError, match=r"home\.json"):
        record.load("home")


@pytest.mark.parametrize("port", ["0x50", "-1", "٣", "any", "123456", ""])
def test_hostile_ports_on_the_command_line(
    port: str, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    running()
    assert cli.main(["forward", "del", "tcp", "--", port]) == 2
    assert "it is no port" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["192.0.2.18", "224.0.0.1", "127.0.0.1"])
def test_no_host_of_the_lan(host: str) -> None:
    """As in a configuration: neither the CE's own address nor one that no host has."""
    with pytest.raises(InvalidValue):
        forwards.add(running(), replace(ANY, host=forwards.endpoint(f"{host}:443")[0]))
