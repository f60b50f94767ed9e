# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``mapxdp log``: follow the log of mappings of a running CE."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any

from mapxdp import config as configuration
from mapxdp import record, snapshot
from mapxdp.config import Config
from mapxdp.datapath import events
from mapxdp.errors import HostError, StateError
from mapxdp.model.napt44 import LogLevel
from mapxdp.observed import Event
from mapxdp.views import events as view

_DEV_LOG = "/dev/log"
_WAIT_SECONDS = 1.0

Write = Callable[[str], None]
Batch = tuple[Config, list[Event]]


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "log",
        help="follow the log of mappings",
        description="Which LAN endpoint had which port when: what is in the buffer and was not "
        "read yet (about 1300 events), then what follows, until Ctrl-C. Destinations are in it "
        'with napt44.log = "destinations" only. One reader at a time.',
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the CE's ce.name")
    parser.add_argument("--json", action="store_true", help="a JSON object in each line")
    parser.add_argument("--syslog", action="store_true", help="to the system's log")
    parser.add_argument("--once", action="store_true", help="end after what is there")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--since-start", action="store_true", help="begin with all that is there (the default)"
    )
    begin.add_argument(
        "-n", dest="count", type=_count, metavar="COUNT", help="begin with the last COUNT events"
    )
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    name = snapshot.only_or_named(arguments.name)
    with events.only_reader(name), _sink(arguments.syslog, name) as write:
        follow(_batches(name, arguments.once), write, arguments)


def follow(batches: Iterator[Batch], write: Write, arguments: argparse.Namespace) -> None:
    """Writes every event; of the first batch perhaps the last ones only."""
    count = arguments.count
    for config, batch in batches:
        offset, external = view.wall_clock_offset(), str(config.domain.ipv4_address)
        for event in batch if count is None else batch[max(0, len(batch) - count) :]:
            if arguments.json:
                write(json.dumps(view.to_json(event, offset, external)))
            elif arguments.syslog:
                write(view.text(event, external))
            else:
                write(view.line(event, offset, external))
        count = None


def _batches(name: str, once: bool) -> Iterator[Batch]:
    """What is there, then what follows, through every ``reload``; ends with ``down``."""
    while (running := record.load(name)) is not None:
        if running.process is not None:
            raise StateError(
                "the software datapath keeps no log of mappings",
                'use datapath = "tc", or watch: mapxdp sessions',
            )
        config = configuration.parse(running.config_text, running.config_path)
        if config.policy.log is LogLevel.OFF:
            raise StateError(
                f'{name} logs nothing: napt44.log = "off"',
                'set napt44.log = "mappings" (or "destinations"), then mapxdp reload -c FILE',
            )
        with events.opened(name, config.domain) as source:
            yield config, source.drain()
            if once:
                return
            while source.is_current():
                if source.wait(_WAIT_SECONDS):
                    yield config, source.drain()
    print(f"mapxdp: {name} was taken down", file=sys.stderr)


@contextmanager
def _sink(to_syslog: bool, name: str) -> Iterator[Write]:
    if not to_syslog:
        yield lambda text: print(text, flush=True)
        return
    with closing(open_syslog(name)) as handler:
        yield lambda text: handler.emit(_log_record(text))


def open_syslog(name: str, address: str = _DEV_LOG) -> SysLogHandler:
    """The system's log; HostError where there is none."""
    try:
        if not Path(address).is_socket():  # of which newer Pythons say nothing
            raise FileNotFoundError(address)
        handler = _Syslog(address=address, facility=SysLogHandler.LOG_DAEMON)
    except OSError as error:
        raise HostError(
            f"the system's log cannot be opened: {error}",
            "start a syslog daemon or journald, or leave --syslog away",
        ) from error
    handler.ident = f"mapxdp[{name}]: "
    return handler


class _Syslog(SysLogHandler):
    """One line on standard error for what could not be sent; the next one is tried again."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 — logging's name
        print(f"mapxdp: not logged: {record.getMessage()}", file=sys.stderr)


def _log_record(text: str) -> logging.LogRecord:
    return logging.LogRecord("mapxdp", logging.INFO, __file__, 0, text, None, None)
