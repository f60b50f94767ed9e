# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""NAPT44 policies for tests: every protocol alike, nothing logged."""

from __future__ import annotations

import dataclasses

from mapxdp.model.napt44 import Filtering, LogLevel, MappingPolicy, Napt44Policy
from mapxdp.model.timeouts import Protocol

NO_LIMIT = 65535


def policy(
    mapping: MappingPolicy = MappingPolicy.AUTO,
    filtering: Filtering = Filtering.ADF,
    **changes: object,
) -> Napt44Policy:
    """The defaults, with these changes."""
    plain = Napt44Policy(
        mapping=dict.fromkeys(Protocol, mapping),
        filtering=dict.fromkeys(Protocol, filtering),
        log=LogLevel.OFF,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def strict(filtering: Filtering = Filtering.ADF, **changes: object) -> Napt44Policy:
    """One port for each endpoint: nothing is shared, and no host is too greedy."""
    unlimited: dict[str, object] = {"host_ports_min": NO_LIMIT, "host_ports_max": NO_LIMIT}
    return policy(MappingPolicy.EIM, filtering, **unlimited | changes)


def shared(filtering: Filtering = Filtering.ADF, **changes: object) -> Napt44Policy:
    """Every port is shared, and no host is too greedy."""
    unlimited: dict[str, object] = {"host_ports_min": NO_LIMIT}
    return policy(MappingPolicy.SHARED, filtering, **unlimited | changes)
