# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lab from beginning to end: build, bring up, check, show, take down."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from rich.console import Console

from mapxdp import ce, host, locks, netns, record, snapshot
from mapxdp.errors import MapxdpError, StateError
from mapxdp.lab import checks, clients, mesh, path, relay, server, topology
from mapxdp.lab.checks import Check, Running
from mapxdp.lab.topology import SERVER_IPV4, Lab
from mapxdp.model.domain import Mode
from mapxdp.views import live
from mapxdp.views.top import Top

LIVE_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


@dataclass
class Report:
    """What one run of the lab found."""

    mode: Mode
    checks: list[Check] = field(default_factory=list)
    frame: Top | None = None

    @property
    def passed(self) -> bool:
        """True if every check did."""
        return all(check.passed for check in self.checks)


def run(
    lab: Lab,
    *,
    say: Say,
    show: Callable[[Check], None],
    console: Console | None,
    keep: bool = False,
) -> Report:
    """One lab from beginning to end.

    ``console`` None leaves the live view out; ``keep`` waits for Enter before the end.
    """
    host.require_root()
    report = Report(lab.mode)
    with _ended_by_signals(), built(lab, say) as running:
        for check in _all_checks(running, say):
            show(check)
            report.checks.append(check)
        if console is not None:
            report.frame = _show_live(running, console)
        for check in chain(
            checks.counters(running), mesh.between_ces(running), path.along_the_path(running)
        ):
            show(check)
            report.checks.append(check)
        if keep:
            _keep(lab, say)
    return report


@contextmanager
def built(lab: Lab, say: Say) -> Iterator[Running]:
    """A lab whose CEs, BR and servers run meanwhile.

    StateError if another one with this prefix does. What a killed one left is removed first.
    """
    with _only_one(lab):
        _require_own_instance(lab)
        try:
            clean(lab)
            topology.build(lab, say)
            with (
                relay.running(lab.relay, lab.netns("br"), lab.mtu) as its_relay,
                server.running(lab.netns("server")) as its_server,
                mesh.peer_server(lab) as at_peer,
            ):
                say("the BR (software path) and the server run")
                _bring_up(lab.config_text(), lab.netns("ce"), say)
                if lab.peer is not None:
                    _bring_up(lab.peer_config_text(), lab.netns("peer"), lambda _: None)
                    say(f"a second CE, {lab.peer.ipv4_address}, runs without NAPT44")
                yield Running(lab, its_relay, its_server, at_peer)
        finally:
            clean(lab)


def _only_one(lab: Lab) -> AbstractContextManager[None]:
    return locks.held(
        record.file(lab.instance, "lab-lock"),
        f"another lab runs with the prefix {lab.prefix} (mapxdp top {lab.instance} shows it)",
    )


def _require_own_instance(lab: Lab) -> None:
    """StateError if a CE of the lab's name runs elsewhere: it is not the lab's to take down."""
    for instance in (lab.instance, lab.peer_instance):
        running = record.load(instance)
        if running is not None and running.netns != instance:
            raise StateError(
                f"a CE named {instance} runs on {running.wan} already, and is not a lab's",
                "choose another --prefix",
            )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal that would end the process is an exception in here, and only the first one:
    what was built is taken down without being disturbed."""

    def end(number: int, _: object) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    heeded = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    former = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _bring_up(config_text: str, namespace: str, say: Say) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "ce.toml"
        file.write_text(config_text, encoding="utf-8")
        ce.up(file, namespace, say)


def _keep(lab: Lab, say: Say) -> None:
    say(f"the lab stays until Enter is pressed; try: mapxdp top {lab.instance}")
    say(f"or: ip netns exec {lab.netns('client1')} curl http://{SERVER_IPV4}:{server.HTTP_PORT}/")
    with suppress(EOFError, KeyboardInterrupt):
        input()


def clean(lab: Lab) -> None:
    """Takes the CEs down and removes the namespaces, as far as they are there."""
    for instance in (lab.instance, lab.peer_instance):
        with suppress(MapxdpError):
            ce.down(instance, lambda _: None)
    topology.destroy(lab)


def _all_checks(running: Running, say: Say) -> Iterator[Check]:
    say("with all offloads on")
    topology.set_offloads(running.lab, "ce", topology.WAN, on=True)
    yield from checks.traffic(running)
    say(f"again after: ethtool -K {topology.WAN} tx off tso off gso off gro off")
    topology.set_offloads(running.lab, "ce", topology.WAN, on=False)
    yield from checks.traffic(running)
    topology.set_offloads(running.lab, "ce", topology.WAN, on=True)
    yield from checks.native_ipv6(running)


def _show_live(running: Running, console: Console) -> Top:
    """The live view while a client downloads and uploads."""
    stop = threading.Event()
    busy = threading.Thread(target=_keep_busy, args=(running.lab, stop), daemon=True)
    busy.start()
    try:
        with snapshot.watching(running.lab.instance) as take:
            return live.run(take, console, seconds=LIVE_SECONDS)
    finally:
        stop.set()
        busy.join(clients.TIMEOUT)


def _keep_busy(lab: Lab, stop: threading.Event) -> None:
    content = server.blob()
    with netns.entered(lab.netns("client1")):
        while not stop.is_set():
            with suppress(OSError):
                clients.ping(SERVER_IPV4, 1)
                clients.download(SERVER_IPV4)
                clients.upload(SERVER_IPV4, content)
