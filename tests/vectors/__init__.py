# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Test vectors of an independent implementation, checked against the RFCs' own examples.

``map_vectors.json`` describes itself under ``meta``. A vector has an id, a kind, what goes
``in`` and what must come ``out``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

Vector = dict[str, Any]

_FILE: dict[str, Any] = json.loads(
    Path(__file__).with_name("map_vectors.json").read_text(encoding="utf-8")
)
_VECTORS: list[Vector] = _FILE["vectors"]

#: What ``meta`` says the file holds, and what it really holds: vectors by kind.
DECLARED: dict[str, int] = _FILE["meta"]["kinds"]
PRESENT = Counter(vector["kind"] for vector in _VECTORS)


def named(vector_id: str) -> Vector:
    """One vector."""
    return next(vector for vector in _VECTORS if vector["id"] == vector_id)


class VectorsOf:
    """The vectors one test module answers for. ``used`` has the kinds its tests asked for."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def each(self, *kinds: str) -> pytest.MarkDecorator:
        """Runs a test once for each vector of these kinds, with the vector's id."""
        self.used.update(kinds)
        chosen = [vector for vector in _VECTORS if vector["kind"] in kinds]
        assert chosen, f"no vectors of {kinds}"
        return pytest.mark.parametrize(
            "vector", [pytest.param(vector, id=vector["id"]) for vector in chosen]
        )
