# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP, UDP and ICMP echo as NAPT44 sees them: ports, a checksum, and what lies between.

The identifier of an ICMP echo message stands for both its ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software import checksum
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP

ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST = 0, 8
ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY = 128, 129

_ECHO_TYPES = {
    PROTO_ICMP: (ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY),
    PROTO_ICMPV6: (ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY),
}
_MSS_KIND, _MSS_LENGTH, _NOP, _END = 2, 4, 1, 0


class TcpFlags(IntFlag):
    """The flags that matter to a mapping."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10


@dataclass(frozen=True, slots=True)
class Transport:
    """A transport header with its payload. Changing it gives a new one."""

    protocol: Protocol
    data: bytes
    checksum_at: int
    source_port_at: int
    destination_port_at: int

    def _number(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 2], "big")

    @property
    def source_port(self) -> int:
        """Source port, or the ICMP identifier."""
        return self._number(self.source_port_at)

    @property
    def destination_port(self) -> int:
        """Destination port, or the ICMP identifier."""
        return self._number(self.destination_port_at)

    @property
    def checksum(self) -> int:
        """The checksum field."""
        return self._number(self.checksum_at)

    @property
    def peer_port_of_destination(self) -> int:
        """The remote's port seen from the LAN: 0 for ICMP, which has none."""
        return 0 if self.protocol is Protocol.ICMP else self.destination_port

    @property
    def peer_port_of_source(self) -> int:
        """The remote's port seen from the WAN: 0 for ICMP, which has none."""
        return 0 if self.protocol is Protocol.ICMP else self.source_port

    @property
    def tcp_flags(self) -> TcpFlags:
        """The TCP flags; none for other protocols."""
        if self.protocol is not Protocol.TCP:
            return TcpFlags(0)
        return TcpFlags(self.data[13]) & (TcpFlags.FIN | TcpFlags.SYN | TcpFlags.RST | TcpFlags.ACK)

    @property
    def icmp_type(self) -> int:
        """The ICMP type."""
        return self.data[0]

    @property
    def is_echo_reply(self) -> bool:
        """True for the answer to a ping."""
        return self.protocol is Protocol.ICMP and self.icmp_type in (
            ICMP_ECHO_REPLY,
            ICMPV6_ECHO_REPLY,
        )

    def replaced(self, at: int, new: bytes) -> Transport:
        """Other octets at ``at``, the checksum brought up to date."""
        # Words are aligned to the header: the octet before and the one after may belong to them.
        first, last = at - at % 2, at + len(new) + (at + len(new)) % 2
        data = bytearray(self.data)
        data[at : at + len(new)] = new
        return self._with(bytes(data), self.data[first:last], bytes(data[first:last]))

    def with_pseudo_header(self, old: bytes, new: bytes) -> Transport:
        """The same header under another pseudo header: only the checksum changes."""
        return self._with(self.data, old, new)

    def _with(self, data: bytes, old: bytes, new: bytes) -> Transport:
        field = self.checksum
        if self.protocol is Protocol.UDP and field == 0:
            updated = 0  # RFC 768: the sender made no checksum
        elif old == new:
            updated = field
        else:
            updated = checksum.updated(field, old, new)
            if self.protocol is Protocol.UDP and updated == 0:
                updated = 0xFFFF
        end = self.checksum_at + 2
        return Transport(
            self.protocol,
            data[: self.checksum_at] + updated.to_bytes(2, "big") + data[end:],
            self.checksum_at,
            self.source_port_at,
            self.destination_port_at,
        )

    def with_source_port(self, port: int) -> Transport:
        """From another port, or with another ICMP identifier."""
        return self.replaced(self.source_port_at, port.to_bytes(2, "big"))

    def with_destination_port(self, port: int) -> Transport:
        """To another port, or with another ICMP identifier."""
        return self.replaced(self.destination_port_at, port.to_bytes(2, "big"))

    def with_mss_at_most(self, limit: int | None) -> Transport:
        """The MSS of a SYN lowered to ``limit``; None leaves it alone."""
        if limit is None or not self.tcp_flags & TcpFlags.SYN:
            return self
        lowered = self
        for at in self._all_mss():
            if self._number(at) > limit:
                lowered = lowered.replaced(at, limit.to_bytes(2, "big"))
        return lowered

    def _all_mss(self) -> Iterator[int]:
        """Where the values of well-formed MSS options lie: receivers differ in which counts."""
        at, end = 20, _tcp_header_length(self.data)
        while at + 1 < end:
            kind, length = self.data[at], self.data[at + 1]
            if kind == _END:
                return
            if kind == _NOP:
                at += 1
                continue
            is_mss = kind == _MSS_KIND and length == _MSS_LENGTH
            if length < 2 or (is_mss and at + _MSS_LENGTH > end):
                return
            if is_mss:
                yield at + 2
            at += length


def _tcp_header_length(data: bytes) -> int:
    return (data[12] >> 4) * 4


def read_transport(next_header: int, data: bytes, icmp: int) -> Transport:
    """The transport header ``data`` begins with; ``icmp`` says which ICMP belongs here.

    Raises Refused for what has no ports, is cut short, or is no echo message.
    """
    if next_header == PROTO_TCP:
        return _read_tcp(data)
    if next_header == PROTO_UDP:
        return _read_udp(data)
    if next_header == icmp:
        return _read_echo(data, icmp)
    raise Refused(Reason.PROTOCOL_WITHOUT_PORTS)


def is_icmp_error(protocol: int, data: bytes, icmp: int) -> bool:
    """Whether ``data`` may be an ICMP error: a whole header that is no echo message."""
    return protocol == icmp and len(data) >= 8 and data[0] not in _ECHO_TYPES[icmp]


def require_ports(protocol: int, icmp: int) -> None:
    """Raises Refused for a protocol of whose datagrams no fragment shows a port."""
    if protocol not in (PROTO_TCP, PROTO_UDP, icmp):
        raise Refused(Reason.PROTOCOL_WITHOUT_PORTS)


def read_first_transport(next_header: int, data: bytes, icmp: int) -> Transport:
    """The same of a first fragment, which has to hold all of the header (RFC 1858 section 4)."""
    require_ports(next_header, icmp)
    least = {PROTO_TCP: 20}.get(next_header, 8)
    if len(data) < least:
        raise Refused(Reason.FRAGMENT_INVALID)
    if next_header == PROTO_TCP:
        if _tcp_header_length(data) > len(data):
            raise Refused(Reason.FRAGMENT_INVALID)
        return _read_tcp(data)
    if next_header == PROTO_UDP:
        if int.from_bytes(data[4:6], "big") < 8:
            raise Refused(Reason.MALFORMED_TRANSPORT)
        return Transport(Protocol.UDP, data, 6, 0, 2)
    return _read_echo(data, icmp)


def _read_tcp(data: bytes) -> Transport:
    if len(data) < 20 or not 20 <= _tcp_header_length(data) <= len(data):
        raise Refused(Reason.MALFORMED_TRANSPORT)
    return Transport(Protocol.TCP, data, 16, 0, 2)


def _read_udp(data: bytes) -> Transport:
    if len(data) < 8 or not 8 <= int.from_bytes(data[4:6], "big") <= len(data):
        raise Refused(Reason.MALFORMED_TRANSPORT)
    return Transport(Protocol.UDP, data, 6, 0, 2)


def _read_echo(data: bytes, icmp: int) -> Transport:
    if len(data) < 8:
        raise Refused(Reason.MALFORMED_TRANSPORT)
    if data[0] not in _ECHO_TYPES[icmp]:
        raise Refused(Reason.ICMP_NOT_CARRIED)
    return Transport(Protocol.ICMP, data, 2, 4, 4)
