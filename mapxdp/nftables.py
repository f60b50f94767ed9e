# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Tables of nftables, through its program ``nft``: the only module that knows it.

Everything happens in the network namespace the calling thread is in, and to one table; those of
others are neither read nor changed. Failures are HostError.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from mapxdp.errors import HostError
from mapxdp.model.port_set import PortRange

_SECONDS = 30
_MISSING = "No such file or directory"
#: Multicast and broadcast never go beyond the WAN link; the BPF programs leave them alone, too.
_FOR_THE_LINK = ("224.0.0.0/4", "255.255.255.255")


def table_name(instance: str) -> str:
    """The table of an instance, whose name has no character that nft would refuse."""
    return f"mapxdp_{instance}"


def source_nat(
    interface: str, address: IPv4Address, ports: PortRange, on_link: Iterable[IPv4Network]
) -> str:
    """The chains that give IPv4 leaving through ``interface`` the address and one of the ports.

    A packet from there whose destination still is the address, once replies have got back
    theirs, is for nobody; it would be routed out again, translated, and come back.
    """
    name = _quoted(interface)
    left_alone = dict.fromkeys((*_FOR_THE_LINK, *map(str, on_link)))
    return "\n".join(
        (
            "chain postrouting {",
            "type nat hook postrouting priority srcnat - 1",
            *(f"oifname {name} ip daddr {prefix} return" for prefix in left_alone),
            f"oifname {name} meta l4proto {{ tcp, udp, icmp }} "
            f"snat ip to {address}:{ports.first}-{ports.last}",
            "}",
            "chain prerouting {",
            "type filter hook prerouting priority dstnat + 1",
            f"iifname {name} ip daddr {address} ct direction original counter drop",
            "}",
        )
    )


def _quoted(interface: str) -> str:
    if any(character in interface for character in '"*\\'):
        raise HostError(
            f"nftables has no way to write the name of the interface {interface}",
            f'give it another one (ip link set "{interface}" name wan0), or use napt44.mode "bpf"',
        )
    return f'"{interface}"'


def install(table: str, chains: str) -> None:
    """Puts a table of these chains in place of the former one, in one step."""
    _nft(["-f", "-"], f"{_without(table)}table ip {table} {{\n{chains}\n}}\n")


def remove(table: str) -> None:
    """Removes a table, if it is there."""
    _nft(["-f", "-"], _without(table))


def _without(table: str) -> str:
    """Declared first: what is there already is not made again, and then is there to delete."""
    return f"table ip {table}\ndelete table ip {table}\n"


def listing(table: str) -> str | None:
    """A table as ``restore`` takes it, without what its counters counted; None if missing."""
    try:
        return _nft(["-s", "list", "table", "ip", table])
    except HostError as error:
        if _MISSING in error.problem:
            return None
        raise


def restore(table: str, former: str | None) -> None:
    """Puts back what ``listing`` gave."""
    _nft(["-f", "-"], _without(table) + (former or ""))


def _nft(arguments: list[str], ruleset: str | None = None) -> str:
    """What nft prints."""
    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=ruleset,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except FileNotFoundError as error:
        raise HostError(
            "the program nft is missing, which napt44.mode = netfilter needs",
            'apt install nftables, or set napt44.mode = "bpf"',
        ) from error
    if done.returncode:
        raise HostError(
            f"nft {' '.join(arguments)} failed: {' '.join(done.stderr.split())}",
            "the kernel has to have nf_tables and nft_nat (modprobe nft_nat), "
            'or set napt44.mode = "bpf"',
        )
    return done.stdout
