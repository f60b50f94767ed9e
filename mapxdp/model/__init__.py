# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Address and port arithmetic of RFC 7597, 7599, 7596 and 6052: values in, values out.

Nothing here does input or output, and nothing but the standard library is imported.
The C headers of ``bpf/`` hold the same arithmetic a second time; the tests make each
the other's oracle.
"""
