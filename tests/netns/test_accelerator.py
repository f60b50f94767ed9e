# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections that pass the kernel by, with real sockets: what takes a shortcut, what ends it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from harness.lab import accelerated, running_lab
from harness.waiting import comes_true
from mapxdp import ce, cli, health, netns, record, sessions, snapshot
from mapxdp.config import parse
from mapxdp.datapath import shortcuts
from mapxdp.datapath.maps import MapSet
from mapxdp.lab import clients, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import CLIENT_IPV4, SERVER_IPV4
from mapxdp.links import Hook, open_links
from mapxdp.observed import Counters, Mapping
from mapxdp.reasons import Reason
from mapxdp.snapshot import Snapshot

CLIENT = CLIENT_IPV4["client1"]
#: The kernel sees the first packets: a question, its answer, and the next question.
LEARNT_AFTER = 4
#: Of <linux/in.h>; Python has no names for them.
MTU_DISCOVER, DO_NOT_DISCOVER = 10, 0


@pytest.fixture(
    scope="module", params=["map-t", "map-e", "map-t xdp", "map-e xdp"], ids=lambda name: name
)
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(*request.param.split()) as running:
        yield running


def counters(lab: Running) -> Counters:
    with snapshot.watching(lab.lab.instance) as take:
        return take().counters


@dataclass
class Talk:
    """Questions of one UDP socket to the server, which sends back what it gets."""

    sock: socket.socket
    sent: int = 0

    def exchange(self, times: int) -> int:
        """How many of so many came back within their time."""
        return sum(self._once() for _ in range(times))

    def _once(self) -> bool:
        self.sent += 1
        data = self.sent.to_bytes(20, "big")
        self.sock.send(data)
        try:
            while self.sock.recv(64) != data:
                pass
        except TimeoutError:
            return False
        return True


@contextmanager
def talking(lab: Running, timeout: float = 5) -> Iterator[Talk]:
    with netns.entered(lab.lab.netns("client1")):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(timeout)
        sock.connect((SERVER_IPV4, UDP_PORT))
        yield Talk(sock)


def in_ce(lab: Running, *command: str) -> None:
    with netns.entered(lab.lab.netns("ce")):
        subprocess.run(command, check=True, timeout=10, capture_output=True)


@contextmanager
def tables(lab: Running) -> Iterator[MapSet]:
    running = record.load(lab.lab.instance)
    assert running is not None
    config = parse(running.config_text, running.config_path)
    with shortcuts.opened(running.name, config, running.accelerator != "none") as maps:
        yield maps


def test_all_but_the_first_packets(lab: Running) -> None:
    before = accelerated(lab)
    with talking(lab) as talk:
        assert talk.exchange(50) == 50
    after = accelerated(lab)
    assert [now - then >= 50 - LEARNT_AFTER for then, now in zip(before, after, strict=True)] == [
        True,
        True,
    ]


def test_where_it_runs_is_known(lab: Running) -> None:
    running = record.load(lab.lab.instance)
    assert running is not None
    wanted = "xdp" if lab.lab.datapath == "xdp" else "tc"
    assert (running.accelerator, running.accelerated) == (wanted, lab.lab.lan)
    checked = health.check(running)
    assert [entry for entry in checked if entry.problem] == []
    assert sum(entry.what.startswith("accelerator: ") for entry in checked) == 1 + 2 * len(
        lab.lab.lan
    )


def test_both_directions_can_be_looked_at(lab: Running) -> None:
    with talking(lab) as talk:
        assert talk.exchange(10) == 10
        port = talk.sock.getsockname()[1]
        with tables(lab) as maps:
            up = [x for x in shortcuts.live(maps, "shortcuts_46") if x.port == port]
            down = [x for x in shortcuts.live(maps, "shortcuts_64") if x.translated_port == port]
    assert [(str(x.local), str(x.remote), x.remote_port, x.is_confirmed) for x in up] == [
        (CLIENT, SERVER_IPV4, UDP_PORT, True)
    ]
    own = str(lab.lab.domain.ipv4_address)
    assert [(str(x.local), str(x.remote), x.remote_port, x.port, x.is_confirmed) for x in down] == [
        (own, SERVER_IPV4, UDP_PORT, up[0].translated_port, True)
    ]


def test_one_hop_less_each_way(lab: Running) -> None:
    """The last of some echo requests, and its reply: accelerated ones count as a hop, too."""
    hops = {"ce": 1, "br": 2 if lab.lab.mode.translates else 1}
    with netns.entered(lab.lab.netns("server")):
        seen_by_server = raw_icmp()
    with netns.entered(lab.lab.netns("client1")):
        seen_by_client = raw_icmp()
        before = accelerated(lab)
        assert len(clients.ping(SERVER_IPV4, 6)) == 6
    assert all(now > then for then, now in zip(before, accelerated(lab), strict=True))
    with seen_by_server, seen_by_client:
        for seen in (seen_by_server, seen_by_client):
            assert {seen.recv(2048)[8] for _ in range(6)} == {64 - sum(hops.values())}


def raw_icmp() -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(5)
    return raw


@pytest.fixture
def firewall(lab: Running) -> Iterator[list[str]]:
    """An empty forward chain of the CE's; the command with which rules are added to it."""
    in_ce(lab, "nft", "add", "table", "ip", "wall")
    chain = "{ type filter hook forward priority 0 ; }"
    in_ce(lab, "nft", "add", "chain", "ip", "wall", "forward", chain)
    yield ["nft", "add", "rule", "ip", "wall", "forward"]
    in_ce(lab, "nft", "delete", "table", "ip", "wall")


@pytest.mark.parametrize("end", ["saddr", "daddr"])
def test_a_firewall_rule_takes_effect_at_a_flush(
    end: str, firewall: list[str], lab: Running
) -> None:
    """In either direction: of what the client sends, and of what is sent to it."""
    with talking(lab, timeout=0.5) as talk:
        assert talk.exchange(10) == 10
        in_ce(lab, *firewall, "ip", end, CLIENT, "udp", "dport" if end == "saddr" else "sport",
              str(UDP_PORT), "drop")  # fmt: skip
        assert talk.exchange(3) == 3
        assert cli.main(["flush", lab.lab.instance]) == 0
        with tables(lab) as maps:
            assert shortcuts.confirmed(maps) == 0
        assert talk.exchange(3) == 0
        in_ce(lab, "nft", "flush", "chain", "ip", "wall", "forward")
        assert comes_true(lambda: talk.exchange(1) == 1, 10)


def test_a_route_takes_effect_by_itself(lab: Running) -> None:
    """The kernel's routes are asked once a second, whoever is alive to notice a change."""
    with talking(lab, timeout=0.2) as talk:
        assert talk.exchange(10) == 10
        in_ce(lab, "ip", "route", "add", "unreachable", f"{SERVER_IPV4}/32")
        try:
            assert comes_true(lambda: talk.exchange(1) == 0, 5)
            assert talk.exchange(3) == 0
        finally:
            in_ce(lab, "ip", "route", "del", "unreachable", f"{SERVER_IPV4}/32")
        assert comes_true(lambda: talk.exchange(1) == 1, 10)


def test_a_host_with_a_new_link_layer_address(lab: Running) -> None:
    """The LAN host is another device now: what the kernel learns, the accelerator does."""
    address = ["-n", lab.lab.netns("client1"), "link", "set", "eth0", "address"]
    with talking(lab, timeout=0.2) as talk:
        assert talk.exchange(10) == 10
        subprocess.run(["ip", *address, "02:00:00:00:00:77"], check=True, timeout=10)
        in_ce(lab, "ip", "neigh", "flush", "to", CLIENT)
        assert comes_true(lambda: talk.exchange(1) == 1, 10)
        assert comes_true(lambda: grows(lab, talk), 10)


def grows(lab: Running, talk: Talk) -> bool:
    """Packets pass the kernel by in both directions, again."""
    before = accelerated(lab)
    talk.exchange(3)
    return all(now > then for then, now in zip(before, accelerated(lab), strict=True))


def test_what_is_too_big_is_the_kernels(lab: Running) -> None:
    """The host is told, and longer datagrams are cut, as without an accelerator."""
    with talking(lab) as talk:
        assert talk.exchange(10) == 10
        before = counters(lab).upstream[Reason.ACCELERATED].packets
        talk.sock.send(bytes(1470))
        with pytest.raises(OSError, match="Message too long"):
            talk.sock.recv(9000)
        talk.sock.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, DO_NOT_DISCOVER)
        talk.sock.settimeout(1)
        # The server's first answer is too big, too: it is told, and does better.
        assert comes_true(lambda: comes_back(talk.sock, 1470), 10)
        assert comes_true(lambda: comes_back(talk.sock, 4000), 10)
        assert counters(lab).upstream[Reason.ACCELERATED].packets == before


def comes_back(sock: socket.socket, octets: int) -> bool:
    sock.send(bytes(octets))
    try:
        return sock.recv(9000) == bytes(octets)
    except TimeoutError:
        return False


def test_an_ended_session_is_not_accelerated(lab: Running) -> None:
    """The mapping goes, and with it every shortcut of its; the next packet begins another."""
    with talking(lab) as talk:
        assert talk.exchange(10) == 10
        with snapshot.watching(lab.lab.instance) as take:
            assert sessions.end(take(), mappings_of(talk, take)).ended == 1
            before = counters(lab).upstream[Reason.ACCELERATED].packets
            assert talk.exchange(1) == 1
            assert counters(lab).upstream[Reason.ACCELERATED].packets == before
            assert len(mappings_of(talk, take)) == 1
        assert talk.exchange(10) == 10


def mappings_of(talk: Talk, take: Callable[[], Snapshot]) -> list[Mapping]:
    port = talk.sock.getsockname()[1]
    return [mapping for mapping in take().mappings if mapping.host_port == port]


def test_down_leaves_nothing_at_the_lan(lab: Running) -> None:
    ce.down(lab.lab.instance, lambda _: None)
    with netns.entered(lab.lab.netns("ce")), open_links() as links:
        for name in (*lab.lab.lan, topology.WAN):
            link = links.find(name)
            assert not links.has_clsact(link)
            assert [links.attached(link, hook) for hook in Hook] == [None, None]
    listing = subprocess.run(
        ["ip", "-n", lab.lab.netns("ce"), "link"], check=True, capture_output=True, timeout=10
    )
    assert b"xdp" not in listing.stdout
