# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Packets of a capture file through a packet path, into another capture file.

Ethernet and raw IP are read; the same comes out. scapy reads and writes the files, and is
imported only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mapxdp.errors import InvalidValue
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.capture_file import CutShort, require_whole
from mapxdp.software.verdict import Outcome

LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101
#: What else means "IP and nothing before it": DLT_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6.
_OTHER_RAW = frozenset({12, 228, 229})
_ETHERNET_HEADER = 14
_ETHER_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_OF_ANOTHER_FAMILY = {4: Reason.NOT_IPV4, 6: Reason.NOT_IPV6}
_VERDICTS = {
    ReasonClass.TRANSLATED: "translated",
    ReasonClass.PASS: "passed",
    ReasonClass.DROP: "dropped",
}
_ANSWERED = "answered"
#: Verdict and reason of what no datapath decides: the router's kernel does not forward it.
_NOT_FORWARDED = ("dropped", "TTL_EXCEEDED")

#: What becomes of an IP packet that came at a second; None where the router's kernel would not
#: forward it.
Handle = Callable[[bytes, int], Outcome | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one packet; ``outputs`` are positions in the output file."""

    index: int
    verdict: str
    reason: str
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Record:
    data: bytes
    link_type: int
    sec: int
    usec: int


def run(source: Path, target: Path, version: int, handle: Handle) -> list[Entry]:
    """Gives the packets of one IP version to ``handle``, writes what comes out to ``target``.

    The others are passed, as the datapath passes them. InvalidValue where ``source`` is no
    capture file of Ethernet or raw IP.
    """
    records = list(_read(source))
    link_type = _only_link_type(records, source)
    report: list[Entry] = []
    written = 0
    with _writing(target, link_type) as out:
        for index, record in enumerate(records):
            link, packet = _split(record.data, link_type)
            ours = _is_of(version, link, packet)
            outcome: Outcome | None = Outcome(_OF_ANOTHER_FAMILY[version])
            if ours:
                outcome = handle(packet, record.sec)
            leaving = [] if outcome is None else list(_frames(link, outcome))
            for frame in leaving:
                out.write(frame, record)
            outputs = tuple(range(written, written + len(leaving)))
            written += len(leaving)
            report.append(Entry(index, *_words(outcome), outputs))
    return report


def _words(outcome: Outcome | None) -> tuple[str, str]:
    """Verdict and reason."""
    if outcome is None:
        return _NOT_FORWARDED
    verdict = _ANSWERED if outcome.answers else _VERDICTS[outcome.verdict]
    return verdict, outcome.reason.name


def _frames(link: bytes, outcome: Outcome) -> Iterator[bytes]:
    """What leaves on the other side, then what goes back to the sender."""
    for packet in outcome.packets:
        yield _joined(link, packet)
    back = link[6:12] + link[:6] + link[12:]
    for packet in outcome.answers:
        yield _joined(back, packet)


def _is_of(version: int, link: bytes, packet: bytes) -> bool:
    """Ethernet says so in its header; without one, the packet's first four bits do."""
    if link:
        return link[-2:] == _ETHER_TYPES[version] and len(link) == _ETHERNET_HEADER
    return bool(packet) and packet[0] >> 4 == version


def _split(data: bytes, link_type: int) -> tuple[bytes, bytes]:
    """The link-layer header and the IP packet behind it."""
    length = _ETHERNET_HEADER if link_type == LINKTYPE_ETHERNET else 0
    return data[:length], data[length:]


def _joined(link: bytes, packet: bytes) -> bytes:
    """The packet behind the link-layer header it came with, of the family it has now."""
    return link[:-2] + _ETHER_TYPES[packet[0] >> 4] + packet if link else packet


def _only_link_type(records: list[_Record], source: Path) -> int:
    link_types = {record.link_type for record in records}
    if len(link_types) > 1 or not link_types <= {LINKTYPE_ETHERNET, LINKTYPE_RAW}:
        raise InvalidValue(
            "capture file",
            source,
            f"its link types are {sorted(link_types)}",
            f"capture Ethernet ({LINKTYPE_ETHERNET}) or raw IP ({LINKTYPE_RAW})",
        )
    return link_types.pop() if link_types else LINKTYPE_RAW


def _read(path: Path) -> Iterator[_Record]:
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    try:
        with path.open("rb") as file:
            require_whole(file)
            reader = cast(Any, RawPcapReader)(file)  # typed for a name alone
            for data, metadata in reader:
                yield _record(data, metadata, reader)
    except (OSError, Scapy_Exception, EOFError, CutShort) as error:
        raise InvalidValue(
            "capture file", path, f"it cannot be read: {error}", "name a pcap or pcapng file"
        ) from error


def _record(data: bytes, metadata: Any, reader: Any) -> _Record:
    if hasattr(metadata, "tsresol"):  # pcapng: each packet has its interface's properties
        link_type = metadata.linktype
        ticks = (metadata.tshigh << 32) + metadata.tslow
        sec, fraction = divmod(ticks, metadata.tsresol)
        usec = fraction * 1_000_000 // metadata.tsresol
    else:
        link_type = reader.linktype
        sec, usec = metadata.sec, metadata.usec // (1000 if reader.nano else 1)
    return _Record(data, LINKTYPE_RAW if link_type in _OTHER_RAW else link_type, sec, usec)


class _Writer:
    def __init__(self, pcap: Any) -> None:
        self._pcap = pcap

    def write(self, data: bytes, like: _Record) -> None:
        self._pcap.write_packet(data, sec=like.sec, usec=like.usec)


@contextmanager
def _writing(path: Path, link_type: int) -> Iterator[_Writer]:
    from scapy.utils import RawPcapWriter

    try:
        pcap = RawPcapWriter(str(path), linktype=link_type)
    except OSError as error:
        raise InvalidValue(
            "capture file", path, f"it cannot be written: {error}", "name another file"
        ) from error
    with pcap:
        pcap.write_header(None)
        yield _Writer(pcap)
