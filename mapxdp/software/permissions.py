# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who may send to a port that an endpoint owns (RFC 4787 section 5)."""

from __future__ import annotations

from mapxdp.model.napt44 import Filtering
from mapxdp.software.lifecycle import Endpoint

#: Remotes that one mapping remembers; the ones sent to longest ago are forgotten first.
PERMISSIONS = 16384


class Permissions:
    """The remotes that the owner of one mapping has sent to, besides the first."""

    def __init__(self, filtering: Filtering) -> None:
        self._filtering = filtering
        self._sent: dict[Endpoint, int] = {}

    def _key(self, remote: Endpoint) -> Endpoint:
        """What tells remotes apart: one address is one remote under ADF."""
        return remote._replace(port=0) if self._filtering is Filtering.ADF else remote

    def record(self, remote: Endpoint, now: int) -> None:
        """The owner sends to ``remote``, which is not the first one."""
        if self._filtering is Filtering.EIF:
            return
        key = self._key(remote)
        self._sent.pop(key, None)
        self._sent[key] = now
        if len(self._sent) > PERMISSIONS:
            del self._sent[next(iter(self._sent))]

    def lets_in(self, remote: Endpoint, first: Endpoint, now: int, timeout: int) -> bool:
        """Whether ``remote`` may send while the mapping has this first remote and timeout."""
        if self._filtering is Filtering.EIF or self._key(remote) == self._key(first):
            return True
        sent = self._sent.get(self._key(remote))
        return sent is not None and now - sent <= timeout
