# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A CE whose every packet is offered to the accelerator first, as on a router's interfaces.

The router is two interfaces in a network namespace of its own, with routes and neighbours that
never change: all LAN hosts are behind one other router, all of the WAN behind the gateway. What
the accelerator does not take it leaves as it was, and goes the way of all others; what leaves
into the LAN is shown to the program that confirms.
"""

from __future__ import annotations

import struct
import subprocess
from contextlib import AbstractContextManager, ExitStack

from harness import packets
from harness.ce import ETHER_TYPE, ETHERNET, WAN_MTU, LoadedCe, without_padding
from mapxdp import host
from mapxdp.datapath import libbpf, programs
from mapxdp.datapath.libbpf import RunResult
from mapxdp.datapath.trial import REDIRECTED, Trial, TrialLink, context
from mapxdp.links import ETHERNET_HEADER, open_links
from mapxdp.model.accelerator import AcceleratorHook, AcceleratorPolicy
from mapxdp.model.domain import Domain
from mapxdp.reasons import Reason, ReasonClass
from mapxdp.software.verdict import Outcome

_GATEWAY, _WAN = ETHERNET[:6], ETHERNET[6:]
_LAN = bytes.fromhex("020000000003")
_LAN_ROUTER = bytes.fromhex("020000000004")
_LAN_HOSTS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_XDP_PASS, _XDP_REDIRECT, _TC_PASS = 2, 4, 0xFFFFFFFF


class Router:
    """The namespace; it goes with the process at the latest. Its WAN is a link for trials."""

    def __init__(self, ipv4_mtu: int) -> None:
        with ExitStack() as closing:
            self.link = closing.enter_context(TrialLink())
            self.wan = self.link.ifindex
            with self.entered():
                self.lan = _build(ipv4_mtu)
            self._closing = closing.pop_all()

    def close(self) -> None:
        self._closing.close()

    def entered(self) -> AbstractContextManager[None]:
        return self.link.entered()


def _build(ipv4_mtu: int) -> int:
    """The index of the LAN interface."""
    with open_links() as links:
        links.add_veth_pair("lan", "lan-peer", WAN_MTU)
        links.set_up(links.find("lan-peer"))
        index = links.find("lan").index
    for name, own in (("lan", _LAN), ("wan", _WAN)):
        _ip(f"link set {name} address {own.hex(':')} up")
    host.set_sysctl(host.IPV4_FORWARDING, "1")
    for name, network, to in (("lan", 9, _LAN_ROUTER), ("wan", 8, _GATEWAY)):
        _ip(f"addr add 169.254.{network}.1/24 dev {name}")
        _ip(f"neigh add 169.254.{network}.9 lladdr {to.hex(':')} dev {name} nud permanent")
    for prefix in _LAN_HOSTS:
        _ip(f"route add {prefix} via 169.254.9.9 dev lan")
    _ip(f"route add default via 169.254.8.9 dev wan mtu {ipv4_mtu}")
    return index


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, timeout=10)


class AcceleratedCe(LoadedCe):
    """As a LoadedCe; ``taken`` counts the packets that took a shortcut."""

    def __init__(self, ce_domain: Domain, hook: AcceleratorHook, **capacities: int) -> None:
        self._hook = hook
        super().__init__(ce_domain, **{"SHORTCUTS": 1024} | capacities)
        self._router = Router(ce_domain.ipv4_mtu(WAN_MTU))

    def close(self) -> None:
        self._router.close()
        super().close()

    def load_programs(self) -> programs.ProgramSet:
        return programs.load(self.domain.mode, self.maps, ETHERNET_HEADER, self._hook)

    def reset(self, **changes: object) -> None:
        for name in ("shortcuts_46", "shortcuts_64"):
            for number in range(self.maps.spec(name).entries):
                self.maps.set_value(name, bytes(self.maps.spec(name).value_size), number)
        super().reset(**{"accelerator": AcceleratorPolicy(revalidate=3)} | changes)
        self.taken = 0

    def from_lan(self, packet: bytes, **fields: int) -> Outcome:
        taken = self._offered("lan", packet, "DIRECTION_46", fields)
        return taken or super().from_lan(packet, **fields | {"ifindex": self._router.wan})

    def from_wan(self, packet: bytes, **fields: int) -> Outcome:
        taken = self._offered("wan", packet, "DIRECTION_64", fields)
        if taken:
            return taken
        outcome = super().from_wan(packet, **fields)
        if outcome.reason.reason_class is ReasonClass.TRANSLATED:
            for made in outcome.packets:
                self._confirm(made)
        return outcome

    def _offered(
        self, part: str, packet: bytes, direction: str, fields: dict[str, int]
    ) -> Outcome | None:
        """What became of a packet that took a shortcut; None for all others, which are as before.

        It arrives with the hop that the kernel would count.
        """
        arriving = _with_another_hop(packet)
        ether_type = fields.get("ether_type", ETHER_TYPE.get(packet[0] >> 4))
        if arriving is None or ether_type not in ETHER_TYPE.values():
            return None
        to = _LAN + _LAN_ROUTER if part == "lan" else _WAN + _GATEWAY
        frame = _frame(to, ether_type, arriving)
        if len(frame) > 14 + WAN_MTU:
            return None
        result = self._run_accelerator(part, frame, fields)
        if result is None:
            return None
        assert not _is_damaged(arriving), "the kernel would have discarded it"
        gone = ETHERNET if part == "lan" else _LAN_ROUTER + _LAN
        self.taken += 1
        reason = self._reason_since(direction)
        assert reason is Reason.TRANSLATED
        made = result.packet[14:]
        assert result.packet == _frame(gone, ETHER_TYPE[made[0] >> 4], made)
        return Outcome(reason, (without_padding(made),))

    def _run_accelerator(self, part: str, frame: bytes, fields: dict[str, int]) -> RunResult | None:
        program = self.programs.accelerator[part]
        ifindex = self._router.lan if part == "lan" else self._router.wan
        with self._router.entered():
            if self._hook is AcceleratorHook.XDP:
                if fields.get("gso_size"):
                    return None
                result = libbpf.run_program(
                    program.fd, frame, context=_xdp_context(len(frame), ifindex)
                )
                passed, redirected = _XDP_PASS, _XDP_REDIRECT
            else:
                given = {name: fields[name] for name in ("gso_size", "gso_segs") if name in fields}
                set_fields = context(ifindex=ifindex, **given)
                result = libbpf.run_program(program.fd, frame, context=set_fields)
                passed, redirected = _TC_PASS, REDIRECTED
        if result.verdict == passed:
            assert result.packet == frame, "passed on, but changed"
            return None
        assert result.verdict == redirected
        return result

    def _confirm(self, packet: bytes) -> None:
        if len(packet) > WAN_MTU:
            return  # it leaves in pieces, which confirm nothing
        frame = _frame(_LAN_ROUTER + _LAN, ETHER_TYPE[4], packet)
        fd = self.programs.accelerator["confirm"].fd
        with self._router.entered():
            result = libbpf.run_program(fd, frame, context=context(ifindex=self._router.lan))
        assert (result.verdict, result.packet) == (_TC_PASS, frame)

    def events(self) -> dict[Reason, int]:
        """Without that one: the software path has no accelerator."""
        counted = super().events()
        counted.pop(Reason.ACCELERATED, None)
        return counted

    def _tried(self, fd: int, frame: bytes, fields: dict[str, int]) -> Trial:
        if self.link is not None:
            fields.pop("ifindex", None)
            return self._router.link.run(fd, frame, **fields)
        with self._router.entered():
            return super()._tried(fd, frame, fields)


def _frame(addresses: bytes, ether_type: int, packet: bytes) -> bytes:
    return addresses + ether_type.to_bytes(2, "big") + packet


def _xdp_context(length: int, ifindex: int) -> bytes:
    """struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex."""
    return struct.pack("=IIIIII", 0, length, 0, ifindex, 0, 0)


def _with_another_hop(packet: bytes) -> bytes | None:
    """The packet before the kernel forwarded it; None where nothing of the kind can have been."""
    data = bytearray(packet)
    if len(data) >= 40 and data[0] >> 4 == 6:
        if data[6] == 4:  # a tunnel's end counts no hop of the tunnel
            return _inner_with_another_hop(data)
        if data[7] == 255:
            return None
        data[7] += 1
        return bytes(data)
    if len(data) < 20 or data[0] != 0x45 or data[8] == 255:
        return None
    return _hop_added(data, 0)


def _inner_with_another_hop(data: bytearray) -> bytes | None:
    if len(data) < 60 or data[40] != 0x45 or data[48] == 255:
        return None
    return _hop_added(data, 40)


def _hop_added(data: bytearray, at: int) -> bytes:
    """One hop more; a damaged header stays as damaged as it was."""
    damage = packets.internet_checksum(bytes(data[at : at + 20]))
    data[at + 8] += 1
    data[at + 10 : at + 12] = bytes(2)
    sound = packets.internet_checksum(bytes(data[at : at + 20]))
    field = (sound - damage) % 0xFFFF if damage else sound
    data[at + 10 : at + 12] = field.to_bytes(2, "big")
    return bytes(data)


def _is_damaged(packet: bytes) -> bool:
    """Whether the one IPv4 header there is, which has no options, is wrong by its checksum."""
    if packet[0] >> 4 == 6 and packet[6] != packets.IPV4:
        return False
    at = 0 if packet[0] >> 4 == 4 else 40
    return packets.internet_checksum(packet[at : at + 20]) != 0
