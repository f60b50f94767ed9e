# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Whether a capture file is whole: scapy takes one that is cut off for one that ends there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO, Literal

Order = Literal["little", "big"]

_ORDERS: tuple[Order, Order] = ("little", "big")
_PCAP_MAGIC = (0xA1B2C3D4, 0xA1B23C4D)
_PCAP_HEADER, _RECORD_HEADER = 24, 16
_SECTION, _SECTION_ORDER = b"\x0a\x0d\x0d\x0a", 0x1A2B3C4D
_SHORTEST_BLOCK = 12


class CutShort(Exception):
    """The file ends within a packet, or its lengths lead nowhere."""

    def __init__(self, at: int) -> None:
        super().__init__(f"it is cut off or damaged at octet {at}")


def require_whole(file: BinaryIO) -> None:
    """CutShort where a pcap or pcapng file is. Leaves the file at its beginning.

    What is neither is for the reader to refuse.
    """
    magic = file.read(4)
    pcap: dict[bytes, Order] = {
        number.to_bytes(4, order): order for number in _PCAP_MAGIC for order in _ORDERS
    }
    if magic == _SECTION:
        _walk(file, 0, _SHORTEST_BLOCK, _block_length())
    elif magic in pcap:
        order = pcap[magic]
        _walk(
            file,
            _PCAP_HEADER,
            _RECORD_HEADER,
            lambda header: _RECORD_HEADER + int.from_bytes(header[8:12], order),
        )
    file.seek(0)


def _walk(file: BinaryIO, first: int, shortest: int, length_of: Callable[[bytes], int]) -> None:
    """From record to record, each as long as ``length_of`` its first octets."""
    size, at = file.seek(0, os.SEEK_END), first
    while at < size:
        file.seek(at)
        header = file.read(shortest)
        length = length_of(header) if len(header) == shortest else 0
        if length < shortest or at + length > size:
            raise CutShort(at)
        at += length
    if at > size:
        raise CutShort(size)


def _block_length() -> Callable[[bytes], int]:
    """Of pcapng: each section says its byte order at its beginning."""
    order: Order = "little"

    def length(header: bytes) -> int:
        nonlocal order
        if header[:4] == _SECTION:
            is_little = int.from_bytes(header[8:12], "little") == _SECTION_ORDER
            order = "little" if is_little else "big"
        return int.from_bytes(header[4:8], order)

    return length
