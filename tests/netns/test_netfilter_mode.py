# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The kernel does NAPT44 to virtual ports, BPF puts the ports of the set in their place."""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from harness.lab import Stream, running_lab, udp_stream
from harness.router import CONFIG, Router
from mapxdp import ce, health, netns, nftables, record, snapshot
from mapxdp.errors import HostError
from mapxdp.lab import checks, clients, topology
from mapxdp.lab.checks import Running
from mapxdp.lab.server import UDP_PORT
from mapxdp.lab.topology import SERVER_IPV4
from mapxdp.links import Links
from mapxdp.observed import Count
from mapxdp.reasons import Reason

FOREIGN = """\
table ip others {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ip daddr 198.51.100.99 counter drop
	}
}
"""
FIREWALL = """\
table ip firewall {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
	}
}
"""
FIRST_VIRTUAL = 16384


@pytest.fixture(scope="module", params=["map-t", "map-e"])
def lab(bpf: None, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_lab(request.param, napt44="netfilter") as running:
        yield running


def nft(namespace: str, *arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def exchanges(sockets: list[socket.socket]) -> int:
    """How many of the sockets get back from the server what they sent."""
    answered = 0
    with selectors.DefaultSelector() as waiting:
        for number, sock in enumerate(sockets):
            sock.sendto(b"%d" % number, (SERVER_IPV4, UDP_PORT))
            waiting.register(sock, selectors.EVENT_READ, number)
        while ready := waiting.select(1.5):
            for key, _ in ready:
                assert key.fileobj.recv(100) == b"%d" % key.data  # type: ignore[union-attr]
                answered += 1
    return answered


def udp_sockets(lab: Running, count: int, stack: ExitStack) -> list[socket.socket]:
    """Sockets of the two clients, in turns."""
    made = []
    for number in range(count):
        with netns.entered(lab.lab.netns(f"client{number % 2 + 1}")):
            made.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
    return made


def forget_connections(lab: Running) -> None:
    """As if their timeouts had passed."""
    from pyroute2 import NFCTSocket

    with netns.entered(lab.lab.netns("ce")), NFCTSocket() as conntrack:
        conntrack.flush()


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "tx off"])
def test_checks_of_the_lab(offloads: bool, lab: Running) -> None:
    """Ping, UDP, downloads, uploads, 200 connections, the router's own traffic, the ports."""
    topology.set_offloads(lab.lab, "ce", topology.WAN, on=offloads)
    forget_connections(lab)
    assert [check for check in checks.traffic(lab) if not check.passed] == []


def test_counters_agree(lab: Running) -> None:
    assert [check for check in checks.counters(lab) if not check.passed] == []


def test_everything_is_in_place(lab: Running) -> None:
    running = record.load(lab.lab.instance)
    assert running is not None
    assert [entry for entry in health.check(running) if entry.problem] == []


def test_many_flows_use_many_ports(lab: Running) -> None:
    """More flows than ports: at least 95 of 100 ports are used, by one flow each."""
    forget_connections(lab)
    lab.server.take_peers()
    ports = lab.lab.domain.port_set
    with ExitStack() as stack:
        answered = exchanges(udp_sockets(lab, len(ports) + 50, stack))
    used = {port for _, port in lab.server.take_peers()["udp"]}
    assert used <= set(ports)
    assert answered == len(used)
    assert answered >= 0.95 * len(ports)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_every_port_of_the_set_is_reachable(protocol: str, lab: Running) -> None:
    """Each virtual port, chosen by the client, is the port of the set at its position."""
    forget_connections(lab)
    lab.server.take_peers()
    ports = list(lab.lab.domain.port_set)
    with ExitStack() as stack, netns.entered(lab.lab.netns("client1")):
        if protocol == "tcp":
            opened = clients.open_connections(SERVER_IPV4, len(ports), FIRST_VIRTUAL)
            assert clients.use_and_abort(opened) == len(ports)
        else:
            sockets = [
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in ports
            ]
            for number, sock in enumerate(sockets):
                sock.bind(("", FIRST_VIRTUAL + number))
            assert exchanges(sockets) == len(ports)
    assert {port for _, port in lab.server.take_peers()[protocol]} == set(ports)


def test_pings_of_several_hosts_at_once(lab: Running) -> None:
    """Two hosts with the same identifiers get different ones, and each its own replies."""
    forget_connections(lab)
    identifiers = range(FIRST_VIRTUAL, FIRST_VIRTUAL + 50)
    with ExitStack() as stack:
        raws = []
        for node in ("client1", "client2"):
            with netns.entered(lab.lab.netns(node)):
                raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            raw.settimeout(2)
            raws.append(stack.enter_context(raw))
        for identifier in identifiers:
            for raw in raws:
                raw.sendto(clients.echo_request(identifier, 1, 48), (SERVER_IPV4, 0))
        for raw in raws:
            got = {int.from_bytes(raw.recv(200)[24:26], "big") for _ in identifiers}
            assert got == set(identifiers)


def test_a_stranger_is_turned_away_at_once(lab: Running) -> None:
    """What nobody waits for is not sent back to the domain, where it would come from again."""
    public = str(lab.lab.domain.ipv4_address)
    before = crossed(lab)
    with (
        netns.entered(lab.lab.netns("server")),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        for port in list(lab.lab.domain.port_set)[::10]:
            sock.sendto(b"?", (public, port))
    sent = len(list(lab.lab.domain.port_set)[::10])
    time.sleep(0.5)
    after = crossed(lab)
    assert (after[0] - before[0], after[1] - before[1]) == (0, sent)


def crossed(lab: Running) -> tuple[int, int]:
    """What left and what came in, upstream drops included: a loop would show there."""
    with snapshot.watching(lab.lab.instance) as take:
        counters = take().counters
    return (
        sum(count.packets for count in counters.upstream.values()),
        counters.downstream.get(Reason.TRANSLATED, Count()).packets,
    )


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("snat ip to 192.0.2.18:1000-1001", Reason.VIRTUAL_PORT),
        ("snat ip to 192.0.2.18:16636-16700", Reason.VIRTUAL_PORT),
        ("snat ip to 192.0.2.19:16384-16385", Reason.SOURCE_NOT_OURS),
    ],
)
def test_what_another_rule_translated_is_refused(
    statement: str, reason: Reason, lab: Running
) -> None:
    ours = lab.lab.netns("ce")
    rule = f"oifname wan udp dport {UDP_PORT} {statement}\n"
    hook = "type nat hook postrouting priority srcnat - 2\n"
    before = dropped(lab, reason)
    nft(ours, "-f", "-", stdin=f"table ip early {{ chain c {{\n{hook}{rule}}}\n}}\n")
    try:
        with (
            netns.entered(lab.lab.netns("client1")),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.settimeout(0.5)
            sock.sendto(b"?", (SERVER_IPV4, UDP_PORT))
            with pytest.raises(TimeoutError):
                sock.recv(10)
    finally:
        nft(ours, "delete", "table", "ip", "early")
    assert dropped(lab, reason) == before + 1


def dropped(lab: Running, reason: Reason) -> int:
    with snapshot.watching(lab.lab.instance) as take:
        return take().counters.upstream.get(reason, Count()).packets


def test_upgrade_keeps_the_flows(lab: Running, tmp_path: Path) -> None:
    path = tmp_path / "ce.toml"
    path.write_text(lab.lab.config_text(), encoding="utf-8")
    with netns.entered(lab.lab.netns("client2")):
        (held,) = clients.open_connections(SERVER_IPV4, 1, 40000)
    lab.server.take_peers()
    with udp_stream(lab) as stream:
        for _ in range(2):
            ce.up(path, lab.lab.netns("ce"), lambda _: None)
        wait_for_exchanges(stream, 20)
    assert stream.lost == []
    assert len(lab.server.take_peers()["udp"]) == 1
    assert clients.use_and_abort([held]) == 1


def test_changing_between_the_modes(lab: Running, tmp_path: Path) -> None:
    """A stream that never pauses goes on under the other mode, from another port if it must.

    A firewall has netfilter know of its connection all the time.
    """
    path = tmp_path / "ce.toml"
    ours, text = lab.lab.netns("ce"), lab.lab.config_text()
    nft(ours, "-f", "-", stdin=FIREWALL)
    with udp_stream(lab) as stream:
        for mode in ("bpf", "netfilter", "bpf", "netfilter"):
            path.write_text(text.replace('"netfilter"', f'"{mode}"'), encoding="utf-8")
            said: list[str] = []
            ce.reload(path, ours, said.append)
            is_there = "table ip mapxdp_" in nft(ours, "list", "tables")
            assert is_there == (mode == "netfilter")
            assert any(line.startswith("made netfilter forget ") for line in said)
            wait_for_exchanges(stream, 20)
    nft(ours, "delete", "table", "ip", "firewall")
    assert len(stream.lost) <= 4


def wait_for_exchanges(stream: Stream, count: int) -> None:
    reached, lost = stream.sent, len(stream.lost)
    deadline = time.monotonic() + 10
    while stream.sent - reached < count + len(stream.lost) - lost:
        assert time.monotonic() < deadline, f"{len(stream.lost) - lost} lost"
        time.sleep(0.01)


NETFILTER = CONFIG + '[napt44]\nmode = "netfilter"\n'


@pytest.fixture
def router(cpe: Router) -> Router:
    cpe.write_config(NETFILTER)
    return cpe


def table_of(router: Router) -> str:
    return f"mapxdp_{router.name}"


def test_down_removes_the_table_and_no_other(router: Router) -> None:
    nft(router.name, "-f", "-", stdin=FOREIGN)
    before = router.state(), nft(router.name, "list", "ruleset")
    said = router.up()
    assert f"nftables table ip {table_of(router)}: virtual ports 16384-16635" in said
    once = nft(router.name, "-s", "list", "ruleset")
    assert "snat to 192.0.2.18:16384-16635" in once
    router.up()
    assert nft(router.name, "-s", "list", "ruleset") == once
    assert nft(router.name, "list", "tables").split() == (
        f"table ip others table ip {table_of(router)}".split()
    )
    ce.down(router.name, lambda _: None)
    assert (router.state(), nft(router.name, "list", "ruleset")) == before


def test_an_address_that_is_not_shared(router: Router) -> None:
    """Its ports stand for themselves; the well-known ones are never used as a source."""
    text = NETFILTER.replace("ea_length = 16", "ea_length = 8")
    router.write_config(text.replace("2001:db8:12:3400::/56", "2001:db8:12::/48"))
    router.up()
    assert "snat to 192.0.2.18:1024-65535" in nft(router.name, "list", "ruleset")


def test_what_is_on_the_wan_link_is_left_alone(router: Router) -> None:
    """A modem's page is reached from the address that the WAN has for it."""
    router.ip("addr add 192.168.100.2/24 dev wan")
    router.ip("addr add 192.168.100.3/24 dev wan")
    router.up()
    listed = nft(router.name, "list", "ruleset")
    assert listed.count('oifname "wan" ip daddr 192.168.100.0/24 return') == 1


def test_a_table_that_somebody_removed(router: Router) -> None:
    router.up()
    nft(router.name, "delete", "table", "ip", table_of(router))
    running = record.load(router.name)
    assert running is not None
    (problem,) = [entry for entry in health.check(running) if entry.problem]
    assert problem.what == f"nftables table ip {table_of(router)}"
    assert str(problem.problem).startswith("missing; mapxdp up -c ")
    router.up()
    assert [entry.problem for entry in health.check(running) if entry.problem] == []
    nft(router.name, "delete", "table", "ip", table_of(router))
    ce.down(router.name, lambda _: None)


def test_down_after_the_interface_is_gone(router: Router) -> None:
    router.up()
    router.ip("link del wan")
    ce.down(router.name, lambda _: None)
    assert nft(router.name, "list", "ruleset") == ""


@pytest.mark.parametrize("was_up", [False, True], ids=["first up", "upgrade"])
def test_failure_half_way_is_undone(
    was_up: bool, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that fails leaves the table that was there, word for word."""
    if was_up:
        router.up()
    before = router.state(), nft(router.name, "list", "ruleset")
    router.write_config(NETFILTER.replace("ea_length = 16", "ea_length = 16\npsid_offset = 4"))
    attach, calls = Links.attach, []

    def fail_first(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(5, "made to fail")
        attach(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Links, "attach", fail_first)
    with pytest.raises(OSError, match="made to fail"):
        router.up()
    monkeypatch.undo()
    assert (router.state(), nft(router.name, "list", "ruleset")) == before


def test_nft_is_missing(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    before = router.state()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match="nft is missing") as caught:
        ce.up(router.config, router.name, lambda _: None)
    monkeypatch.undo()
    assert "apt install nftables" in caught.value.remedy
    assert router.state() == before


def test_nft_refuses(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own words, on one line."""
    before = router.state()
    monkeypatch.setattr(nftables, "source_nat", lambda *_: "chain c { no such thing }")
    with pytest.raises(HostError, match=r"nft -f - failed: .*syntax error") as caught:
        router.up()
    assert len(str(caught.value).splitlines()) == 1
    assert router.state() == before


@pytest.mark.parametrize("name", ['a"b', "a*", "a\\b"])
def test_an_interface_that_nft_cannot_name(name: str) -> None:
    with pytest.raises(HostError, match="no way to write the name"):
        nftables.source_nat(name, IPv4Address("192.0.2.18"), (1, 2), ())  # type: ignore[arg-type]
