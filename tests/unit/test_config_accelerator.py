# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The table ``accelerator`` of a configuration file."""

from __future__ import annotations

import pytest

from mapxdp.config import Config, parse
from mapxdp.errors import ConfigError
from mapxdp.model.accelerator import AcceleratorPolicy

CE = """\
[ce]
wan = "eth1"
mode = "map-t"
end_user_prefix = "2001:db8:12:3400::/56"
dmr = "2001:db8:ffff::/64"

[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
"""


def config(*lines: str) -> Config:
    return parse("\n".join(["[accelerator]", *lines, CE]), "ce.toml")


def test_it_is_on_by_default() -> None:
    assert parse(CE, "ce.toml").accelerator == AcceleratorPolicy(revalidate=10, connections=16384)


def test_what_can_be_said() -> None:
    made = config("revalidate = 600", "connections = 256")
    assert made.accelerator == AcceleratorPolicy(revalidate=600, connections=256)
    assert config("enabled = false", "revalidate = 5").accelerator is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("revalidate = 0", "it is from 1 to 600 seconds"),
        ("revalidate = 601", "it is from 1 to 600 seconds"),
        ("connections = 128", "it is a power of two from 256 to 1048576"),
        ("connections = 1000", "it is a power of two from 256 to 1048576"),
        ("connections = 2097152", "it is a power of two from 256 to 1048576"),
        ("enabled = 1", "enabled"),
        ("hook = 'xdp'", "hook"),
    ],
)
def test_what_cannot(line: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config(line)


def test_a_wrong_value_is_wrong_also_where_it_is_off() -> None:
    with pytest.raises(ConfigError, match=r"accelerator\.revalidate"):
        config("enabled = false", "revalidate = 0")
