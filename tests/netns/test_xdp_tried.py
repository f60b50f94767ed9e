# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""XDP where ``up`` finds out by trying whether an interface has it: what it chose, and left."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from harness.router import Router
from mapxdp import ce, health, netdev, netns, record
from mapxdp.datapath import libbpf, xdp
from mapxdp.errors import HostError
from mapxdp.links import Links, open_links
from mapxdp.record import Record

#: enum netdev_xdp_act of <linux/netdev.h>.
NDO_XMIT = 4
#: r0 = XDP_PASS; exit
PASS = bytes.fromhex("b700000002000000 9500000000000000")
CANNOT_TAKE = "lan cannot take frames that XDP sends from elsewhere"


@pytest.fixture
def cabled(cpe: Router) -> Router:
    """With a LAN interface; at the WAN's other end frames that XDP sends are taken."""
    cpe.add_port("lan")
    cpe.set_polling("cpe", "on")
    return cpe


def running(cpe: Router) -> Record:
    now = record.load(cpe.name)
    assert now is not None
    return now


def test_a_veth_whose_other_end_does_not_poll_is_refused(cabled: Router) -> None:
    """Redirected frames would be lost there."""
    cabled.configure("xdp", "lan")
    before, attached = cabled.state(), cabled.everything_attached()
    with pytest.raises(HostError, match=CANNOT_TAKE) as raised:
        cabled.up()
    assert "at the other end of lan, while it is up: ethtool -K OTHER gro on" in str(raised.value)
    assert (cabled.state(), cabled.everything_attached()) == (before, attached)

    cabled.set_polling("lan", "on")
    cabled.up()
    assert running(cabled).accelerator == "xdp"


def test_an_other_end_that_stops_polling_is_noticed(cabled: Router) -> None:
    cabled.set_polling("lan", "on")
    cabled.configure("xdp", "lan")
    cabled.up()
    assert problems(cabled) == []
    cabled.set_polling("lan", "off")
    assert [text.partition(";")[0] for text in problems(cabled)] == [CANNOT_TAKE]


def problems(cpe: Router) -> list[str]:
    return [entry.problem for entry in health.check(running(cpe)) if entry.problem]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Veths that pass for hardware."""
    monkeypatch.setattr(Links, "kind", lambda self, link: "")


@pytest.fixture
def pair(cpe: Router) -> Router:
    """A CE with both ends of a cable: with a program on each, each takes frames from elsewhere."""
    cpe.ip("link del wan")
    cpe.ip("link add wan type veth peer name lan")
    for name in ("lan", "wan"):
        cpe.ip(f"link set {name} up")
    cpe.ip("-6 route add default via fe80::1 dev wan")
    return cpe


def features(cpe: Router, name: str) -> int:
    with netns.entered(cpe.name), open_links() as links:
        return netdev.look_at(links.find(name)).features or 0


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_what_comes_with_a_program(datapath: str, pair: Router, cards: None) -> None:
    pair.configure(datapath, "lan")
    assert [features(pair, name) & NDO_XMIT for name in ("wan", "lan")] == [0, 0]
    pair.up()
    assert running(pair).accelerator == "xdp"
    assert [features(pair, name) & NDO_XMIT for name in ("wan", "lan")] == [NDO_XMIT, NDO_XMIT]
    assert not any(line.startswith("without XDP") for line in pair.up())
    ce.down(pair.name, lambda _: None)
    assert [features(pair, name) & NDO_XMIT for name in ("wan", "lan")] == [0, 0]


def does_not_come(cpe: Router) -> str:
    """The driver of this one means what it says."""
    return CANNOT_TAKE


def another_program_there(cpe: Router) -> str:
    cpe.set_polling("lan", "on")
    passing = libbpf.load_xdp_program("pass", PASS)
    with netns.entered(cpe.name), open_links() as links:
        xdp.attach("lan", links.find("lan").index, passing.fd, None)
    os.close(passing.fd)
    return "the XDP program cannot be attached to lan: Device or resource busy"


@pytest.mark.parametrize("cause", [does_not_come, another_program_there])
@pytest.mark.parametrize("is_upgrade", [False, True], ids=["first", "upgrade"])
def test_what_does_not_come(
    is_upgrade: bool, cause: Callable[[Router], str], cabled: Router, cards: None
) -> None:
    """By itself it is TC then, with all that was tried undone; asked for, ``up`` fails."""
    if is_upgrade:
        cabled.configure("tc", "lan")
        cabled.up()
    why = cause(cabled)
    before, attached = cabled.state(), cabled.everything_attached()
    cabled.configure("xdp", "lan")
    with pytest.raises(HostError, match=why):
        cabled.up()
    assert (cabled.state(), cabled.everything_attached()) == (before, attached)

    cabled.configure("auto", "lan")
    said = cabled.up()
    assert f"without XDP, then: {why}" in said
    now = running(cabled)
    assert (now.accelerator, now.acceleration) == ("tc", f"TC: {why}")
    assert problems(cabled) == []
    with_tc = cabled.everything_attached()
    assert [with_tc[f"{name} xdp"] for name in ("wan", "lan")] == [
        attached[f"{name} xdp"] for name in ("wan", "lan")
    ]
