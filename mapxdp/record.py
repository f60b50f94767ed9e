# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What ``up`` did, kept in /run until ``down`` undoes it.

It lives as long as the datapath it describes: both are gone after a reboot.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mapxdp import locks
from mapxdp.config import require_name
from mapxdp.errors import StateError, refusals, refused

DIRECTORY = Path("/run/mapxdp")
_TUPLES = (
    "accelerated",
    "added_addresses",
    "added_clsact_on",
    "added_proxies",
    "added_tuns",
    "forwards",
)
_REMEDY = f"see that {DIRECTORY} is a directory in a writable file system with room left"


@dataclass(frozen=True)
class Record:
    """One running instance. What was there before ``up`` is not in ``added_…``.

    ``tun`` and ``process`` are those of the software datapath. ``forwards`` are the port
    forwards that were added at run time, as ``str(Forward)`` writes them; ``nft_table`` is that
    of netfilter mode. ``accelerated`` are the LAN interfaces that programs are attached to. While
    ``up`` works, or where it was killed, what it added so far is noted already, and all else is
    as before.
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
    datapath: str = "tc"
    accelerator: str = "none"
    acceleration: str = ""
    accelerated: tuple[str, ...] = ()
    added_addresses: tuple[str, ...] = ()
    added_clsact: bool = False
    added_clsact_on: tuple[str, ...] = ()
    added_proxies: tuple[str, ...] = ()
    added_tuns: tuple[str, ...] = ()
    former_sysctls: dict[str, str] = field(default_factory=dict)
    tun: str | None = None
    process: int | None = None
    forwards: tuple[str, ...] = ()
    nft_table: str | None = None

    @property
    def up_command(self) -> str:
        """The command that brings it up again, for advice."""
        return up_command(self.config_path, self.netns)

    def save(self) -> None:
        """Writes the record, in one step over a former one."""
        path = file(self.name, "json")
        temporary = file(self.name, "new")
        with refusals(f"{path} cannot be written", _REMEDY):
            DIRECTORY.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
            temporary.rename(path)


def load(name: str) -> Record | None:
    """The record of an instance; None where it does not run."""
    path = file(name, "json")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for key in _TUPLES:
            data[key] = tuple(data.get(key, ()))
        return Record(**data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(f"{path} cannot be read", error, _REMEDY) from error
    except (ValueError, TypeError, LookupError) as error:
        raise StateError(
            f"{path} cannot be understood: {error}",
            f"remove it, and 'mapxdp down {name}' will take the pinned datapath away",
        ) from error


def delete(name: str) -> None:
    """Forgets an instance."""
    for kind in ("json", "new"):
        path = file(name, kind)
        with refusals(f"{path} cannot be removed", _REMEDY):
            path.unlink(missing_ok=True)


def changing(name: str) -> AbstractContextManager[None]:
    """Held while an instance is changed: StateError if another process is changing it."""
    return locks.held(
        file(name, "lock"), f"another mapxdp command is bringing {name} up or down just now"
    )


def names() -> list[str]:
    """The instances that run."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def up_command(path: Path | str, namespace: str | None) -> str:
    """``mapxdp up`` as one would type it."""
    return f"mapxdp up -c {path}" + (f" --netns {namespace}" if namespace else "")


def file(name: str, kind: str) -> Path:
    """Where one of an instance's files is; InvalidValue for what is no name of an instance."""
    return DIRECTORY / f"{require_name(name)}.{kind}"
