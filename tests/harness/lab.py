"""The lab for tests: its nodes run, its names are this process's own."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mapxdp import netns, snapshot
from mapxdp.config import DatapathKind, Napt44Mode
from mapxdp.lab import run, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4, Lab
from mapxdp.model.domain import Domain, Mode
from mapxdp.reasons import Reason
from mapxdp.software.br import BrSettings


def prefix() -> str:
    return f"mxlab{os.getpid()}-"


@contextmanager
def running_lab(mode: str, datapath: str = "auto", napt44: str = "bpf") -> Iterator[Running]:
    """A lab whose CE is up."""
    lab = Lab(prefix(), Mode(mode), DatapathKind(datapath), Napt44Mode(napt44))
    with run.built(lab, lambda _: None) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class LabOfDomain(Lab):
    """A lab whose CE has another place, in a domain with the lab's own prefixes and BR."""

    place: Domain

    @property
    def domain(self) -> Domain:
        return self.place

    @property
    def peer(self) -> None:
        """Its domain has one CE."""
        return None

    @property
    def relay(self) -> BrSettings:
        return BrSettings(
            mode=self.place.mode,
            rules=self.place.rules,
            address=self.place.br,
            interface_id=self.place.interface_id,
        )

    def config_text(self) -> str:
        rule = self.place.bmr
        psid = "" if rule.psid is None else f"psid_length = {rule.psid_length}\npsid = {rule.psid}"
        return f"""\
[ce]
name = "{self.instance}"
wan = "{topology.WAN}"
mode = "{self.place.mode}"
datapath = "{self.datapath}"
end_user_prefix = "{self.place.end_user_prefix}"
interface_id = "{self.place.interface_id}"
br = "{self.place.br}"

[[rule]]
ipv6 = "{rule.ipv6}"
ipv4 = "{rule.ipv4}"
ea_length = {rule.ea_length}
psid_offset = {rule.psid_offset}
{psid}
"""


@contextmanager
def running_lab_of(place: Domain) -> Iterator[Running]:
    """A lab of MAP-E or lw4o6 whose CE is up, at this place."""
    with run.built(LabOfDomain(prefix(), place.mode, place=place), lambda _: None) as running:
        yield running


def accelerated(running: Running) -> tuple[int, int]:
    """Packets that passed the kernel of the CE by, up and down."""
    with snapshot.watching(running.lab.instance) as take:
        counters = take().counters
    up = counters.upstream.get(Reason.ACCELERATED)
    down = counters.downstream.get(Reason.ACCELERATED)
    return up.packets if up else 0, down.packets if down else 0


@dataclass
class Stream:
    """One UDP exchange after the other between a client and the server, from one socket."""

    sent: int = 0
    lost: list[int] = field(default_factory=list)


@contextmanager
def udp_stream(running: Running, node: str = "client1") -> Iterator[Stream]:
    """Exchanges 20 octets about every 2 ms meanwhile; each has a second to come back."""
    stream, stop = Stream(), threading.Event()
    with netns.entered(running.lab.netns(node)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(1)
    sock.connect((SERVER_IPV4, UDP_PORT))

    def exchange() -> None:
        while not stop.is_set():
            data = stream.sent.to_bytes(20, "big")
            sock.send(data)
            try:
                while sock.recv(64) != data:
                    pass
            except TimeoutError:
                stream.lost.append(stream.sent)
            stream.sent += 1
            time.sleep(0.002)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield stream
    finally:
        stop.set()
        thread.join()
        sock.close()
