# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is compiled for an ``up`` that is to come: all that it may choose, and no more?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from harness import router
from mapxdp import config
from mapxdp.bringup.prepare import prepare
from mapxdp.datapath import programs
from mapxdp.errors import HostError
from mapxdp.links import Link, Links
from mapxdp.model.accelerator import AcceleratorHook

#: With room for more in its first table, or behind it.
CONFIG = router.CONFIG.format(name="home").replace("\n[[rule]]", "{}\n[[rule]]")
LAN = 'lan = ["lan"]\n'
ETHERNET, PPP = 1, 512


class SomeLinks(Links):
    """A WAN of some type, or none."""

    def __init__(self, link_type: int | None) -> None:
        self._link_type = link_type

    def find(self, name: str) -> Link:
        if self._link_type is None:
            raise HostError(f"there is no interface {name}", "ip link")
        return Link(1, name, 1500, self._link_type, 0)


@pytest.mark.parametrize(
    ("more", "link_type", "expected"),
    [
        (LAN, ETHERNET, (14, ["xdp", "tc"])),
        (LAN + 'datapath = "tc"', ETHERNET, (14, ["tc"])),
        (LAN + 'datapath = "xdp"', ETHERNET, (14, ["xdp"])),
        (LAN + 'datapath = "software"', ETHERNET, None),
        (LAN + "[accelerator]\nenabled = false", ETHERNET, (14, ["none"])),
        (LAN + '[napt44]\nmode = "none"', ETHERNET, (14, ["none"])),
        ("", ETHERNET, (14, ["none"])),
        (LAN, PPP, (0, ["none"])),
        (LAN, None, (14, ["xdp", "tc"])),
    ],
)
def test_what_may_be_chosen_is_compiled(
    more: str,
    link_type: int | None,
    expected: tuple[int, list[str]] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def compile_for(
        mode: object, contract: object, l2_length: int, accelerators: Iterable[AcceleratorHook]
    ) -> None:
        asked.append((l2_length, [str(hook) for hook in accelerators]))

    monkeypatch.setattr(programs, "prepare", compile_for)
    said: list[str] = []
    made = config.parse(CONFIG.format(more), "test")
    prepare(made, SomeLinks(link_type), said.append)
    assert asked == ([] if expected is None else [expected])
    assert ("there is no interface wan: compiling for Ethernet" in said) == (link_type is None)
