# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ``up`` did, kept in /run until ``down`` undoes it.

It lives as long as the datapath it describes: both are gone after a reboot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mapxdp.config import require_name
from mapxdp.errors import StateError

DIRECTORY = Path("/run/mapxdp")


@dataclass(frozen=True)
class Record:
    """One running instance. What was there before ``up`` is not in ``added_…``.

    ``tun`` and ``process`` are those of the software datapath.
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

    @property
    def up_command(self) -> str:
        """The command that brings it up again, for advice."""
        return up_command(self.config_path, self.netns)

    @property
    def datapath(self) -> str:
        """What moves the packets: ``tc`` or ``software``."""
        return "tc" if self.process is None else "software"

    def save(self) -> None:
        """Writes the record, in one step over a former one."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = file(self.name, "json")
        temporary = file(self.name, "new")
        temporary.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        temporary.rename(path)


def load(name: str) -> Record | None:
    """The record of an instance; None where it does not run."""
    path = file(name, "json")
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StateError(
            f"{path} cannot be understood: {error}",
            f"remove it, and 'mapxdp down {name}' will take the pinned datapath away",
        ) from error


def delete(name: str) -> None:
    """Forgets an instance."""
    file(name, "json").unlink(missing_ok=True)


def names() -> list[str]:
    """The instances that run."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def up_command(path: Path | str, namespace: str | None) -> str:
    """``mapxdp up`` as one would type it."""
    return f"mapxdp up -c {path}" + (f" --netns {namespace}" if namespace else "")


def file(name: str, kind: str) -> Path:
    """Where one of an instance's files is; InvalidValue for what is no name of an instance."""
    return DIRECTORY / f"{require_name(name)}.{kind}"
