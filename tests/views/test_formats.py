# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Numbers for people."""

from __future__ import annotations

import pytest

from mapxdp.views.formats import bar, duration, history_line, levels, quantity, short_duration


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bit/s"),
        (1, "1 bit/s"),
        (12.34, "12.3 bit/s"),
        (999, "999 bit/s"),
        (999.7, "1 kbit/s"),
        (1000, "1 kbit/s"),
        (1234, "1.23 kbit/s"),
        (123456, "123 kbit/s"),
        (12_345_678, "12.3 Mbit/s"),
        (9.99e9, "9.99 Gbit/s"),
        (5e15, "5000 Tbit/s"),
    ],
)
def test_quantity(value: float, text: str) -> None:
    assert quantity(value, "bit/s") == text


def test_duration() -> None:
    assert duration(0) == "00:00:00"
    assert duration(3661.9) == "01:01:01"
    assert duration(93784) == "1d 02:03:04"


def test_history_line() -> None:
    assert history_line([], 5) == ""
    assert history_line([0, 0], 5) == "▁▁"
    assert history_line([0, 50, 100], 5) == "▁▅█"
    assert history_line([9, 9, 0, 100], 2) == "▁█"


def test_bar() -> None:
    assert bar(0, 4) == ("", "░░░░")
    assert bar(0.001, 4) == ("█", "░░░")
    assert bar(0.5, 4) == ("██", "░░")
    assert bar(7, 4) == ("████", "")


def test_short_duration() -> None:
    assert [short_duration(seconds) for seconds in (-5, 0, 59, 60, 3599)] == [
        "0s",
        "0s",
        "59s",
        "1m00s",
        "59m59s",
    ]
    assert [short_duration(seconds) for seconds in (3600, 7440, 86400, 604800)] == [
        "1h00m",
        "2h04m",
        "1d00h",
        "7d00h",
    ]


def test_levels() -> None:
    assert levels([], 5) == ""
    assert levels([0, 0.001, 0.5, 1, 7], 5) == "·▁▅██"
    assert levels([0, 1, 0, 0, 1, 1, 1], 4) == "▅·██"
    assert levels([1], 0) == "█"
