# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The process of the software datapath: a CE behind a TUN device.

``start`` runs this module as a program. The process writes what the views need to
/run/mapxdp/<name>.<process>.state once a second: at an upgrade there are two for a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from mapxdp import config as configuration
from mapxdp import netns, record
from mapxdp.errors import HostError, StateError, refusals
from mapxdp.model.timeouts import Protocol
from mapxdp.observed import Count, Counters, Mapping, MappingKind
from mapxdp.reasons import Reason
from mapxdp.software import hop
from mapxdp.software.ce import CeSettings, CustomerEdge
from mapxdp.software.tun import open_tun, pump
from mapxdp.software.verdict import Outcome

_TUN_NAME = "mapxdp%d"  # the kernel puts the first free number in
_START_SECONDS = 20
_STOP_SECONDS = 5
_MODULE = "mapxdp.software.daemon"


@dataclass(frozen=True)
class Job:
    """What the process is to do."""

    name: str
    netns: str | None
    config_text: str
    ipv4_mtu: int
    mss: int | None
    translates_ports: bool
    on_link: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """The started process, and its TUN device."""

    process: int
    tun: str


@dataclass(frozen=True)
class State:
    """What the process last wrote down."""

    started: float
    counters: Counters
    mappings: tuple[Mapping, ...]


def start(job: Job) -> RunningDaemon:
    """Starts the process; HostError with its words if it does not come to work."""
    log = record.file(job.name, "log")
    with refusals(f"{log} cannot be written", f"see that {record.DIRECTORY} can be written to"):
        log.parent.mkdir(parents=True, exist_ok=True)
        errors = log.open("wb")
    try:
        with errors:
            started = subprocess.run(
                [sys.executable, "-m", _MODULE, job.name],
                input=json.dumps(asdict(job)).encode(),
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                timeout=_START_SECONDS,
                check=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
    except subprocess.SubprocessError as error:
        words = log.read_text(errors="replace").strip().splitlines()
        raise HostError(
            f"the software datapath did not start: {words[-1] if words else error}", f"see {log}"
        ) from error
    process, tun = started.stdout.decode().split()
    return RunningDaemon(int(process), tun)


def stop(process: int) -> None:
    """Ends the process, if it is (still) one of this program's."""
    deadline = time.monotonic() + _STOP_SECONDS
    while is_running(process):
        late = time.monotonic() > deadline
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.05)
    for left_behind in record.DIRECTORY.glob(f"*.{process}.state"):  # by one that was killed
        left_behind.unlink(missing_ok=True)


def remove_files(name: str) -> None:
    """Removes what the processes of an instance wrote."""
    for path in (record.file(name, "log"), *record.DIRECTORY.glob(f"{name}.*.state")):
        with refusals(f"{path} cannot be removed", "remove it by hand"):
            path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """True if the process is there, and is one of this program's."""
    return _MODULE.encode() in _command(process)


def processes(name: str) -> list[int]:
    """Every process of the instance ``name``: also of an ``up`` that was killed."""
    wanted = [_MODULE.encode(), name.encode()]
    found = (int(path.name) for path in Path("/proc").glob("[1-9]*"))
    return [process for process in found if _command(process)[2:4] == wanted]


def _command(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def read_state(name: str, process: int) -> State:
    """What the process of an instance last wrote; StateError if it wrote nothing."""
    path = _state_path(name, process)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(
            f"the software datapath of {name} shows nothing: {error}",
            f"see {record.file(name, 'log')}; mapxdp up starts it again",
        ) from error

    def counts(direction: str) -> dict[Reason, Count]:
        return {getattr(Reason, key): Count(*value) for key, value in data[direction].items()}

    return State(
        started=data["started"],
        counters=Counters(counts("upstream"), counts("downstream")),
        mappings=tuple(_mapping_from(entry) for entry in data["mappings"]),
    )


def _mapping_from(entry: list[Any]) -> Mapping:
    protocol, host, host_port, port, peer, peer_port, idle, timeout, kind, age = entry
    return Mapping(
        Protocol[protocol],
        IPv4Address(host),
        host_port,
        port,
        IPv4Address(peer),
        peer_port,
        idle,
        timeout,
        MappingKind(kind),
        age,
    )


def _state_path(name: str, process: int) -> Path:
    return record.file(name, f"{process}.state")


class _Worker:
    """The process itself."""

    def __init__(self, job: Job) -> None:
        config = configuration.parse(job.config_text, "configuration")
        settings = CeSettings(
            ipv4_mtu=job.ipv4_mtu,
            mss=job.mss,
            translates_ports=job.translates_ports,
            on_link=tuple(map(IPv4Network, job.on_link)),
            policy=config.policy,
            translation=config.translation,
            lowest_ipv6_mtu=config.lowest_ipv6_mtu,
        )
        self._ce = CustomerEdge(config.domain, settings)
        # Translation keeps one hop count, and the kernel forwards twice: into the TUN device
        # and out of it. A tunnel hides the second time.
        self._gives_hop_back = config.domain.mode.translates
        self._name = job.name
        self._started = time.time()
        self._written = 0.0
        self._counts: dict[str, Counter[Reason]] = {"upstream": Counter(), "downstream": Counter()}
        self._bytes: dict[str, Counter[Reason]] = {"upstream": Counter(), "downstream": Counter()}
        self.ended = False

    def handle(self, packet: bytes) -> list[bytes]:
        """A packet from the TUN device; what goes back."""
        if packet[0] >> 4 == 4:
            return self._count("upstream", packet, self._ce.from_lan(packet))
        return self._count("downstream", packet, self._ce.from_wan(packet))

    def _count(self, direction: str, packet: bytes, outcome: Outcome) -> list[bytes]:
        self._counts[direction][outcome.reason] += 1
        ipv4 = (packet,) if direction == "upstream" else outcome.packets or (packet,)
        self._bytes[direction][outcome.reason] += sum(map(len, ipv4))
        # Translation keeps one hop count, and the kernel forwards twice: into the TUN device
        # and out of it. A tunnel hides the second time; what turns back has no tunnel.
        if self._gives_hop_back or outcome.reason is Reason.HAIRPINNED:
            return [hop.given_back(out) for out in outcome.packets] + list(outcome.answers)
        return [*outcome.packets, *outcome.answers]

    def tick(self) -> bool:
        """Writes the state down once a second; True when the process is to end."""
        if self.ended or time.monotonic() - self._written >= 1:
            self._write()
        return self.ended

    def _counted(self, direction: str) -> dict[str, tuple[int, int]]:
        """Packets and bytes by reason."""
        counts = self._counts[direction] + self._ce.events(direction)
        octets = self._bytes[direction]
        return {reason.name: (count, octets[reason]) for reason, count in counts.items()}

    def _write(self) -> None:
        self._written = time.monotonic()
        data = {
            "started": self._started,
            **{direction: self._counted(direction) for direction in self._counts},
            "mappings": [
                (
                    mapping.protocol.name,
                    str(mapping.host),
                    mapping.host_port,
                    mapping.port,
                    str(mapping.peer),
                    mapping.peer_port,
                    mapping.idle,
                    mapping.timeout,
                    mapping.kind,
                    mapping.age,
                )
                for mapping in self._ce.napt44.mappings()
            ],
        }
        path = _state_path(self._name, os.getpid())
        temporary = path.with_suffix(".state-new")
        temporary.write_text(json.dumps(data), encoding="utf-8")
        temporary.rename(path)


def main() -> None:
    """The program: a Job on standard input; process and TUN device on standard output.

    It goes on in a child once it is ready, so that whoever started it need not stay.
    """
    given = json.loads(sys.stdin.read())
    job = Job(**{**given, "on_link": tuple(given["on_link"])})
    worker = _Worker(job)
    with netns.entered(job.netns):
        tun = open_tun(_TUN_NAME)
    child = os.fork()
    if child:
        print(child, tun.name, flush=True)
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def end(*_: object) -> None:
        worker.ended = True

    signal.signal(signal.SIGTERM, end)
    pump(tun.fd, worker.handle, worker.tick)
    _state_path(job.name, os.getpid()).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
