"""A CE's datapath without an interface: programs and maps, run packet by packet.

Its clock stands still and is moved by the test. Results are read back as the software path
gives them: a reason and a packet.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
import sys
from types import TracebackType
from typing import Any

from mapxdp.contract import Struct, read_contract
from mapxdp.datapath import libbpf, programs, state, tables
from mapxdp.datapath.clock import StoppedClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.programs import ProgramSet
from mapxdp.datapath.tables import PROTOCOL_INDEX, DatapathSettings, Napt44Kind
from mapxdp.datapath.trial import PASSED_ON, REDIRECTED, Trial, TrialLink, context
from mapxdp.links import ETHERNET_HEADER
from mapxdp.model.domain import Domain
from mapxdp.model.napt44 import LogLevel, Napt44Policy
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

FIRST_TICK = 1_000_000
WAN_MTU = 1500

ETHERNET = bytes.fromhex("020000000002 020000000001")
ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
_SHOT = 2
_STOLEN = 4
_FRAGMENT = 44
_REVERSED = {"DIRECTION_46": ETHERNET[6:] * 2, "DIRECTION_64": ETHERNET[6:] + ETHERNET[:6]}


def stopped_settings(ce_domain: Domain, **changes: object) -> DatapathSettings:
    """Settings for tests: a stopped clock whose tick is a second."""
    mtu = ce_domain.ipv4_mtu(WAN_MTU)
    settings = DatapathSettings(
        domain=ce_domain,
        napt44=Napt44Kind.BPF,
        ipv4_mtu=mtu,
        mss=mtu - 40,
        clock=StoppedClock(FIRST_TICK),
        policy=Napt44Policy(log=LogLevel.OFF),
    )
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


class LoadedCe:
    """One loaded datapath."""

    def __init__(self, ce_domain: Domain, **capacities: int) -> None:
        self.domain = ce_domain
        contract = read_contract(**tables.contract_in(ce_domain).capacities | capacities)
        self.maps = MapSet(contract)
        self.maps.create(spec.name for spec in contract.maps)
        state.write_rules(self.maps, ce_domain)
        self.programs = self.load_programs()
        #: The interface packets are on, for tests of programs that send more than the packet.
        self.link: TrialLink | None = None
        #: Packets that took a shortcut: there is none here.
        self.taken = 0
        self.reset()

    def load_programs(self) -> ProgramSet:
        """All that a CE without an accelerator has."""
        return programs.load(self.domain.mode, self.maps, ETHERNET_HEADER)

    def __enter__(self) -> LoadedCe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.programs.__exit__(None, None, None)
        self.maps.close()

    def reset(self, **changes: object) -> None:
        """No mappings, counters at what they are, the clock at its first tick."""
        clear_state(self.maps)
        self.settings = stopped_settings(self.domain, **changes)
        state.initialise(self.maps, self.settings)
        self._write_config()
        self._make_forwards()
        self._at_reset = self._counters = self._read()

    @property
    def now(self) -> int:
        return self.settings.clock.offset

    def _make_forwards(self) -> None:
        """Those of the policy, which have to name their ports."""
        for forward in self.settings.policy.forwards:
            assert forward.port is not None
            index = PROTOCOL_INDEX[forward.protocol]
            endpoint: dict[str, object] = {
                "ipv4": forward.host.packed,
                "port": forward.host_port,
                "protocol": self.maps.contract.number(index),
                "zero": 0,
            }
            slot = self.slot_index(index.removeprefix("INDEX_"), forward.port)
            result = self.command("COMMAND_FORWARD", slot, endpoint=endpoint)
            assert result == self.maps.contract.number("COMMAND_DONE")

    def set_clock(self, tick: int) -> None:
        """Writes nothing else that has not changed: that would take longer than a packet."""
        clock_only = self.settings is self._written
        self.settings = dataclasses.replace(self.settings, clock=StoppedClock(tick))
        if clock_only:
            self._write_clock(tick)
            self._written = self.settings
        else:
            self._write_config()

    def _write_config(self) -> None:
        state.write_config(self.maps, self.settings)
        self._written = self.settings

    def _write_clock(self, tick: int) -> None:
        contract = self.maps.contract
        offset = _offset(contract["config"], "tick_offset")
        buffer = bytearray(self.maps.value("config"))
        for half in range(2):
            at = _offset(contract["config_buffer"], "half") + half * contract["config"].size
            struct.pack_into("=I", buffer, at + offset, tick)
        self.maps.set_value("config", bytes(buffer))

    def advance(self, ticks: int) -> None:
        """Moves the clock, and lets the sweep come round."""
        self.set_clock(self.now + ticks)
        self.sweep()

    def sweep(self) -> None:
        """Runs the sweep until it has looked at every flow."""
        while self.command("COMMAND_SWEEP") == self.maps.contract.number("COMMAND_CHANGED"):
            pass

    def command(
        self, kind: str, slot: int = 0, owner: int = 0, endpoint: dict[str, object] | None = None
    ) -> int:
        """Asks the control program for something; its result."""
        contract = self.maps.contract
        nobody = {"ipv4": bytes(4), "port": 0, "protocol": 0, "zero": 0}
        packed = contract["command"].pack(
            kind=contract.number(kind),
            slot=slot,
            owner=owner,
            endpoint=endpoint or nobody,  # type: ignore[arg-type]
        )
        result = libbpf.run_program(self.programs.control.fd, bytes(14) + packed.ljust(46, b"\0"))
        return result.verdict

    def from_lan(self, packet: bytes, **context: int) -> Outcome:
        """An IP packet through the upstream program."""
        return self._run(self.programs.upstream.fd, "DIRECTION_46", packet, context)

    def from_wan(self, packet: bytes, **context: int) -> Outcome:
        """An IP packet through the downstream program."""
        return self._run(self.programs.downstream.fd, "DIRECTION_64", packet, context)

    def through(self, fd: int, direction: str, packet: bytes, **context: int) -> Outcome:
        """An IP packet through a program that ends in one of the datapath's."""
        return self._run(fd, direction, packet, context)

    def _run(self, fd: int, direction: str, packet: bytes, fields: dict[str, int]) -> Outcome:
        version = packet[0] >> 4
        ether_type = fields.pop("ether_type", ETHER_TYPE.get(version, 0x0806))
        frame = ETHERNET + ether_type.to_bytes(2, "big") + packet
        trial = self._tried(fd, frame, fields)
        reason = self._reason_since(direction)
        leaves = reason.reason_class is ReasonClass.TRANSLATED
        if trial.verdict != REDIRECTED and not (leaves and trial.verdict == PASSED_ON):
            self._assert_end(reason, trial, frame)
        crossed, turned = trial.sides(direction == "DIRECTION_46", leaves)
        turned_packets = tuple(_turned_around(made, direction) for made in turned)
        if reason is Reason.HAIRPINNED:
            return Outcome(reason, turned_packets)
        return Outcome(reason, tuple(map(_crossed, crossed)), turned_packets)

    def _tried(self, fd: int, frame: bytes, fields: dict[str, int]) -> Trial:
        if self.link is not None:
            return self.link.run(fd, frame, **fields)
        set_fields = context(**fields) if any(fields.values()) else None
        result = libbpf.run_program(fd, frame, context=set_fields)
        return Trial(result.verdict, result.packet, (), ())

    def _assert_end(self, reason: Reason, trial: Trial, frame: bytes) -> None:
        """The packet itself went nowhere, or on as it was."""
        has_gone = reason is Reason.FRAGMENT_KEPT or trial.transmitted or trial.received
        passed = reason.reason_class is ReasonClass.PASS
        dropped = reason.reason_class is ReasonClass.DROP
        expected = PASSED_ON if passed else _SHOT if dropped else _STOLEN
        assert trial.verdict == expected, f"{reason} ended in {trial.verdict}"
        assert passed or dropped or has_gone, f"{reason}, but nothing left"
        is_prepared = self._put_together or (dropped and _is_prepared(frame[14:]))
        was_in_pieces = frame[20] == _FRAGMENT
        as_it_was = is_prepared or was_in_pieces or reason is Reason.KERNEL_REFUSED
        if not has_gone and not as_it_was:
            assert trial.frame == frame, f"{reason}, but the packet was changed"

    def _read(self) -> list[int]:
        spec = self.maps.spec("counters")
        values = libbpf.lookup_all(self.maps.fds["counters"], spec)
        return [sum(packets for packets, _ in struct.iter_unpack("=QQ", value)) for value in values]

    def events(self) -> dict[Reason, int]:
        """Events of both directions since the last reset."""
        stride = self.maps.contract.number("REASONS_MAX")
        now = self._read()
        counted = {
            reason: sum(
                now[start + reason.number] - self._at_reset[start + reason.number]
                for start in (0, stride)
            )
            for reason in Reason
            if reason.reason_class is ReasonClass.EVENT
        }
        return {reason: count for reason, count in counted.items() if count}

    def slots(self) -> dict[tuple[int, int], dict[str, int]]:
        """Every slot that is not free, by protocol index and position."""
        return used_slots(self.maps)

    def flows(self) -> dict[int, dict[str, int]]:
        """Every flow that is not free, by its position."""
        return used_mappings(self.maps, "flows")

    def pool(self) -> dict[str, Any]:
        """What is free and shared, as the datapath counts it."""
        return self.maps.contract["pool"].unpack(self.maps.value("pool"))

    def recounted(self) -> list[str]:
        """Where the tables contradict each other; nothing, if all is well."""
        return inconsistencies(self.maps, self.domain)

    def slot_index(self, protocol: str, port: int) -> int:
        """Where the slot of a port of the set is; ``protocol`` as in INDEX_UDP."""
        number = self.maps.contract.number
        position = list(self.domain.port_set).index(port)
        return number(f"INDEX_{protocol}") * number("SLOTS") + position

    def occupy_all_slots_behind_the_bitmap(self) -> None:
        """Gives every slot an owner that never goes; the bitmap does not say so."""
        contract = self.maps.contract
        claimed = bytearray(tables.reserved_slot(contract))
        claimed[:8] = (contract.number("SLOT_CLAIMED") << 48).to_bytes(8, sys.byteorder)
        for number in range(contract.number("PROTOCOLS") * contract.number("SLOTS")):
            self.maps.set_value("slots", bytes(claimed), number)

    def _event(self, direction: str, reason: Reason) -> int:
        """Where the counters have an event."""
        number = self.maps.contract.number
        return number(direction) * number("REASONS_MAX") + reason.number

    def _reason_since(self, direction: str) -> Reason:
        """The one verdict that was counted since the last look."""
        before, self._counters = self._counters, self._read()
        whole = self._event(direction, Reason.DATAGRAM_REASSEMBLED)
        self._put_together = self._counters[whole] != before[whole]
        first = {
            name: self.maps.contract.number(name) * self.maps.contract.number("REASONS_MAX")
            for name in ("DIRECTION_46", "DIRECTION_64")
        }
        verdicts = [
            (name, reason)
            for name, start in first.items()
            for reason in Reason
            if reason.reason_class is not ReasonClass.EVENT
            and self._counters[start + reason.number] != before[start + reason.number]
        ]
        assert len(verdicts) == 1, f"one packet, but counted {verdicts}"
        assert verdicts[0][0] == direction
        return verdicts[0][1]


def _offset(layout: Struct, name: str) -> int:
    return next(field.offset for field in layout.fields if field.name == name)


def _is_prepared(packet: bytes) -> bool:
    """True if the packet may be changed before it is dropped.

    Options are left out, extension headers taken out, a checksum is computed first.
    """
    if packet[0] >> 4 == 6:
        return packet[6:7] in (b"\x00", b"\x2b", b"\x3c")
    return packet[0] != 0x45 or (packet[9:10] == b"\x11" and packet[26:28] == bytes(2))


def _crossed(frame: bytes) -> bytes:
    """A packet on the other side."""
    assert frame[:12] == ETHERNET, "the link-layer addresses were changed"
    packet = frame[14:]
    assert int.from_bytes(frame[12:14], "big") == ETHER_TYPE[packet[0] >> 4]
    return without_padding(packet)


def _turned_around(frame: bytes, direction: str) -> bytes:
    """A packet that went back: into the LAN by way of the WAN's own address, or to the WAN."""
    assert frame[:12] == _REVERSED[direction], "the frame does not go back"
    packet = without_padding(frame[14:])
    assert packet[0] >> 4 == (4 if direction == "DIRECTION_46" else 6)
    return packet


def clear_state(maps: MapSet) -> None:
    """Makes every slot and flow free, and forgets every index entry and count."""
    for name in ("slots", "flows"):
        size = maps.spec(name).entries * maps.spec(name).value_size
        with mmap.mmap(maps.fds[name], size) as memory:
            memory[:] = bytes(size)
    _free_datagrams(maps)
    for name in ("eim", "flow_index", "permissions", "fragments"):
        for key in list(libbpf.keys(maps.fds[name], maps.spec(name).key_size)):
            libbpf.delete(maps.fds[name], key)
    hosts = maps.spec("hosts")
    for number, value in enumerate(libbpf.lookup_all(maps.fds["hosts"], hosts)):
        if any(value):
            maps.set_value("hosts", bytes(hosts.value_size), number)


def _free_datagrams(maps: MapSet) -> None:
    """No fragments are kept any more."""
    size = maps.contract["datagram"].size
    with mmap.mmap(maps.fds["datagrams"], maps.spec("datagrams").entries * size) as memory:
        for start in range(0, len(memory), size):
            memory[start : start + 8] = bytes(8)


def used_mappings(maps: MapSet, name: str) -> dict[int, dict[str, int]]:
    """Every element of ``slots`` or ``flows`` that is not free, by position."""
    spec, layout = maps.spec(name), maps.contract["mapping"]
    with mmap.mmap(maps.fds[name], spec.entries * layout.size, prot=mmap.PROT_READ) as memory:
        data = memory[:]
    return {
        number: layout.unpack(data[number * layout.size : (number + 1) * layout.size])
        for number in range(spec.entries)
        if data[number * layout.size : number * layout.size + 8] != bytes(8)
    }


def used_slots(maps: MapSet) -> dict[tuple[int, int], dict[str, int]]:
    """Every slot that is not free, by protocol index and position."""
    slots = maps.contract.number("SLOTS")
    return {divmod(number, slots): slot for number, slot in used_mappings(maps, "slots").items()}


def index_entries(maps: MapSet) -> dict[tuple[int, int], tuple[int, int]]:
    """The eim map: (owner without state, protocol) to (protocol, position)."""
    layout, fd, found = maps.contract["endpoint"], maps.fds["eim"], {}
    for key in libbpf.keys(fd, layout.size):
        value, endpoint = libbpf.lookup(fd, key, 8), layout.unpack(key)
        assert value is not None
        owner = int.from_bytes(endpoint["ipv4"], sys.byteorder) | endpoint["port"] << 32
        position = int.from_bytes(value, sys.byteorder)
        found[owner, endpoint["protocol"]] = divmod(position, maps.contract.number("SLOTS"))
    return found


def inconsistencies(maps: MapSet, ce_domain: Domain) -> list[str]:
    """Where slots, flows, bitmaps, indexes and counts contradict each other: a recount, while
    nothing runs."""
    return _Recount(maps, len(ce_domain.port_set)).complaints()


class _Recount:
    """Everything that can be counted twice, counted twice."""

    def __init__(self, maps: MapSet, ports: int) -> None:
        self._maps = maps
        self._ports = ports
        self._number = maps.contract.number
        self._slots = used_slots(maps)
        self._flows = used_mappings(maps, "flows")
        self._pool = maps.contract["pool"].unpack(maps.value("pool"))

    def _in_state(self, *names: str) -> dict[tuple[int, int], dict[str, int]]:
        states = {self._number(f"SLOT_{name}") for name in names}
        return {at: slot for at, slot in self._slots.items() if slot["owner"] >> 48 in states}

    def _bits(self, name: str) -> set[tuple[int, int]]:
        words = self._number("SLOTS") // 64
        return {
            (number // words, number % words * 64 + bit)
            for number, word in enumerate(self._pool[name])
            for bit in range(64)
            if word >> bit & 1 and number % words * 64 + bit < self._ports
        }

    def complaints(self) -> list[str]:
        checks = {
            "a slot is stuck between two states": self._all_settled(),
            "the index and the slots differ": self._index_agrees(),
            "the bitmap and the slots differ": self._bits("taken") == set(self._slots),
            "the shared bitmap and the slots differ": self._bits("shared")
            == set(self._in_state("SHARED")),
            "the index of flows and the flows differ": self._flow_index_agrees(),
            "the counts of the pool are wrong": self._counts_agree(),
            "the counts of hosts are wrong": self._hosts_agree(),
        }
        return [complaint for complaint, holds in checks.items() if not holds]

    def _all_settled(self) -> bool:
        settled = self._in_state("EIM", "RESERVED", "SHARED", "STATIC")
        flow = self._number("SLOT_FLOW")
        return len(settled) == len(self._slots) and all(
            entry["owner"] >> 48 == flow for entry in self._flows.values()
        )

    def _index_agrees(self) -> bool:
        """Each endpoint that owns ports is found at one of them; nobody else is."""
        owned: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for at, slot in self._in_state("EIM", "STATIC").items():
            owned.setdefault((slot["owner"] & (1 << 48) - 1, at[0]), set()).add(at)
        one_each = all(len(owned[self._owner(at)]) == 1 for at in self._in_state("EIM"))
        index = index_entries(self._maps)
        return (
            one_each
            and index.keys() == owned.keys()
            and all(at in owned[endpoint] for endpoint, at in index.items())
        )

    def _owner(self, at: tuple[int, int]) -> tuple[int, int]:
        return self._slots[at]["owner"] & (1 << 48) - 1, at[0]

    def _flow_index_agrees(self) -> bool:
        """Two entries for each flow, and its port shared and counted."""
        expected: dict[bytes, int] = {}
        on_port: dict[tuple[int, int], int] = {}
        for number, flow in self._flows.items():
            at = divmod(flow["slot"], self._number("SLOTS"))
            on_port[at] = on_port.get(at, 0) + 1
            for key in self._flow_keys(flow, at[0]):
                if key in expected:
                    return False
                expected[key] = number
        layout, fd = self._maps.contract["flow_key"], self._maps.fds["flow_index"]
        found = {}
        for key in libbpf.keys(fd, layout.size):
            value = libbpf.lookup(fd, key, 8)
            assert value is not None
            found[key] = int.from_bytes(value, sys.byteorder)
        counted = {at: slot["flow_count"] for at, slot in self._in_state("SHARED").items()}
        return found == expected and counted == on_port

    def _flow_keys(self, flow: dict[str, int], protocol: int) -> tuple[bytes, bytes]:
        layout = self._maps.contract["flow_key"]
        remote = {
            "remote": (flow["peer"] & 0xFFFFFFFF).to_bytes(4, sys.byteorder),
            "remote_port": flow["peer"] >> 32,
            "protocol": protocol,
            "zero": 0,
        }
        return (
            layout.pack(
                local=flow["owner"] & 0xFFFFFFFF,
                port=flow["owner"] >> 32 & 0xFFFF,
                way=self._number("FLOW_46"),
                **remote,
            ),
            layout.pack(local=flow["slot"], port=0, way=self._number("FLOW_64"), **remote),
        )

    def _counts_agree(self) -> bool:
        taken = self._in_state("EIM", "SHARED", "STATIC")
        shared = self._in_state("SHARED")
        flow_bits = {
            number * 64 + bit
            for number, word in enumerate(self._pool["flows_taken"])
            for bit in range(64)
            if word >> bit & 1
        }
        return (
            [sum(at[0] == index for at in taken) for index in range(3)] == [*self._pool["used"]]
            and [sum(at[0] == index for at in shared) for index in range(3)]
            == [*self._pool["shared_count"]]
            and self._pool["flow_count"] == len(self._flows)
            and flow_bits == set(self._flows)
        )

    def _hosts_agree(self) -> bool:
        ports: dict[tuple[int, int], int] = {}
        flows: dict[int, int] = {}
        for at, slot in self._in_state("EIM").items():
            bucket = self._bucket(slot)
            ports[bucket, at[0]] = ports.get((bucket, at[0]), 0) + 1
        for flow in self._flows.values():
            flows[self._bucket(flow)] = flows.get(self._bucket(flow), 0) + 1
        layout, spec = self._maps.contract["host"], self._maps.spec("hosts")
        used, refused = {bucket for bucket, _ in ports} | set(flows), _offset(layout, "refused")
        for bucket, value in enumerate(libbpf.lookup_all(self._maps.fds["hosts"], spec)):
            if bucket not in used and not any(value[:refused]):
                continue
            host = layout.unpack(value)
            if host["flows"] != flows.get(bucket, 0):
                return False
            if any(host["ports"][index] != ports.get((bucket, index), 0) for index in range(3)):
                return False
        return True

    def _bucket(self, mapping: dict[str, int]) -> int:
        address = (mapping["owner"] & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
        return int.from_bytes(address, "big") % self._number("HOSTS")


def without_padding(packet: bytes) -> bytes:
    """The packet as long as its own header says."""
    if packet[0] >> 4 == 4:
        return packet[: int.from_bytes(packet[2:4], "big")]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]
