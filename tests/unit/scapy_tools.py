# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The example CE of the software path, and packets for it that scapy makes and judges."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import NoPayload, Packet

from harness.domains import BR, domain
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.napt44 import MappingPolicy, Napt44Policy
from mapxdp.model.timeouts import Protocol, Timeouts
from mapxdp.reasons import Reason
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.choices import choose_first
from mapxdp.software.napt44 import Napt44
from mapxdp.software.verdict import Outcome

HOST, SERVER = "192.168.1.2", "198.51.100.7"
OWN_IPV4, OWN_IPV6 = "192.0.2.18", "2001:db8:12:3400:0:c000:212:34"
SERVER_IPV6 = "2001:db8:ffff:0:c6:3364:700:0"
#: The first two ports of the example's set, in the order new_ce hands them out.
PORT, SECOND_PORT = 1232, 1233
MODES = [Mode.MAP_T, Mode.MAP_E]
#: A port for each endpoint, as many as one host wants, and a minute for everything.
EACH_ITS_OWN = Napt44Policy(
    mapping=dict.fromkeys(Protocol, MappingPolicy.EIM),
    host_ports_min=65536,
    timeouts=Timeouts(*[60] * 11),
)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


def new_ce(
    ce_domain: Domain | Mode,
    *,
    mss: int | None = None,
    mtu: int = 1460,
    nat: bool = True,
    clock: Clock | None = None,
    policy: Napt44Policy = EACH_ITS_OWN,
    flows: int = 1000,
) -> CustomerEdge:
    """A CE whose NAPT44 hands out the lowest port first, and every mapping lives for a minute."""
    if isinstance(ce_domain, Mode):
        ce_domain = domain(ce_domain)
    napt44 = Napt44(
        ce_domain.port_set,
        policy,
        clock or Clock(),
        reserved=ce_domain.reserved_ports,
        flows=flows,
        choose=choose_first,
        home=lambda _: 0,
    )
    return CustomerEdge(
        ce_domain, CeSettings(mtu, mss, translates_ports=nat, policy=policy), napt44
    )


def sole(outcome: Outcome) -> bytes:
    """The one packet that left."""
    assert outcome.reason is Reason.TRANSLATED
    (packet,) = outcome.packets
    return packet


def from_host(transport: Packet, **fields: object) -> IP:
    """A packet of a host on the LAN to the server."""
    return IP(**{"src": HOST, "dst": SERVER, **fields}) / transport


def from_server(mode: Mode, transport: Packet | bytes, **fields: object) -> IPv6:
    """What the BR sends for a packet of the server; ``fields`` are the outer header's."""
    if mode.translates:
        return IPv6(src=SERVER_IPV6, dst=OWN_IPV6, **fields) / transport
    inner = IP(src=SERVER, dst=OWN_IPV4, ttl=60, id=0x4321) / transport
    return IPv6(src=str(BR), dst=OWN_IPV6, **fields) / inner


def layers(packet: Packet) -> list[Packet]:
    """The layers of a packet, from the outside."""
    found = []
    while not isinstance(packet, NoPayload):
        found.append(packet)
        packet = packet.payload
    return found


def dissected(packet: bytes) -> Packet:
    """The packet as scapy sees it."""
    return IPv6(packet) if packet[0] >> 4 == 6 else IP(packet)


_COMPUTED: dict[type[Packet], tuple[str, ...]] = {
    IP: ("len", "chksum"),
    IPv6: ("plen",),
    TCP: ("chksum",),
    UDP: ("len", "chksum"),
    ICMP: ("chksum",),
    ICMPv6EchoRequest: ("cksum",),
    ICMPv6EchoReply: ("cksum",),
}


def with_new_checksums(packet: bytes) -> bytes:
    """The packet as scapy would have sent it: every length and checksum computed anew."""
    parsed = dissected(packet)
    for layer in layers(parsed):
        for name in _COMPUTED.get(type(layer), ()):
            delattr(layer, name)
    return bytes(parsed)


def assert_sound(packet: bytes) -> None:
    """Every length and every checksum is right."""
    assert packet.hex() == with_new_checksums(packet).hex()
