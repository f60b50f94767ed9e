# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The command line. Each command is a module of ``mapxdp.commands``; this finds and runs them."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from mapxdp import __version__, commands
from mapxdp.errors import HostError, MapxdpError, permission_remedy

_REPORT = "report this, please, with what 'mapxdp --version' and 'uname -r' say"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code. Errors of the user or the machine are one line each."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except MapxdpError as error:
        print(f"mapxdp: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # that nobody foresaw: the others are MapxdpErrors
        denied = isinstance(error, PermissionError)
        remedy = permission_remedy() if denied else _REPORT
        print(f"mapxdp: {error} → {remedy}", file=sys.stderr)
        return HostError.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mapxdp",
        description="A MAP-T, MAP-E and lw4o6 customer edge for Linux, in eBPF.",
        epilog="'mapxdp COMMAND --help' describes a command.",
    )
    parser.add_argument("--version", action="version", version=f"mapxdp {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}").register(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
