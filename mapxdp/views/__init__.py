# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What people see: plain values in, rich renderables (or JSON values) out."""
