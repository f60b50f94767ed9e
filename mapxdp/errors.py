# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every error a user can meet, and the exit code of each.

    MapxdpError
    ├── InvalidValue         a value breaks a rule of an RFC or of this program      2
    │   └── ConfigError      the same, found in a configuration file                 2
    ├── HostError            this machine lacks something, or refuses it             3
    └── StateError           what is running does not fit what was asked             4

Each error says what is wrong, where, why, and what to do next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class MapxdpError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} → {remedy}")


_LONGEST_SHOWN = 100


def shown(value: object) -> str:
    """A value for a message, whatever a hostile file made of it."""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # a number of 5000 digits, a table in 2000 tables
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


class InvalidValue(MapxdpError):
    """A value that breaks a rule: names the field, the value, the rule and the remedy."""

    exit_code = 2

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(f"{field} = {shown(value)}: {rule}", remedy)


class ConfigError(InvalidValue):
    """An InvalidValue with the file it stands in."""

    def __init__(self, where: str, field: str, value: object, rule: str, remedy: str) -> None:
        super().__init__(field, value, rule, remedy)
        self.where = where
        self.problem = f"{where}: {self.problem}"
        self.args = (f"{self.problem} → {remedy}",)


class HostError(MapxdpError):
    """The machine, the kernel or its network refuses or lacks something."""

    exit_code = 3


class StateError(MapxdpError):
    """What is already running (or is not) forbids what was asked."""

    exit_code = 4


def permission_remedy() -> str:
    """What to do where permission is denied: not the same for root and for others."""
    if os.geteuid() != 0:
        return "run the same command with sudo"
    return (
        "root is denied this here: run it outside of the container, or look for a security "
        "module or a read-only file system"
    )


def refused(what: str, error: OSError, remedy: str) -> HostError:
    """The HostError for a system call that failed while ``what`` was tried."""
    if isinstance(error, PermissionError):
        remedy = permission_remedy()
    return HostError(f"{what}: {error.strerror or error}", remedy)


@contextmanager
def refusals(what: str, remedy: str) -> Iterator[None]:
    """Makes an OSError in here a HostError: ``what`` failed, ``remedy`` helps."""
    try:
        yield
    except OSError as error:
        raise refused(what, error, remedy) from error
