# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bringing a CE up: the plan, and one module for each datapath that carries it out."""
