# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The interface identifier of a MAP address: RFC 7597 section 6, and its draft-03 ancestor.

::

    RFC 7597    | 16 zero bits | IPv4 address 32 | PSID 16          |
    draft-03    | u = 0 (8)    | IPv4 address 32 | PSID 16 | 0 (8)  |

Both hold the same 48 bits; draft-03 (v6plus and other Japanese services) has them 8 bits
further up. A CE and a BR must agree.
"""

from __future__ import annotations

from enum import StrEnum


class InterfaceIdFormat(StrEnum):
    """Which layout the domain uses."""

    RFC7597 = "rfc7597"
    DRAFT03 = "draft-03"


_SHIFT = {InterfaceIdFormat.RFC7597: 0, InterfaceIdFormat.DRAFT03: 8}


def interface_identifier(layout: InterfaceIdFormat, ipv4: int, psid: int) -> int:
    """The low 64 bits for an IPv4 address (host bits zero for a prefix) and a PSID (or 0)."""
    return (ipv4 << 16 | psid) << _SHIFT[layout]


def shown_ipv4(layout: InterfaceIdFormat, address: int) -> int:
    """The 32 bits of an IPv6 address where the identifier has its IPv4 address."""
    return address >> (16 + _SHIFT[layout]) & 0xFFFFFFFF


def first_ipv4_bit(layout: InterfaceIdFormat) -> int:
    """How many bits of an IPv6 address stand before those 32."""
    return 80 - _SHIFT[layout]
