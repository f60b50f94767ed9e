# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Are the choices about headers read as they are meant, and is what is wrong with them said?"""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from mapxdp import config
from mapxdp.errors import ConfigError
from mapxdp.model.translation import TranslationPolicy

RULE = """
[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
"""
CE = '[ce]\nwan = "wan0"\nend_user_prefix = "2001:db8:12:3400::/56"\n'
MAP_T = CE + 'mode = "map-t"\ndmr = "2001:db8:ffff::/64"\n' + RULE
MAP_E = CE + 'mode = "map-e"\nbr = "2001:db8:ffff::1"\n' + RULE
LW4O6 = (
    CE
    + """mode = "lw4o6"
br = "2001:db8:ffff::1"

[[rule]]
ipv6 = "2001:db8:12:3400::/56"
ipv4 = "192.0.2.18/32"
ea_length = 0
psid_length = 8
psid = 0x34
"""
)


def with_table(*lines: str, text: str = MAP_T, table: str = "translation") -> str:
    """A configuration with one more table."""
    return "\n".join((text, f"[{table}]", *lines, ""))


def translation(*lines: str, text: str = MAP_T) -> TranslationPolicy:
    return config.parse(with_table(*lines, text=text), "here").translation


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "here")
    return caught.value


@pytest.mark.parametrize("text", [MAP_T, MAP_E, LW4O6], ids=["map-t", "map-e", "lw4o6"])
def test_what_is_left_open_is_as_the_rfcs_have_it(text: str) -> None:
    found = config.parse(text, "here")
    assert found.translation == translation(text=text) == TranslationPolicy()
    assert found.translation.traffic_class is None
    assert found.translation.icmp_error_source == IPv4Address("192.0.0.8")
    assert found.lowest_ipv6_mtu is None


def test_every_key() -> None:
    lines = (
        "traffic_class = 184",
        'udp_zero_checksum = "drop"',
        'icmp_error_source = "203.0.113.1"',
        'fragment = "inner"',
    )
    assert translation(*lines, text=MAP_E) == TranslationPolicy(
        traffic_class=184,
        compute_udp_checksum=False,
        icmp_error_source=IPv4Address("203.0.113.1"),
        fragment_inner=True,
    )


@pytest.mark.parametrize(
    ("value", "octet"),
    [('"copy"', None), ('"zero"', 0), ("0", 0), ("1", 1), ("0xff", 255)],
)
def test_traffic_class(value: str, octet: int | None) -> None:
    assert translation(f"traffic_class = {value}").traffic_class == octet


@pytest.mark.parametrize("text", [MAP_T, MAP_E, LW4O6], ids=["map-t", "map-e", "lw4o6"])
def test_the_outer_packet_is_cut_in_every_mode(text: str) -> None:
    assert not translation('fragment = "outer"', text=text).fragment_inner


@pytest.mark.parametrize("lowest", [1280, 1400, 1492])
def test_the_lowest_mtu(lowest: int) -> None:
    text = with_table("wan = 1492", f"lowest_ipv6_mtu = {lowest}", table="mtu")
    assert config.parse(text, "here").lowest_ipv6_mtu == lowest


def test_the_lowest_mtu_where_that_of_the_wan_is_the_interfaces() -> None:
    text = with_table("lowest_ipv6_mtu = 9000", table="mtu")
    assert config.parse(text, "here").lowest_ipv6_mtu == 9000


@pytest.mark.parametrize(
    ("line", "field", "rule"),
    [
        ("traffic_class = 256", "traffic_class", "0 to 255"),
        ("traffic_class = -1", "traffic_class", "0 to 255"),
        ("traffic_class = true", "traffic_class", '"copy"'),
        ('traffic_class = "cs1"', "traffic_class", '"zero"'),
        ("udp_zero_checksum = 0", "udp_zero_checksum", "compute, drop"),
        ('icmp_error_source = "2001:db8::1"', "icmp_error_source", "an IPv4 address"),
        ('icmp_error_source = "192.0.2.0/24"', "icmp_error_source", "an IPv4 address"),
        ("icmp_error_source = 1", "icmp_error_source", "it has to be text"),
        ('icmp_error_source = "0.0.0.0"', "icmp_error_source", "that a router can have"),
        ('icmp_error_source = "127.0.0.1"', "icmp_error_source", "that a router can have"),
        ('icmp_error_source = "169.254.0.1"', "icmp_error_source", "that a router can have"),
        ('icmp_error_source = "224.0.0.1"', "icmp_error_source", "that a router can have"),
        ('icmp_error_source = "255.255.255.255"', "icmp_error_source", "that a router can have"),
        ('fragment = "both"', "fragment", "outer, inner"),
        ('fragment = "inner"', "fragment", "one IP header"),
        ("tos = 0", "tos", "unknown key"),
    ],
)
def test_a_refusal(line: str, field: str, rule: str) -> None:
    error = refusal(with_table(line))
    assert error.field == f"translation.{field}"
    assert rule in error.rule
    assert error.remedy


def test_lw4o6_cuts_no_inner_packets() -> None:
    assert "RFC 6333 section 5.3" in refusal(with_table('fragment = "inner"', text=LW4O6)).rule


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["lowest_ipv6_mtu = 1279"], "at least 1280"),
        (["wan = 1400", "lowest_ipv6_mtu = 1401"], "at most that of the WAN, 1400"),
        (["lowest_ipv6_mtu = '1280'"], "whole number"),
    ],
)
def test_a_lowest_mtu_is_refused(lines: list[str], rule: str) -> None:
    error = refusal(with_table(*lines, table="mtu"))
    assert error.field == "mtu.lowest_ipv6_mtu"
    assert rule in error.rule
