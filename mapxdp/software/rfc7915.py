# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IP/ICMP translation (RFC 7915): sections 4 and 5 for whole packets without options.

TTL and Hop Limit are carried over as they are: whoever forwards takes the hop off.
"""

from __future__ import annotations

import dataclasses
import random

from mapxdp.model.timeouts import Protocol
from mapxdp.reasons import Reason
from mapxdp.software.checksum import checksum
from mapxdp.software.transport import (
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    Transport,
)
from mapxdp.software.verdict import Refused
from mapxdp.software.wire import (
    DONT_FRAGMENT,
    IPV4_HEADER,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_UDP,
    Ipv4,
    Ipv6,
    icmpv6_pseudo_header,
)

LONGEST_WITHOUT_DF = 1260

#: Types of echo messages in the other family (sections 4.2 and 5.2).
ECHO_46 = {ICMP_ECHO_REQUEST: ICMPV6_ECHO_REQUEST, ICMP_ECHO_REPLY: ICMPV6_ECHO_REPLY}
ECHO_64 = {v6: v4 for v4, v6 in ECHO_46.items()}


def class_of(ipv4: Ipv4, fixed: int | None) -> int:
    """The Traffic Class of a translated packet: TOS, or what the operator fixed (section 4.1)."""
    return ipv4.tos if fixed is None else fixed


def flags_of(payload_length: int) -> int:
    """DF of a packet that had no Fragment header (section 5.1)."""
    return DONT_FRAGMENT if IPV4_HEADER + payload_length > LONGEST_WITHOUT_DF else 0


def lacks_checksum(transport: Transport) -> bool:
    """True for UDP without a checksum, which IPv6 does not have."""
    return transport.protocol is Protocol.UDP and transport.checksum == 0


def refuse_udp_without_checksum(transport: Transport) -> None:
    """Raises Refused for UDP without a checksum (section 4.5)."""
    if lacks_checksum(transport):
        raise Refused(Reason.UDP_CHECKSUM_ZERO)


def with_udp_checksum(source: bytes, destination: bytes, data: bytes) -> bytes:
    """A UDP datagram in IPv4 with the checksum it lacks (section 4.5).

    What may lie behind the datagram is not covered.
    """
    length = data[4:6]
    pseudo_header = source + destination + bytes([0, PROTO_UDP]) + length
    field = checksum(pseudo_header + data[: int.from_bytes(length, "big")])
    return data[:6] + (field or 0xFFFF).to_bytes(2, "big") + data[8:]


def ipv4_to_ipv6(
    ipv4: Ipv4,
    transport: Transport,
    source: bytes,
    destination: bytes,
    traffic_class: int | None = None,
) -> Ipv6:
    """Section 4: the packet under an IPv6 header. ``transport`` has its new port already.

    ``traffic_class`` None copies TOS.
    """
    if transport.protocol is Protocol.ICMP:
        next_header = PROTO_ICMPV6
        transport = transport.replaced(0, bytes([ECHO_46[transport.icmp_type]]))
        transport = transport.with_pseudo_header(
            b"", icmpv6_pseudo_header(source, destination, len(transport.data))
        )
    else:
        next_header = ipv4.protocol
        transport = transport.with_pseudo_header(
            ipv4.source + ipv4.destination, source + destination
        )
    return Ipv6(
        traffic_class=class_of(ipv4, traffic_class),
        hop_limit=ipv4.ttl,
        next_header=next_header,
        source=source,
        destination=destination,
        payload=transport.data,
    )


def ipv6_to_ipv4(ipv6: Ipv6, transport: Transport, source: bytes, destination: bytes) -> Ipv4:
    """Section 5: the packet under an IPv4 header without checksum and Identification.
    ``transport`` has its new port already."""
    if transport.protocol is Protocol.ICMP:
        protocol = PROTO_ICMP
        transport = transport.replaced(0, bytes([ECHO_64[transport.icmp_type]]))
        transport = transport.with_pseudo_header(
            icmpv6_pseudo_header(ipv6.source, ipv6.destination, len(transport.data)), b""
        )
    else:
        protocol = ipv6.next_header
        transport = transport.with_pseudo_header(
            ipv6.source + ipv6.destination, source + destination
        )
    return Ipv4(
        tos=ipv6.traffic_class,
        identification=0,
        flags=flags_of(len(transport.data)),
        ttl=ipv6.hop_limit,
        protocol=protocol,
        checksum=0,
        source=source,
        destination=destination,
        payload=transport.data,
    )


def whole(ipv4: Ipv4) -> bytes:
    """Section 5.1: a packet that had no Fragment header gets an Identification of its own."""
    return dataclasses.replace(ipv4, identification=random.getrandbits(16)).with_checksum()
