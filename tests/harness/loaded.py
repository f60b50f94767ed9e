# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The datapaths of a test session, each loaded once."""

from __future__ import annotations

import os
from types import TracebackType

from harness.accelerated import AcceleratedCe
from harness.ce import LoadedCe
from harness.domains import domain
from mapxdp.model.accelerator import AcceleratorHook
from mapxdp.model.domain import Domain

#: Where set, to "tc" or "xdp", every packet is offered to the accelerator first.
FORCED_ACCELERATOR = AcceleratorHook(os.environ.get("MAPXDP_TEST_ACCELERATOR", "none"))


class LoadedCes:
    """Datapaths, loaded when first asked for and kept."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Domain, int | None, AcceleratorHook], LoadedCe] = {}

    def __enter__(self) -> LoadedCes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for ce in self._loaded.values():
            ce.close()

    def get(
        self,
        ce_domain: Domain,
        flows: int | None = None,
        hook: AcceleratorHook = FORCED_ACCELERATOR,
        **changes: object,
    ) -> LoadedCe:
        """The datapath of a domain, freshly reset; ``flows`` is the room for them."""
        which = (ce_domain, flows, hook)
        if which not in self._loaded:
            capacities = {} if flows is None else {"FLOWS": flows}
            if hook is AcceleratorHook.NONE:
                self._loaded[which] = LoadedCe(ce_domain, **capacities)
            else:
                self._loaded[which] = AcceleratedCe(ce_domain, hook, **capacities)
        ce = self._loaded[which]
        ce.link = None
        ce.reset(**changes)
        return ce

    def example(self, mode: str, **changes: object) -> LoadedCe:
        """The RFC's example CE."""
        return self.get(domain(mode), **changes)
