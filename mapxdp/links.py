# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Interfaces, addresses, routes and TC filters, through pyroute2.

Everything happens in the network namespace the calling thread is in. Failures are OSError
unless stated otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from mapxdp.errors import HostError

ETHERNET_HEADER = 14
_ARPHRD_ETHER = 1
_ARPHRD_LOOPBACK = 772
_WITH_ETHERNET_HEADER = (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)
_IFF_POINTOPOINT = 0x10
_IFF_NOARP = 0x80
_IFA_F_NODAD = 0x02
_FOREVER = 0xFFFFFFFF
_NTF_PROXY = 0x08
_ETH_P_ALL = 0x0003
#: Behind most filters of others, which then see packets before they leave and after they came.
_FILTER_PRIORITY = 49152
_FILTER_HANDLE = 1
_FILTER_PREFIX = "mapxdp:"


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mtu: int
    link_type: int
    flags: int

    @property
    def l2_length(self) -> int:
        """Octets of link-layer header in front of IP: 14, or 0 (ppp, tun)."""
        return ETHERNET_HEADER if self.link_type in _WITH_ETHERNET_HEADER else 0

    @property
    def has_neighbours(self) -> bool:
        """False on links with just one other end, which needs no address."""
        return not self.flags & (_IFF_POINTOPOINT | _IFF_NOARP)


class Hook(Enum):
    """Where a TC filter is attached: the parent of the filter."""

    INGRESS = "ffff:fff2"
    EGRESS = "ffff:fff3"


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """An IPv4 default route; ``metric`` 0 wins over all others."""

    interface: str
    metric: int
    via: str | None


class Links:
    """An open netlink socket. Use ``open_links``."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink

    def _request(self, kind: str, *arguments: Any, **parameters: Any) -> None:
        """A request that changes something; pyroute2's own error class becomes OSError."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            getattr(self._netlink, kind)(*arguments, **parameters)
        except NetlinkError as error:
            raise OSError(
                error.code, f"{kind} {arguments[0]}: {os.strerror(error.code)}"
            ) from error

    def find(self, name: str) -> Link:
        """The interface ``name``; HostError where there is none."""
        indexes = self._netlink.link_lookup(ifname=name)
        if not indexes:
            known = ", ".join(link.get_attr("IFLA_IFNAME") for link in self._netlink.get_links())
            raise HostError(
                f"no interface {name} here (there are: {known})",
                "correct ce.wan, or name the network namespace with --netns",
            )
        link = self._netlink.get_links(indexes[0])[0]
        return Link(
            index=indexes[0],
            name=name,
            mtu=link.get_attr("IFLA_MTU"),
            link_type=link["ifi_type"],
            flags=link["flags"],
        )

    def _name_of(self, index: int) -> str:
        return str(self._netlink.get_links(index)[0].get_attr("IFLA_IFNAME"))

    def ipv6_gateway(self, link: Link) -> IPv6Address | None:
        """The next hop of the IPv6 default route through ``link``; None where there is none."""
        candidates = [
            (route.get_attr("RTA_PRIORITY") or 0, gateway)
            for route in self._netlink.get_default_routes(family=socket.AF_INET6)
            for index, gateway in _next_hops(route)
            if index == link.index and gateway
        ]
        return IPv6Address(min(candidates)[1]) if candidates else None

    def ipv4_prefixes(self, link: Link) -> tuple[IPv4Network, ...]:
        """The IPv4 prefixes that are on the link itself."""
        addresses = self._netlink.get_addr(family=socket.AF_INET, index=link.index)
        return tuple(
            IPv4Network((address.get_attr("IFA_ADDRESS"), address["prefixlen"]), strict=False)
            for address in addresses
        )

    def ipv4_default_routes(self) -> list[DefaultRoute]:
        """The IPv4 default routes there are."""
        return [
            DefaultRoute(
                interface=self._name_of(route.get_attr("RTA_OIF")),
                metric=route.get_attr("RTA_PRIORITY") or 0,
                via=_next_hop(route),
            )
            for route in self._netlink.get_default_routes(family=socket.AF_INET)
            if route.get_attr("RTA_OIF")
        ]

    def ipv4_goes_through(self, link: Link, destination: IPv4Address) -> bool:
        """True if packets to ``destination`` leave through the link."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            routes = self._netlink.route("get", dst=str(destination))
        except NetlinkError:  # there is no route
            return False
        return any(route.get_attr("RTA_OIF") == link.index for route in routes)

    def replace_ipv4_default_route(self, link: Link, gateway: IPv6Address | None, mtu: int) -> None:
        """An IPv4 default route through an IPv6 gateway, or straight into a point-to-point
        link, in place of the one with the same metric."""
        via = {} if gateway is None else {"via": _via(gateway)}
        self._request(
            "route",
            "replace",
            family=socket.AF_INET,
            dst="default",
            oif=link.index,
            metrics={"mtu": mtu},
            **via,
        )

    def delete_ipv4_default_route(self, link: Link) -> None:
        """Removes the default route through ``link``, if it is there."""
        with _ignoring(errno.ESRCH, errno.ENODEV):
            self._request("route", "del", family=socket.AF_INET, dst="default", oif=link.index)

    def add_ipv6_address(self, link: Link, address: IPv6Interface) -> bool:
        """Adds an address that this host answers for but does not choose as a source.

        It is usable at once and never preferred. False if it was there.
        """
        try:
            self._request(
                "addr",
                "add",
                index=link.index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                flags=_IFA_F_NODAD,
                preferred_lft=0,
                valid_lft=_FOREVER,
            )
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        return True

    def has_ipv6_address(self, link: Link, address: IPv6Interface) -> bool:
        """True if the interface has the address."""
        return any(
            found.get_attr("IFA_ADDRESS") == str(address.ip)
            for found in self._netlink.get_addr(family=socket.AF_INET6, index=link.index)
        )

    def delete_ipv6_address(self, link: Link, address: IPv6Interface) -> None:
        """Removes an address, if it is there."""
        with _ignoring(errno.EADDRNOTAVAIL, errno.ENODEV):
            self._request(
                "addr",
                "del",
                index=link.index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
            )

    def set_up(self, link: Link) -> None:
        """Makes the interface carry packets."""
        self._request("link", "set", index=link.index, state="up")

    def replace_ipv6_route(self, link: Link, destination: IPv6Network) -> None:
        """A route to ``destination`` straight into the link, in place of a former one."""
        self._request(
            "route", "replace", family=socket.AF_INET6, dst=str(destination), oif=link.index
        )

    def add_proxy_neighbour(self, link: Link, address: IPv6Address) -> bool:
        """Answers neighbours that look for ``address``; False if that was so already."""
        try:
            self._request(
                "neigh", "add", dst=str(address), ifindex=link.index, flags=_NTF_PROXY, state=0
            )
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        return True

    def delete_proxy_neighbour(self, link: Link, address: IPv6Address) -> None:
        """Stops answering for ``address``."""
        with _ignoring(errno.ENOENT, errno.ENODEV):
            self._request("neigh", "del", dst=str(address), ifindex=link.index, flags=_NTF_PROXY)

    def add_clsact(self, link: Link) -> bool:
        """Makes room for TC filters; False if there was.

        HostError where another ingress qdisc is in the way.
        """
        kinds = {
            qdisc.get_attr("TCA_KIND")
            for qdisc in self._netlink.get_qdiscs(link.index)
            if qdisc["handle"] == 0xFFFF0000
        }
        if "clsact" in kinds:
            return False
        if kinds:
            raise HostError(
                f"{link.name} has an {kinds.pop()} qdisc, which leaves no room for TC filters "
                "on the way out",
                f"replace it: tc qdisc del dev {link.name} ingress; "
                f"tc qdisc add dev {link.name} clsact; then add its filters again",
            )
        self._request("tc", "add", "clsact", link.index)
        return True

    def delete_clsact(self, link: Link) -> None:
        """Removes the room for TC filters again, unless somebody else has filters there."""
        if any(list(self._filters(link, hook)) for hook in Hook):
            return
        with _ignoring(errno.ENOENT, errno.EINVAL, errno.ENODEV):
            self._request("tc", "del", "clsact", link.index)

    def attach(self, link: Link, hook: Hook, program_fd: int, instance: str) -> None:
        """Attaches a TC program, in one step in place of the instance's former one."""
        self._request(
            "tc",
            "replace-filter",
            "bpf",
            link.index,
            _FILTER_HANDLE,
            fd=program_fd,
            name=f"{_FILTER_PREFIX}{instance}",
            parent=hook.value,
            prio=_FILTER_PRIORITY,
            protocol=_ETH_P_ALL,
            classid=1,
            direct_action=True,
        )

    def detach(self, link: Link, hook: Hook) -> None:
        """Removes the TC program of an instance, if there is one."""
        if self.attached(link, hook) is None:
            return
        self._request(
            "tc",
            "del-filter",
            "bpf",
            link.index,
            _FILTER_HANDLE,
            parent=hook.value,
            prio=_FILTER_PRIORITY,
            protocol=_ETH_P_ALL,
        )

    def attached(self, link: Link, hook: Hook) -> str | None:
        """The name of the instance whose program is attached, if one is."""
        for found in self._filters(link, hook):
            name = found.get_attr("TCA_OPTIONS").get_attr("TCA_BPF_NAME")
            if name and name.startswith(_FILTER_PREFIX):
                return str(name.removeprefix(_FILTER_PREFIX))
        return None

    def _filters(self, link: Link, hook: Hook) -> Iterator[Any]:
        major, minor = (int(part, 16) for part in hook.value.split(":"))
        for found in self._netlink.get_filters(index=link.index, parent=major << 16 | minor):
            if found.get_attr("TCA_OPTIONS") is not None:
                yield found


@contextmanager
def _ignoring(*codes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _via(gateway: IPv6Address) -> dict[str, Any]:
    return {"family": socket.AF_INET6, "addr": str(gateway)}


def _next_hops(route: Any) -> list[tuple[int, str | None]]:
    """Interface index and gateway of each next hop; several where the route is a multipath."""
    several = route.get_attr("RTA_MULTIPATH")
    if several:
        return [(hop["oif"], hop.get_attr("RTA_GATEWAY")) for hop in several]
    return [(route.get_attr("RTA_OIF"), route.get_attr("RTA_GATEWAY"))]


def _next_hop(route: Any) -> str | None:
    via = route.get_attr("RTA_VIA")
    return str(via["addr"]) if via else route.get_attr("RTA_GATEWAY")


@contextmanager
def open_links() -> Iterator[Links]:
    """A netlink socket in the network namespace this thread is in."""
    try:
        from pyroute2 import IPRoute
    except ImportError as error:
        raise HostError(f"pyroute2 is missing: {error}", "pip install pyroute2") from error
    with IPRoute() as netlink:
        yield Links(netlink)
