"""A CE's datapath without an interface: programs and maps, run packet by packet.

Its clock stands still and is moved by the test. Results are read back as the software path
gives them: a reason and a packet.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from types import TracebackType

from harness.domains import domain
from mapxdp.datapath import libbpf, programs, state, tables
from mapxdp.datapath.clock import TickClock
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

FIRST_TICK = 1_000_000
WAN_MTU = 1500

ETHERNET = bytes.fromhex("020000000002 020000000001")
_ETHER_TYPE = {4: bytes.fromhex("0800"), 6: bytes.fromhex("86dd")}
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


def frozen_settings(ce_domain: Domain, **changes: object) -> DatapathSettings:
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
        self.maps = MapSet(contract)
        self.maps.create(spec.name for spec in contract.maps)
        self.programs = programs.load(ce_domain.mode, self.maps)
        self.reset()

    def close(self) -> None:
        self.programs.__exit__(None, None, None)
        self.maps.close()

    def reset(self, **changes: object) -> None:
        """No mappings, counters at what they are, the clock at its first tick."""
        contract = self.maps.contract
        slot = contract["slot"]
        size = contract.number("PROTOCOLS") * contract.number("SLOTS") * slot.size
        with mmap.mmap(self.maps.fds["slots"], size) as memory:
            memory[:] = bytes(size)
        for key in list(libbpf.keys(self.maps.fds["eim"], contract["endpoint"].size)):
            libbpf.delete(self.maps.fds["eim"], key)
        state.initialise(self.maps, self.domain)
        self.settings = frozen_settings(self.domain, **changes)
        state.write_config(self.maps, self.settings)
        self._counters = self._read()

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
        version = packet[0] >> 4 if packet else 4
        frame = ETHERNET + _ETHER_TYPE.get(version, b"\x08\x06") + packet
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
        assert result.packet[12:14] == _ETHER_TYPE[translated[0] >> 4]
        return Outcome(reason, (without_padding(translated),))

    def _read(self) -> list[int]:
        spec = self.maps.spec("counters")
        values = libbpf.lookup_all(self.maps.fds["counters"], spec)
        return [sum(packets for packets, _ in struct.iter_unpack("=QQ", value)) for value in values]

    def events_since(self) -> None:
        """Forgets what was counted so far."""
        self._counters = self._read()

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
