# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""XDP or TC, by what was seen of the interfaces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.domains import domain
from mapxdp.bringup import acceleration
from mapxdp.bringup.acceleration import Acceleration
from mapxdp.config import Config, DatapathKind
from mapxdp.errors import HostError
from mapxdp.links import Link
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.netdev import Device

BASIC, REDIRECT, NDO_XMIT = 1, 2, 4
EVERYTHING = 0x7F
WAN = Device("wan", "", EVERYTHING)
CARD = Device("eth1", "", EVERYTHING)
VETH = replace(CARD, kind="veth")
LAN = Link(2, "eth1", 1500, 1, 0)

CANNOT_RUN = "eth1 cannot run XDP programs"
CANNOT_SEND = "eth1 cannot send frames elsewhere from XDP"
CANNOT_TAKE = "eth1 cannot take frames that XDP sends from elsewhere"


def decide(lan: Device, datapath: str = "auto") -> Acceleration:
    config = Config("ce", "wan", ("eth1",), domain("map-t"), DatapathKind(datapath))
    return acceleration.decide(config, (LAN,), (WAN, lan))


@pytest.mark.parametrize(
    ("lan", "why"),
    [
        (VETH, "eth1 is a veth interface"),
        (replace(CARD, kind="bridge"), "eth1 is a bridge interface"),
        (replace(CARD, features=None), "this kernel does not say what the driver of eth1 can do"),
        (replace(CARD, features=0), CANNOT_RUN),
        (replace(CARD, features=BASIC), CANNOT_SEND),
        (replace(CARD, features=NDO_XMIT), CANNOT_RUN),
        (replace(CARD, kind="dummy", features=BASIC | REDIRECT), CANNOT_TAKE),
    ],
)
def test_by_itself_tc(lan: Device, why: str) -> None:
    made = decide(lan)
    assert (made.hook, made.lans, made.why) == (AcceleratorHook.TC, (LAN,), f"TC: {why}")


@pytest.mark.parametrize("features", [EVERYTHING, BASIC | REDIRECT], ids=["now", "perhaps"])
def test_by_itself_xdp(features: int) -> None:
    """Also where a card may take frames from elsewhere once a program is on it."""
    made = decide(replace(CARD, features=features))
    assert (made.hook, made.why) == (AcceleratorHook.XDP, "XDP: the drivers of wan, eth1 have it")


@pytest.mark.parametrize(
    ("lan", "why", "remedy"),
    [
        (replace(VETH, features=BASIC | REDIRECT), CANNOT_TAKE, "ethtool -K OTHER gro on"),
        (replace(VETH, features=0), CANNOT_RUN, "give eth1 as many RX queues as its other end"),
        (replace(CARD, features=0), CANNOT_RUN, "set ce.datapath"),
        (replace(CARD, features=BASIC), CANNOT_SEND, "set ce.datapath"),
        (
            replace(CARD, kind="bridge", features=0),
            "XDP cannot send frames into eth1, a bridge interface",
            "set ce.datapath",
        ),
    ],
)
def test_asked_for_and_refused(lan: Device, why: str, remedy: str) -> None:
    with pytest.raises(HostError) as raised:
        decide(lan, "xdp")
    assert raised.value.problem == why
    assert remedy in raised.value.remedy
    assert raised.value.remedy.endswith('set ce.datapath = "auto" or "tc"')


@pytest.mark.parametrize(
    "lan",
    [
        CARD,
        VETH,
        replace(CARD, features=None),
        replace(CARD, features=BASIC | REDIRECT),
        replace(CARD, kind="bond", features=BASIC | REDIRECT),
    ],
    ids=["a card", "a veth", "not known", "perhaps", "a bond of such"],
)
def test_asked_for(lan: Device) -> None:
    made = decide(lan, "xdp")
    assert (made.hook, made.why) == (AcceleratorHook.XDP, 'XDP: datapath = "xdp"')


@pytest.mark.parametrize(
    ("lan", "why"),
    [
        (CARD, None),
        (replace(CARD, features=None), None),
        (replace(CARD, features=BASIC | REDIRECT), CANNOT_TAKE),
    ],
)
def test_with_a_program_on_it(lan: Device, why: str | None) -> None:
    assert lan.why_no_target == why


def test_offloads_that_join_packets_are_told() -> None:
    made = decide(replace(CARD, joining=("rx-lro",)))
    assert [text.partition(": ")[2] for text in made.warnings] == ["ethtool -K eth1 rx-lro off"]
    assert acceleration.without_xdp(made, "no").warnings == ()
