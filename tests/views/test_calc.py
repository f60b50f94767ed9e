# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp calc``: from a file or wholly from options, for people and for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import snapshots
from mapxdp import cli

EXAMPLE = [
    "calc",
    "--mode=map-t",
    "--end-user-prefix=2001:db8:12:3400::/56",
    "--rule=2001:db8::/40,192.0.2.0/24,16",
    "--dmr=2001:db8:ffff::/64",
]
KEYS = [
    "mode",
    "ipv4_address",
    "ipv4_prefix",
    "psid",
    "psid_length",
    "psid_offset",
    "map_ipv6_address",
    "port_count",
    "port_ranges",
    "dmr",
    "br",
    "bmr",
    "fmrs",
    "mtu",
    "mss",
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_json_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, *EXAMPLE)
    assert list(result) == KEYS
    assert result["ipv4_address"] == "192.0.2.18"
    assert result["ipv4_prefix"] == "192.0.2.18/32"
    assert (result["psid"], result["psid_length"], result["psid_offset"]) == (52, 8, 6)
    assert result["map_ipv6_address"] == "2001:db8:12:3400:0:c000:212:34"
    assert result["port_count"] == 252
    assert result["port_ranges"][0] == [1232, 1235]
    assert len(result["port_ranges"]) == 63
    assert (result["dmr"], result["br"]) == ("2001:db8:ffff::/64", None)
    assert result["bmr"]["ipv6"] == "2001:db8::/40"
    assert (result["mtu"], result["mss"]) == (1480, 1440)


def test_file_and_options_agree(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "ce.toml"
    path.write_text(snapshots.CONFIG, encoding="utf-8")
    assert run(capsys, "calc", "--config", str(path)) == run(capsys, *EXAMPLE)


@pytest.mark.parametrize("option", [*EXAMPLE[1:], "--wan-mtu=1400", "--br=2001:db8::1"])
def test_a_file_and_an_option_that_it_makes_superfluous(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "ce.toml"
    path.write_text(snapshots.CONFIG, encoding="utf-8")
    assert cli.main(["calc", "--config", str(path), option]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mapxdp: {option.replace('=', ' = ', 1)}: the configuration file says")


def test_a_wan_mtu_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*EXAMPLE, "--wan-mtu=0"]) == 2
    assert "an IPv6 link has an MTU of at least 1280" in capsys.readouterr().err


def test_a_configuration_through_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, snapshots.CONFIG.encode())
    os.close(theirs)
    try:
        assert run(capsys, "calc", f"--config=/dev/fd/{ours}") == run(capsys, *EXAMPLE)
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([*EXAMPLE, "--destination=192.0.2.77:5000"], "2001:db8:ffff:0:c0:2:4d00:0"),
        ([*EXAMPLE, "--destination=198.51.100.7"], "2001:db8:ffff:0:c6:3364:700:0"),
        (
            [*EXAMPLE[:3], EXAMPLE[3] + ",fmr", EXAMPLE[4], "--destination=192.0.2.18:1232"],
            "2001:db8:12:3400:0:c000:212:34",
        ),
        (
            [*EXAMPLE[:3], EXAMPLE[3] + ",fmr", EXAMPLE[4], "--destination=192.0.2.18:80"],
            "2001:db8:ffff:0:c0:2:1200:0",
        ),
    ],
    ids=["dmr", "no port", "fmr", "excluded port"],
)
def test_destination(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, *arguments)["destination_ipv6"] == expected


def test_map_e_draft_03(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(
        capsys,
        "calc",
        "--mode=map-e",
        "--interface-id=draft-03",
        "--end-user-prefix=2001:db8:12:3400::/56",
        "--rule=2001:db8::/40,192.0.2.0/24,16",
        "--br=2001:db8:ffff::1",
        "--destination=192.0.2.77:5000",
    )
    assert result["map_ipv6_address"] == "2001:db8:12:3400:c0:2:1200:3400"
    assert result["psid_offset"] == 4
    assert result["destination_ipv6"] == "2001:db8:ffff::1"
    assert (result["mtu"], result["mss"]) == (1460, 1420)


def test_lw4o6_with_explicit_psid(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(
        capsys,
        "calc",
        "--mode=lw4o6",
        "--end-user-prefix=2001:db8:1234:5600::/56",
        "--rule=2001:db8:1234:5600::/56,192.0.2.18/32,0,0,8,0x34",
        "--br=2001:db8:ffff::1",
    )
    assert result["map_ipv6_address"] == "2001:db8:1234:5600:0:c000:212:34"
    assert result["port_ranges"] == [[13312, 13567]]


def test_unshared_address(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, *EXAMPLE[:3], "--rule=2001:db8::/40,192.0.2.0/24,8", EXAMPLE[4])
    assert (result["psid"], result["psid_length"]) == (None, 0)
    assert result["port_ranges"] == [[0, 65535]]


def test_picture_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(EXAMPLE) == 0
    shown = capsys.readouterr().out
    for words in (
        "192.0.2.18 (shared)",
        "52 = 0x34, 8 bits",
        "252 in 63 ranges",
        "1232-1235, 2256-2259",
        "64720-64723",
        "at most 1440",
    ):
        assert words in shown
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(rows) == 8
    assert sum(row.count("▒") for row in rows) == 63


def test_bits_after_the_ea_bits_are_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*EXAMPLE[:2], "--end-user-prefix=2001:db8:12:34a0::/60", *EXAMPLE[3:]]) == 0
    assert "has bits after the EA bits that are not zero" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["calc"], "--mode and --end-user-prefix are needed"),
        (EXAMPLE[:3] + EXAMPLE[4:], "a CE needs at least one mapping rule"),
        ([*EXAMPLE, "--rule=2001:db8::/40"], "it has to be IPV6,IPV4,EA"),
        ([*EXAMPLE, "--rule=2001:db8::/40,192.0.2.0/24,many"], "'many' is no number"),
        ([*EXAMPLE, "--destination=192.0.2.300"], "--destination = 192.0.2.300"),
        ([*EXAMPLE, "--destination=192.0.2.3:99999"], "a port is 0 to 65535"),
        ([*EXAMPLE, "--br=2001:db8::1"], "map-t has no use for it"),
        ([*EXAMPLE, "--wan-mtu=1000"], "an IPv6 link has an MTU of at least 1280"),
        (["calc", "--config=/nowhere.toml"], "it cannot be read"),
    ],
)
def test_errors(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "→" in error
    assert len(error.splitlines()) == 1
