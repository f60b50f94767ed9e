# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ``up`` did, kept in /run until ``down`` undoes it.

It lives as long as the datapath it describes: both are gone after a reboot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mapxdp.errors import StateError

DIRECTORY = Path("/run/mapxdp")


@dataclass(frozen=True)
class Record:
    """One running instance. What was there before ``up`` is not in ``added_…``.

    ``tun`` and ``process`` are those of the software datapath. ``forwards`` are the port
    forwards that were added at run time, as ``str(Forward)`` writes them. ``nft_table`` is that
    of netfilter mode.
    """

    name: str
    netns: str | None
    wan: str
    config_path: str
    config_text: str
    map_address: str
    gateway: str | None
    wan_mtu: int
    ipv4_mtu: int
    added_address: bool = False
    added_clsact: bool = False
    added_proxy: bool = False
    former_sysctls: dict[str, str] = field(default_factory=dict)
    tun: str | None = None
    process: int | None = None
    forwards: tuple[str, ...] = ()
    nft_table: str | None = None

    @property
    def datapath(self) -> str:
        """What moves the packets: ``tc`` or ``software``."""
        return "tc" if self.process is None else "software"

    def save(self) -> None:
        """Writes the record, in one step over a former one."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = _path(self.name)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        temporary.rename(path)


def load(name: str) -> Record | None:
    """The record of an instance; None where it does not run."""
    path = _path(name)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        return Record(**{**given, "forwards": tuple(given.get("forwards", ()))})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise StateError(
            f"{path} cannot be understood: {error}",
            f"remove it, and 'mapxdp down {name}' will take the pinned datapath away",
        ) from error


def delete(name: str) -> None:
    """Forgets an instance."""
    _path(name).unlink(missing_ok=True)


def names() -> list[str]:
    """The instances that run."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def _path(name: str) -> Path:
    return DIRECTORY / f"{name}.json"
