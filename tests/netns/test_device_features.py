# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is found out about interfaces, and what follows for the accelerator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.domains import domain
from mapxdp import netdev, netns
from mapxdp.bringup import acceleration
from mapxdp.config import Config, DatapathKind, Napt44Mode
from mapxdp.errors import HostError
from mapxdp.links import Links, open_links
from mapxdp.model.accelerator import AcceleratorHook


@pytest.fixture(scope="module")
def links(bpf: None) -> Iterator[Links]:
    """A veth pair that takes frames at both ends, a bridge, and a TUN device without a link-layer
    header."""
    namespace = netns.new()
    with netns.inside(namespace), open_links() as opened:
        for command in (
            "ip link add wan type veth peer name lan",
            "ip link set wan up",
            "ip link set lan up",
            "ethtool -K wan gro on",
            "ethtool -K lan gro on",
            "ip link add br-lan type bridge",
            "ip tuntap add tun0 mode tun",
        ):
            subprocess.run(command.split(), check=True, timeout=10)
        yield opened
    os.close(namespace)


def config(*lan: str, datapath: str = "auto", **changes: object) -> Config:
    usual = Config("ce", "wan", lan, domain("map-t"), DatapathKind(datapath))
    return replace(usual, **changes)  # type: ignore[arg-type]


def choose(links: Links, chosen: Config, wan: str = "wan") -> acceleration.Acceleration:
    return acceleration.choose(chosen, links.find(wan), links)


def test_kinds(links: Links) -> None:
    kinds = {name: netdev.look_at(links.find(name)).kind for name in ("wan", "br-lan", "tun0")}
    assert kinds == {"wan": "veth", "br-lan": "bridge", "tun0": "tun"}


def test_the_kernel_says_what_a_driver_can_do(links: Links) -> None:
    """veth runs XDP programs, sends frames elsewhere and takes them; a bridge does not."""
    all_that_is_needed = 7
    veth = netdev.look_at(links.find("wan")).features
    assert veth is not None
    assert veth & all_that_is_needed == all_that_is_needed
    assert netdev.look_at(links.find("br-lan")).features == 0


def test_by_itself_never_xdp_on_veth(links: Links) -> None:
    chosen = choose(links, config("lan"))
    assert (chosen.hook, chosen.why) == (AcceleratorHook.TC, "TC: wan is a veth interface")
    assert [link.name for link in chosen.lans] == ["lan"]


def test_asked_for(links: Links) -> None:
    assert choose(links, config("lan", datapath="tc")).hook is AcceleratorHook.TC
    assert choose(links, config("lan", datapath="xdp")).hook is AcceleratorHook.XDP
    with pytest.raises(HostError, match="XDP cannot send frames into br-lan, a bridge interface"):
        choose(links, config("br-lan", datapath="xdp"))


@pytest.mark.parametrize(
    ("chosen", "wan", "why"),
    [
        (config(), "wan", "ce.lan names no interface"),
        (config("lan", accelerator=None), "wan", "accelerator.enabled is false"),
        (config("lan", napt44=Napt44Mode.NONE), "wan", 'napt44.mode is "none"'),
        (config("lan", datapath="software"), "wan", 'datapath is "software"'),
        (config("lan"), "tun0", "tun0 has no Ethernet header"),
        (config("lan0"), "wan", "no interface lan0 here"),
    ],
)
def test_nothing_to_accelerate(links: Links, chosen: Config, wan: str, why: str) -> None:
    made = choose(links, chosen, wan)
    assert (made.hook, made.lans, made.policy) == (AcceleratorHook.NONE, (), None)
    assert made.why.startswith(why)
    if chosen.datapath is DatapathKind.AUTO:
        with pytest.raises(HostError, match="XDP accelerates nothing here"):
            choose(links, replace(chosen, datapath=DatapathKind.XDP), wan)
