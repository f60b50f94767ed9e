# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Commands to the control program, byte for byte, and what is made of its answers."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from harness import snapshots
from harness.snapshots import replace
from mapxdp.datapath import control, tables
from mapxdp.datapath.control import Control, Result
from mapxdp.errors import StateError
from mapxdp.model.napt44 import Forward
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Mapping, MappingKind

PORT_SET = snapshots.snapshot().config.domain.port_set
CONTRACT = tables.contract_for(PORT_SET)
SLOTS = CONTRACT.number("SLOTS")
OWN = snapshots.mapping(Protocol.UDP, 10, snapshots.PORTS[5])
FLOW = snapshots.flow(10, snapshots.PORTS[9], 3)
FORWARD = Forward(Protocol.TCP, None, IPv4Address("192.168.1.20"), 443)


@dataclass
class Datapath:
    """Answers commands, and remembers them without the Ethernet header."""

    answer: str = "COMMAND_DONE"
    owners: dict[tuple[str, int], int] = field(default_factory=dict)
    flows: dict[bytes, int] = field(default_factory=dict)
    frames: list[bytes] = field(default_factory=list)

    def control(self) -> Control:
        return Control(CONTRACT, PORT_SET, self._run, self._element, self.flows.get)

    def _run(self, frame: bytes) -> int:
        self.frames.append(frame)
        return CONTRACT.numbers.get(self.answer, 99)

    def _element(self, name: str, index: int) -> bytes:
        layout = CONTRACT["mapping"]
        fields = {each.name: 0 for each in layout.fields if each.name != "reserved"}
        return layout.pack(**fields | {"owner": self.owners.get((name, index), 0)})

    def command(self) -> tuple[int, ...]:
        """kind, slot, owner, and the endpoint's address, port, protocol."""
        (frame,) = self.frames
        assert frame[:14] == bytes(14)
        assert len(frame) >= 60
        assert not any(frame[14 + CONTRACT["command"].size :])
        return struct.unpack_from("=IIQ4sHB", frame, 14)


def word(mapping: Mapping, state: str) -> int:
    address = int.from_bytes(mapping.host.packed, sys.byteorder)
    return address | mapping.host_port << 32 | CONTRACT.number(state) << 48


def test_release_of_a_port() -> None:
    slot = SLOTS + 5
    path = Datapath(owners={("slots", slot): word(OWN, "SLOT_EIM")})
    assert control.release(path.control(), OWN) is Result.DONE
    kind = CONTRACT.number("COMMAND_RELEASE_SLOT")
    assert path.command() == (kind, slot, word(OWN, "SLOT_EIM"), bytes(4), 0, 0)


def test_release_of_a_flow() -> None:
    """It is found by the side that is its claim: port and remote."""
    key = struct.pack("=I4sHHBBH", 9, FLOW.peer.packed, 0, 443, 0, 1, 0)
    owner = word(FLOW, "SLOT_FLOW")
    path = Datapath(owners={("flows", 7000): owner}, flows={key: 7000})
    assert control.release(path.control(), FLOW) is Result.DONE
    kind = CONTRACT.number("COMMAND_RELEASE_FLOW")
    assert path.command()[:3] == (kind, 7000, owner)


@pytest.mark.parametrize("mapping", [OWN, FLOW, replace(OWN, kind=MappingKind.FORWARD)])
def test_what_is_somebody_elses_by_now_is_left_alone(mapping: Mapping) -> None:
    """No command at all where that can be seen; the program looks again."""
    other = word(replace(OWN, host_port=1), "SLOT_EIM")
    path = Datapath(owners={("slots", SLOTS + 5): other})
    assert control.release(path.control(), mapping) is Result.CHANGED
    assert path.frames == []


def test_a_new_forward() -> None:
    path = Datapath()
    assert control.forward(path.control(), FORWARD, snapshots.PORTS[251]) is Result.DONE
    kind = CONTRACT.number("COMMAND_FORWARD")
    assert path.command() == (kind, 251, 0, FORWARD.host.packed, 443, 0)


@pytest.mark.parametrize(
    ("answer", "result"),
    [("COMMAND_CHANGED", Result.CHANGED), ("COMMAND_INDEX_FULL", Result.INDEX_FULL)],
)
def test_answers(answer: str, result: Result) -> None:
    assert control.forward(Datapath(answer).control(), FORWARD, snapshots.PORTS[0]) is result


@pytest.mark.parametrize("answer", ["COMMAND_MALFORMED", "something new"])
def test_an_answer_nobody_expects_is_an_error(answer: str) -> None:
    with pytest.raises(StateError, match="COMMAND_FORWARD"):
        control.forward(Datapath(answer).control(), FORWARD, snapshots.PORTS[0])


def test_every_result_is_known() -> None:
    assert {result.value for result in Result} == set(CONTRACT.enums["command_result"])
