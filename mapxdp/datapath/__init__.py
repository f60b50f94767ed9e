# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compiling, loading and pinning the BPF programs, and filling their maps."""
