# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The BPF datapath for packets of a capture: loaded over maps of its own, attached nowhere."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from mapxdp.datapath import control, libbpf, programs, state, tables
from mapxdp.datapath.clock import StoppedClock
from mapxdp.datapath.control import Control
from mapxdp.datapath.maps import MapSet
from mapxdp.datapath.tables import DatapathSettings
from mapxdp.datapath.trial import Trial, TrialLink
from mapxdp.links import ETHERNET_HEADER
from mapxdp.model.napt44 import Forward
from mapxdp.observed import Mapping
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

#: To the router's own address, as its kernel would have it.
_LINK = bytes.fromhex("020000000002 020000000001")


class BpfPath:
    """Takes packets as software.ce.CustomerEdge does. A context manager that unloads all.

    ``clock`` gives the tick; of the settings' clock nothing is used. ``forwards`` are there
    before the first packet.
    """

    def __init__(
        self, settings: DatapathSettings, clock: Callable[[], int], forwards: Iterable[Mapping]
    ) -> None:
        self._clock = clock
        with ExitStack() as closing:
            domain = settings.domain
            maps = MapSet(tables.contract_in(domain))
            self._maps = closing.enter_context(maps)
            maps.create(spec.name for spec in maps.contract.maps)
            self._settings = replace(settings, clock=StoppedClock(clock()))
            state.write_rules(maps, domain)
            state.initialise(maps, self._settings)
            hash_key = state.read_instance(maps)["hash_key"]
            self._settings = replace(self._settings, hash_key=hash_key)
            state.write_config(maps, self._settings)
            self._programs = closing.enter_context(
                programs.load(settings.domain.mode, maps, ETHERNET_HEADER)
            )
            self._link = closing.enter_context(TrialLink())
            self._forward(forwards)
            self._closing = closing.pop_all()
        self._counted = self._counters()

    def __enter__(self) -> BpfPath:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def _forward(self, forwards: Iterable[Mapping]) -> None:
        running = Control(
            contract=self._maps.contract,
            port_set=self._settings.domain.port_set,
            run=lambda frame: libbpf.run_program(self._programs.control.fd, frame).verdict,
            element=self._maps.value,
            flow_at=lambda _: None,
        )
        for there in forwards:
            wanted = Forward(there.protocol, there.port, there.host, there.host_port)
            control.forward(running, wanted, there.port)

    def from_lan(self, packet: bytes) -> Outcome:
        """An IPv4 packet through the upstream programs."""
        trial = self._tried(self._programs.upstream.fd, b"\x08\x00", packet)
        return _outcome(trial, self._reason("DIRECTION_46"), upstream=True)

    def from_wan(self, packet: bytes) -> Outcome:
        """An IPv6 packet through the downstream programs."""
        trial = self._tried(self._programs.downstream.fd, b"\x86\xdd", packet)
        return _outcome(trial, self._reason("DIRECTION_64"), upstream=False)

    def _tried(self, fd: int, ether_type: bytes, packet: bytes) -> Trial:
        now = self._clock()
        if now != self._settings.clock.offset:
            self._settings = replace(self._settings, clock=StoppedClock(now))
            state.write_config(self._maps, self._settings)
        return self._link.run(fd, _LINK + ether_type + packet)

    def _counters(self) -> list[int]:
        spec = self._maps.spec("counters")
        values = libbpf.lookup_all(self._maps.fds["counters"], spec)
        return [sum(packets for packets, _ in struct.iter_unpack("=QQ", value)) for value in values]

    def _reason(self, direction: str) -> Reason:
        """The verdict that was counted since the last look."""
        before, self._counted = self._counted, self._counters()
        number = self._maps.contract.number
        first = number(direction) * number("REASONS_MAX")
        (reason,) = (
            reason
            for reason in Reason
            if reason.reason_class is not ReasonClass.EVENT
            and self._counted[first + reason.number] != before[first + reason.number]
        )
        return reason


def _outcome(trial: Trial, reason: Reason, *, upstream: bool) -> Outcome:
    leaves = reason.reason_class is ReasonClass.TRANSLATED
    on, back = (tuple(map(_packet, frames)) for frames in trial.sides(upstream, leaves))
    if reason is Reason.HAIRPINNED:
        return Outcome(reason, back)
    return Outcome(reason, on, back)


def _packet(frame: bytes) -> bytes:
    """What is in a frame, as long as its own header says."""
    packet = frame[ETHERNET_HEADER:]
    if packet[0] >> 4 == 4:
        return packet[: int.from_bytes(packet[2:4], "big")]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]
