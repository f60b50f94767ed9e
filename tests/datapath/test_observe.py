# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the views are told of maps whose content was written by hand, no program running."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from harness.domains import domain
from mapxdp.datapath import observe, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import DatapathSettings, Napt44Kind
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import HostUse, MappingKind, MappingState, host_bucket

DOMAIN = domain("map-t")
PORTS = list(DOMAIN.port_set)
CLOCK = TickClock.of_this_kernel()
HOST, SERVER = IPv4Address("192.168.1.10"), IPv4Address("198.51.100.7")


class Table:
    """The maps of a CE, and a pen."""

    def __init__(self) -> None:
        self.contract = tables.contract_for(DOMAIN.port_set)
        self.maps = MapSet(self.contract)
        self.maps.create(("config", "slots", "flows", "pool", "hosts", "instance"))
        settings = DatapathSettings(DOMAIN, Napt44Kind.BPF, 1480, None, CLOCK)
        state.initialise(self.maps, settings)
        state.write_config(self.maps, settings)

    def index(self, protocol: str, position: int) -> int:
        return self.contract.number(protocol) * self.contract.number("SLOTS") + position

    def write(self, name: str, index: int, owner_state: str, **fields: Any) -> None:
        now = CLOCK.tick_at(time.monotonic_ns(), 0)
        values = {
            "tick_46": now - 5,
            "tick_64": now - 9,
            "created": now - 70,
            "flags": 0,
            "peer": word(SERVER, 443),
            "timeout_class": self.contract.number("TIMEOUT_TCP"),
            "slot": 0,
            "generation": 0,
            "flow_count": 0,
        }
        owner = word(HOST, 51234) | self.contract.number(owner_state) << 48
        packed = self.contract["mapping"].pack(**values | {"owner": owner} | fields)
        self.maps.set_value(name, packed, index)

    def set_bit(self, bitmap: str, index: int) -> None:
        layout = self.contract["pool"]
        pool = layout.unpack(self.maps.value("pool"))
        words = list(pool[bitmap])
        words[index // 64] |= 1 << index % 64
        self.change_pool(**{bitmap: words})

    def change_pool(self, **fields: Any) -> None:
        layout = self.contract["pool"]
        pool = layout.unpack(self.maps.value("pool"))
        self.maps.set_value("pool", layout.pack(**pool | fields))


def word(address: IPv4Address, port: int) -> int:
    return int.from_bytes(address.packed, sys.byteorder) | port << 32


@pytest.fixture
def table(bpf: None) -> Iterator[Table]:
    made = Table()
    with made.maps:
        yield made


def test_an_empty_table_has_no_mappings(table: Table) -> None:
    assert observe.read_mappings(table.maps) == []
    assert observe.read_hosts(table.maps) == ()


def test_own_ports_forwards_and_flows(table: Table) -> None:
    own, forward = table.index("INDEX_TCP", 3), table.index("INDEX_UDP", 251)
    shared = table.index("INDEX_TCP", 7)
    flags = table.contract.number("FLAG_CONFIRMED") | table.contract.number("FLAG_ANSWERED")
    table.write("slots", own, "SLOT_EIM", flags=flags)
    table.write("slots", forward, "SLOT_STATIC", peer=0)
    table.write("slots", shared, "SLOT_SHARED", owner=table.contract.number("SLOT_SHARED") << 48)
    table.write("flows", 77, "SLOT_FLOW", slot=shared)
    for index in (own, forward, shared):
        table.set_bit("taken", index)
    table.set_bit("flows_taken", 77)
    found = {mapping.kind: mapping for mapping in observe.read_mappings(table.maps)}
    assert len(found) == 3
    mine = found[MappingKind.OWN]
    assert (mine.protocol, mine.host, mine.host_port) == (Protocol.TCP, HOST, 51234)
    assert (mine.port, mine.peer, mine.peer_port) == (PORTS[3], SERVER, 443)
    assert mine.state is MappingState.ESTABLISHED
    assert mine.timeout == CLOCK.ticks(7440)
    assert mine.idle in (5, 6)
    assert mine.age in (70, 71)
    assert found[MappingKind.FLOW].port == PORTS[7]
    assert found[MappingKind.FLOW].timeout == CLOCK.ticks(240)
    assert (found[MappingKind.FORWARD].protocol, found[MappingKind.FORWARD].port) == (
        Protocol.UDP,
        PORTS[251],
    )
    assert found[MappingKind.FORWARD].state is MappingState.WAITING


@pytest.mark.parametrize(
    ("owner_state", "fields"),
    [
        ("SLOT_FREE", {}),
        ("SLOT_CLAIMED", {}),
        ("SLOT_DYING", {}),
        ("SLOT_EIM", {}),
        ("SLOT_FLOW", {"slot": 2**32 - 1}),
        ("SLOT_FLOW", {"slot": 252}),
    ],
)
def test_flows_between_two_states_are_left_out(
    table: Table, owner_state: str, fields: dict[str, int]
) -> None:
    """A program run is filling it or taking it away at this moment: a number may be anything."""
    table.write("flows", 0, owner_state, **fields)
    table.set_bit("flows_taken", 0)
    assert observe.read_mappings(table.maps) == []


def test_numbers_out_of_range_do_no_harm(table: Table) -> None:
    index = table.index("INDEX_ICMP", 0)
    fields = {"flags": 2**64 - 1, "timeout_class": 2**32 - 1, "created": 2**32 - 1}
    table.write("slots", index, "SLOT_EIM", **fields)
    table.set_bit("taken", index)
    (found,) = observe.read_mappings(table.maps)
    assert (found.timeout, found.age) == (0, 0)


def test_pool(table: Table) -> None:
    table.change_pool(
        used=[5, 6, 7], high_water=[50, 60, 70], shared_count=[1, 2, 0], flow_count=9,
        flow_high_water=11,
    )  # fmt: skip
    pool = observe.read_pool(table.maps)
    udp = pool.ports[Protocol.UDP]
    assert (udp.used, udp.high_water, udp.shared) == (6, 60, 2)
    assert (pool.flows, pool.flow_high_water, pool.flow_capacity) == (9, 11, 16384)


def test_hosts(table: Table) -> None:
    layout, bucket = table.contract["host"], host_bucket(HOST)
    table.maps.set_value("hosts", layout.pack(ports=[3, 2, 1], flows=4, refused=5), bucket)
    ports = {Protocol.TCP: 3, Protocol.UDP: 2, Protocol.ICMP: 1}
    assert observe.read_hosts(table.maps) == (HostUse(bucket, ports, 4, 5),)
    assert table.contract.number("HOSTS") == 1 << 12


def test_many_flows_are_read_in_a_moment(table: Table) -> None:
    """The live view reads the whole table once a second."""
    flows = table.contract.number("FLOWS")
    for index in range(flows):
        table.write("flows", index, "SLOT_FLOW", slot=index % 252)
    table.change_pool(flows_taken=[2**64 - 1] * (flows // 64))
    before = time.process_time()
    assert len(observe.read_mappings(table.maps)) == flows
    assert time.process_time() - before < 1
