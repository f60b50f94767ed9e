# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``up`` and ``reload`` with forwarding rules: what is in force sends packets where they say."""

from __future__ import annotations

import os
from ipaddress import IPv6Address, IPv6Network

import pytest

from harness import packets
from harness.ce import ETHERNET
from harness.router import CONFIG, Router
from mapxdp import ce
from mapxdp.datapath import instance, libbpf

DMR = IPv6Network("2001:db8:ffff::/64")
PEER = "203.0.113.9"


def rule(number: int, ipv4: str, ea_length: int = 16) -> str:
    return f"""
[[rule]]
ipv6 = "2001:db8:{number:x}::/40"
ipv4 = "{ipv4}"
ea_length = {ea_length}
forwarding = true
"""


def sent_to(router: Router, destination: str, source: str = packets.HOST) -> IPv6Address:
    """Where the program in force sends a packet."""
    data = packets.udp(source, destination, 4000, 5000, b"data")
    frame = ETHERNET + b"\x08\x00" + packets.ipv4(data, packets.UDP, source, destination)
    fd = libbpf.open_pinned(instance.pinned(router.name) / "upstream")
    try:
        return IPv6Address(libbpf.run_program(fd, frame).packet[14 + 24 : 14 + 40])
    finally:
        os.close(fd)


def test_rules_change_in_place(cpe: Router) -> None:
    cpe.up()
    assert sent_to(cpe, PEER) in DMR
    cpe.write_config(CONFIG + rule(0x4000, "203.0.113.0/24"))
    ce.reload(cpe.config, cpe.name, lambda _: None)
    assert sent_to(cpe, PEER) in IPv6Network("2001:db8:4009::/48")
    cpe.write_config(CONFIG + rule(0x4100, "203.0.113.0/24"))
    assert "kept the port mappings of the running datapath" in cpe.up()
    assert sent_to(cpe, PEER) in IPv6Network("2001:db8:4109::/48")
    cpe.write_config()
    cpe.up()
    assert sent_to(cpe, PEER) in DMR


def test_own_rule_as_an_fmr(cpe: Router) -> None:
    cpe.write_config(CONFIG + "forwarding = true\n")
    cpe.up()
    assert sent_to(cpe, "192.0.2.200") in IPv6Network("2001:db8:c8::/48")
    assert sent_to(cpe, PEER) in DMR


def test_ten_thousand_rules(cpe: Router) -> None:
    many = "".join(
        f"""
[[rule]]
ipv6 = "2001:db9:{number:x}::/48"
ipv4 = "20.{number >> 8}.{number & 255}.0/24"
ea_length = 16
forwarding = true
"""
        for number in range(10_000)
    )
    cpe.write_config(CONFIG + many)
    cpe.up()
    for number in (0, 1, 4321, 9999):
        found = sent_to(cpe, f"20.{number >> 8}.{number & 255}.7")
        assert found in IPv6Network(f"2001:db9:{number:x}::/48")
    assert sent_to(cpe, PEER) in DMR


@pytest.mark.parametrize("datapath", ["tc", "software"])
def test_a_whole_prefix_in_map_t(datapath: str, cpe: Router) -> None:
    text = CONFIG.replace("ea_length = 16", "ea_length = 4")
    text = text.replace('mode = "map-t"', f'mode = "map-t"\ndatapath = "{datapath}"')
    cpe.write_config(text + '[napt44]\nmode = "none"\n')
    cpe.up()
    if datapath == "tc":
        assert sent_to(cpe, PEER, "192.0.2.19") in DMR
        return
    assert "2001:db8:12:3400:0:c000:210:0/108 dev mapxdp0" in cpe.ip("-6 route show")
