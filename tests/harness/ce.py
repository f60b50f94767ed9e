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

from harness.domains import domain
from mapxdp.contract import read_contract
from mapxdp.datapath import libbpf, programs, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.links import ETHERNET_HEADER
from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

FIRST_TICK = 1_000_000
WAN_MTU = 1500

ETHERNET = bytes.fromhex("020000000002 020000000001")
_ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
_ACTION = {ReasonClass.DROP: 2}
_ACTION_ON = 0xFFFFFFFF  # TC_ACT_UNSPEC
#: Of struct __sk_buff, <linux/bpf.h>.
_GSO_SEGS_OFFSET, _GSO_SIZE_OFFSET, _CONTEXT_SIZE = 164, 176, 192


class _StoppedClock(TickClock):
    """A tick is a second, and it is always the `offset`th: jiffies >> 63 is 0."""

    def __init__(self, tick: int) -> None:
        super().__init__(hz=1, shift=63, offset=tick)

    def ticks(self, seconds: int) -> int:
        return seconds


def stopped_settings(ce_domain: Domain, **changes: object) -> DatapathSettings:
    """Settings for tests: a stopped clock whose tick is a second."""
    mtu = ce_domain.ipv4_mtu(WAN_MTU)
    settings = DatapathSettings(
        domain=ce_domain,
        translates_ports=True,
        ipv4_mtu=mtu,
        mss=mtu - 40,
        clock=_StoppedClock(FIRST_TICK),
    )
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


class LoadedCe:
    """One loaded datapath."""

    def __init__(self, ce_domain: Domain, index_entries: int | None = None) -> None:
        self.domain = ce_domain
        contract = tables.contract_for(ce_domain.port_set)
        if index_entries is not None:
            contract = read_contract(**contract.capacities | {"EIM_ENTRIES": index_entries})
        self.maps = MapSet(contract)
        self.maps.create(spec.name for spec in contract.maps)
        self.programs = programs.load(ce_domain.mode, self.maps, ETHERNET_HEADER)
        self.reset()

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
        clear_slots(self.maps)
        for key in list(libbpf.keys(self.maps.fds["eim"], self.maps.spec("eim").key_size)):
            libbpf.delete(self.maps.fds["eim"], key)
        state.initialise(self.maps, self.domain)
        self.settings = stopped_settings(self.domain, **changes)
        state.write_config(self.maps, self.settings)
        self._at_reset = self._counters = self._read()

    @property
    def now(self) -> int:
        return self.settings.clock.offset

    def set_clock(self, tick: int) -> None:
        self.settings = dataclasses.replace(self.settings, clock=_StoppedClock(tick))
        state.write_config(self.maps, self.settings)

    def advance(self, ticks: int) -> None:
        self.set_clock(self.now + ticks)

    def from_lan(self, packet: bytes, **context: int) -> Outcome:
        """An IP packet through the upstream program."""
        return self._run(self.programs.upstream.fd, "DIRECTION_46", packet, context)

    def from_wan(self, packet: bytes, **context: int) -> Outcome:
        """An IP packet through the downstream program."""
        return self._run(self.programs.downstream.fd, "DIRECTION_64", packet, context)

    def _run(self, fd: int, direction: str, packet: bytes, context: dict[str, int]) -> Outcome:
        version = packet[0] >> 4
        ether_type = context.pop("ether_type", _ETHER_TYPE.get(version, 0x0806))
        frame = ETHERNET + ether_type.to_bytes(2, "big") + packet
        result = libbpf.run_program(fd, frame, context=_context(**context))
        reason = self._reason_since(direction)
        expected = _ACTION.get(reason.reason_class, _ACTION_ON)
        assert result.verdict == expected, f"{reason} ended in TC action {result.verdict}"
        if reason.reason_class is not ReasonClass.TRANSLATED:
            if reason is not Reason.KERNEL_REFUSED:
                assert result.packet == frame, f"{reason}, but the packet was changed"
            return Outcome(reason)
        assert result.packet[:12] == ETHERNET, "the link-layer addresses were changed"
        translated = result.packet[14:]
        assert int.from_bytes(result.packet[12:14], "big") == _ETHER_TYPE[translated[0] >> 4]
        return Outcome(reason, (without_padding(translated),))

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

    def occupy_all_slots_behind_the_bitmap(self) -> None:
        """Gives every slot an owner that never goes; the bitmap does not say so."""
        contract = self.maps.contract
        claimed = contract["slot"].pack(
            owner=contract.number("SLOT_CLAIMED") << 48,
            tick_46=0,
            tick_64=0,
            flags=0,
            peer=0,
            created=0,
        )
        for number in range(contract.number("PROTOCOLS") * contract.number("SLOTS")):
            self.maps.set_value("slots", claimed, number)

    def _reason_since(self, direction: str) -> Reason:
        """The one verdict that was counted since the last look."""
        before, self._counters = self._counters, self._read()
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


def clear_slots(maps: MapSet) -> None:
    """Makes every slot free."""
    size = _slots_size(maps)
    with mmap.mmap(maps.fds["slots"], size) as memory:
        memory[:] = bytes(size)


def _slots_size(maps: MapSet) -> int:
    spec = maps.spec("slots")
    return spec.entries * spec.value_size


def used_slots(maps: MapSet) -> dict[tuple[int, int], dict[str, int]]:
    """Every slot that is not free, by protocol index and position."""
    contract = maps.contract
    layout, found = contract["slot"], {}
    with mmap.mmap(maps.fds["slots"], _slots_size(maps), prot=mmap.PROT_READ) as memory:
        for number in range(maps.spec("slots").entries):
            slot = layout.unpack(memory[number * layout.size : (number + 1) * layout.size])
            if slot["owner"]:
                found[divmod(number, contract.number("SLOTS"))] = slot
    return found


def taken_positions(maps: MapSet, ports: int) -> set[tuple[int, int]]:
    """What the bitmap says of the ``ports`` slots that stand for a port."""
    taken = maps.contract["bitmap"].unpack(maps.value("bitmap"))["taken"]
    words = maps.contract.number("SLOTS") // 64
    return {
        (number // words, number % words * 64 + bit)
        for number, word in enumerate(taken)
        for bit in range(64)
        if word >> bit & 1 and number % words * 64 + bit < ports
    }


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
    """Where slots, bitmap and index contradict each other, while nothing runs."""
    contract, slots = maps.contract, used_slots(maps)
    settled = {contract.number("SLOT_EIM"), contract.number("SLOT_RESERVED")}
    mapped = {
        place: slot
        for place, slot in slots.items()
        if slot["owner"] >> 48 == contract.number("SLOT_EIM")
    }
    by_owner = {
        (slot["owner"] & (1 << 48) - 1, protocol): (protocol, position)
        for (protocol, position), slot in mapped.items()
    }
    found = []
    if any(slot["owner"] >> 48 not in settled for slot in slots.values()):
        found.append("a slot is stuck between two states")
    if len(by_owner) != len(mapped):
        found.append("an endpoint owns two slots")
    if index_entries(maps) != by_owner:
        found.append("the index and the slots differ")
    if taken_positions(maps, len(ce_domain.port_set)) != set(slots):
        found.append("the bitmap and the slots differ")
    return found


def _context(gso_size: int = 0, gso_segs: int = 0) -> bytes | None:
    if not gso_size:
        return None
    context = bytearray(_CONTEXT_SIZE)
    struct.pack_into("=I", context, _GSO_SEGS_OFFSET, gso_segs)
    struct.pack_into("=I", context, _GSO_SIZE_OFFSET, gso_size)
    return bytes(context)


def without_padding(packet: bytes) -> bytes:
    """The packet as long as its own header says."""
    if packet[0] >> 4 == 4:
        return packet[: int.from_bytes(packet[2:4], "big")]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]


class LoadedCes:
    """Datapaths, loaded when first asked for and kept."""

    def __init__(self) -> None:
        self._loaded: dict[Domain, LoadedCe] = {}

    def __enter__(self) -> LoadedCes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for ce in self._loaded.values():
            ce.close()

    def get(self, ce_domain: Domain, **changes: object) -> LoadedCe:
        """The datapath of a domain, freshly reset."""
        if ce_domain not in self._loaded:
            self._loaded[ce_domain] = LoadedCe(ce_domain)
        self._loaded[ce_domain].reset(**changes)
        return self._loaded[ce_domain]

    def example(self, mode: str, **changes: object) -> LoadedCe:
        """The RFC's example CE."""
        return self.get(domain(mode), **changes)
