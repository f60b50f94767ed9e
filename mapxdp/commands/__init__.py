# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The commands. A module here with a function ``register(subparsers)`` is a command."""
