# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The reasons of ``bpf/reasons.h``, which is the only list of them.

``Reason.PORT_OUTSIDE_SET`` and its like are read from that file when this module is
imported; a name that is not in it raises AttributeError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mapxdp import bpf_source

_ENTRY = re.compile(
    r'^\s*X\((?P<class>[A-Z]+), (?P<name>[A-Z0-9_]+), "(?P<text>[^"]*)"\)', re.MULTILINE
)


class ReasonClass(StrEnum):
    """What happens to a packet; EVENT is counted beside the verdict."""

    TRANSLATED = "TRANSLATED"
    PASS = "PASS"  # noqa: S105  (a verdict, no password)
    DROP = "DROP"
    EVENT = "EVENT"


_BY_NAME: dict[str, Reason] = {}


class _ReasonNames(type):
    """Makes every name of the list an attribute of Reason."""

    def __getattr__(cls, name: str) -> Reason:
        try:
            return _BY_NAME[name]
        except KeyError:
            raise AttributeError(f"bpf/reasons.h has no reason {name}") from None

    def __iter__(cls) -> Iterator[Reason]:
        return iter(_BY_NAME.values())


@dataclass(frozen=True, slots=True)
class Reason(metaclass=_ReasonNames):
    """One reason: its position in the list, its name, its class, and its words."""

    number: int
    name: str
    reason_class: ReasonClass
    text: str

    def __str__(self) -> str:
        return self.name


def _read_reasons() -> None:
    for number, entry in enumerate(_ENTRY.finditer(bpf_source.read("reasons.h"))):
        name, text = entry["name"], entry["text"]
        _BY_NAME[name] = Reason(number, name, ReasonClass(entry["class"]), text)


_read_reasons()
