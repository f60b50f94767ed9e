# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The choices that NAPT44 has: all that does not follow from the packets and the clock."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Callable, Sequence

from mapxdp.model.timeouts import Protocol
from mapxdp.software.lifecycle import Endpoint

#: Picks one of the ports that the rules allow.
Chooser = Callable[[Protocol, Sequence[int]], int]
#: A number of an endpoint; modulo the size of the set it is the position of its home.
HomeHash = Callable[[Endpoint], int]


def choose_at_random(_: Protocol, ports: Sequence[int]) -> int:
    """Any of them: guessing one should not help guessing the next (RFC 6056)."""
    return random.SystemRandom().choice(ports)


def choose_first(_: Protocol, ports: Sequence[int]) -> int:
    """The one the rules name: for a flow they come in the order of preference."""
    return ports[0]


def keyed_hash() -> HomeHash:
    """A hash whose key nobody knows."""
    key = secrets.token_bytes(16)

    def hashed(endpoint: Endpoint) -> int:
        data = endpoint.address + endpoint.port.to_bytes(2, "big")
        return int.from_bytes(hashlib.blake2b(data, key=key, digest_size=8).digest(), "big")

    return hashed
