"""A router in a network namespace, its WAN a cable to another: as little as ``up`` needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mapxdp import ce, netns
from mapxdp.datapath import bpffs
from mapxdp.errors import MapxdpError
from mapxdp.links import Hook, open_links

GATEWAY = "fe80::1"
CONFIG = """\
[ce]
name = "{name}"
wan = "wan"
mode = "map-t"
end_user_prefix = "2001:db8:12:3400::/56"
dmr = "2001:db8:ffff::/64"

[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
"""


def ip(arguments: str) -> str:
    """Runs ``ip``; what it printed."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"ip {arguments}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Router:
    """The namespaces, and the configuration file of an instance of the same name."""

    name: str
    isp: str
    config: Path

    def ip(self, arguments: str) -> str:
        return ip(f"-n {self.name} {arguments}")

    def write_config(self, text: str = CONFIG) -> None:
        self.config.write_text(text.format(name=self.name), encoding="utf-8")

    def configure(self, datapath: str, *lan: str) -> None:
        """Another datapath, and LAN interfaces."""
        names = ", ".join(f'"{name}"' for name in lan)
        ce_section = f'datapath = "{datapath}"\nlan = [{names}]\nmode = "map-t"'
        self.write_config(CONFIG.replace('mode = "map-t"', ce_section))

    def up(self) -> list[str]:
        """Brings the CE up; what it said."""
        said: list[str] = []
        ce.up(self.config, self.name, said.append)
        return said

    def state(self) -> dict[str, object]:
        """Everything that ``up`` may change, to be compared."""
        with netns.entered(self.name), open_links() as links:
            wan = links.find("wan")
            hooks = {hook.name: links.attached(wan, hook) for hook in Hook}
        directory = bpffs.instance_directory(self.name)
        pins = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
        return {
            "hooks": hooks,
            "pins": pins,
            "addresses": self.ip("-6 -o addr show dev wan scope global"),
            "routes": self.ip("-4 route show"),
            "qdiscs": self._tc("qdisc show dev wan"),
            "forwarding": self.read("/proc/sys/net/ipv4/ip_forward"),
            "record": (Path("/run/mapxdp") / f"{self.name}.json").exists(),
        }

    def add_port(self, name: str) -> None:
        """Another interface, its cable to the other router, where it has the same name."""
        self.ip(f"link add {name} type veth peer name {name} netns {self.isp}")
        self.ip(f"link set {name} up")
        ip(f"-n {self.isp} link set {name} up")

    def set_polling(self, other_end: str, state: str) -> None:
        """Whether the other end of a cable takes frames that XDP sends ("on" or "off")."""
        command = ["ip", "netns", "exec", self.isp, "ethtool", "-K", other_end, "gro", state]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def everything_attached(self) -> dict[str, list[str]]:
        """The kernel's ids of all programs, and the rooms for filters, by interface and hook."""
        links = json.loads(self.ip("-j -d link show"))
        found = {}
        for link in links:
            name = link["ifname"]
            found[f"{name} xdp"] = re.findall(r"'id': \d+", str(link.get("xdp")))
            found[f"{name} qdiscs"] = re.findall(r"clsact", self._tc(f"qdisc show dev {name}"))
            for side in ("ingress", "egress"):
                filters = self._tc(f"filter show dev {name} {side}")
                found[f"{name} {side}"] = re.findall(r"pref \d+|\bid \d+", filters)
        return found

    def attached_programs(self) -> list[str]:
        """The kernel's ids of the attached programs."""
        filters = self._tc("filter show dev wan ingress") + self._tc("filter show dev wan egress")
        return re.findall(r" id (\d+) ", filters)

    def pinned(self) -> Path:
        """Where what is in force is pinned."""
        run = bpffs.current(bpffs.instance_directory(self.name))
        assert run is not None
        return run

    def filters(self) -> str:
        """The TC filters on the way in."""
        return self._tc("filter show dev wan ingress")

    def read(self, path: str) -> str:
        with netns.entered(self.name):
            return Path(path).read_text(encoding="ascii").strip()

    def _tc(self, arguments: str) -> str:
        command = ["tc", "-n", self.name, *arguments.split()]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


@contextmanager
def router(directory: Path, name: str) -> Iterator[Router]:
    """A router with an IPv6 default route, and no IPv4."""
    name = f"mx{os.getpid()}{name}"
    made = Router(name, f"{name}-isp", directory / "ce.toml")
    made.write_config()
    try:
        for namespace in (made.name, made.isp):
            ip(f"netns add {namespace}")
            with netns.entered(namespace):
                Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        made.ip(f"link add wan type veth peer name cpe netns {made.isp}")
        made.ip("link set wan up")
        ip(f"-n {made.isp} link set cpe up")
        ip(f"-n {made.isp} addr add {GATEWAY}/64 dev cpe nodad")
        made.ip(f"-6 route add default via {GATEWAY} dev wan")
        yield made
    finally:
        with suppress(MapxdpError):
            ce.down(made.name, lambda _: None)
        for namespace in (made.name, made.isp):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, timeout=30)
