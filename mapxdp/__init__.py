# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mapxdp: a MAP-T, MAP-E and lw4o6 customer edge for Linux, in eBPF."""

__version__ = "0.1.0"
