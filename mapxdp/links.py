# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Interfaces, addresses, routes and TC filters, through pyroute2.

Everything happens in the network namespace the calling thread is in. What the kernel refuses
is a LinkError.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from mapxdp.errors import HostError, StateError, permission_remedy

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
#: The preference of our filters. Where none is given the kernel takes 49152, or one less than
#: the smallest from 32768 on: filters of others stand before ours, and never in their place.
FILTER_PREFERENCE = 50000
#: Of the accelerator at WAN ingress: asked first.
ACCELERATOR_PREFERENCE = 49999
FILTER_HANDLE = 1
_FILTER_PREFIX = "mapxdp:"
#: Who made a route (rtnetlink(7), rtm_protocol): unused by others in iproute2's list.
ROUTE_PROTOCOL = 77


class LinkError(HostError):
    """The kernel refused to read or change interfaces, routes or filters."""

    def __init__(self, what: str, code: int) -> None:
        self.errno = code
        super().__init__(f"{what}: {os.strerror(code)}", _remedy(code))


def _remedy(code: int) -> str:
    if code in (errno.EPERM, errno.EACCES):
        return permission_remedy()
    return {
        errno.ENODEV: "the interface is gone; try again when it is back",
        errno.ENETDOWN: "set the interface up: ip link set dev … up",
        errno.ENETUNREACH: "no route leads to the gateway: see 'ip -6 route' and 'ip link'",
        errno.EHOSTUNREACH: "no route leads to the gateway: see 'ip -6 route' and 'ip link'",
        errno.EOPNOTSUPP: "the kernel lacks it: try 'modprobe -a sch_ingress cls_bpf'",
        errno.ENOENT: "the kernel lacks it: try 'modprobe -a sch_ingress cls_bpf'",
    }.get(code, "see 'dmesg | tail' and 'ip -d link'; if that does not help, report this")


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
    """A next hop of an IPv4 default route; ``metric`` 0 wins over all others."""

    interface: str
    metric: int
    via: str | None
    protocol: int
    mtu: int | None = None

    @property
    def is_ours(self) -> bool:
        """True if this program made the route."""
        return self.protocol == ROUTE_PROTOCOL


class Links:
    """An open netlink socket. Use ``open_links``."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink

    def _request(self, what: str, call: str, /, *arguments: Any, **parameters: Any) -> None:
        """A request that changes something; ``what`` it does is told if it fails."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            getattr(self._netlink, call)(*arguments, **parameters)
        except NetlinkError as error:
            raise LinkError(what, error.code) from error

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

    def all(self) -> list[Link]:
        """Every interface there is."""
        names = [link.get_attr("IFLA_IFNAME") for link in self._netlink.get_links()]
        found = []
        for name in names:
            with suppress(HostError):  # gone meanwhile
                found.append(self.find(name))
        return found

    def kind(self, link: Link) -> str:
        """The kernel's word for an interface made in software; empty for hardware."""
        info = self._netlink.get_links(link.index)[0].get_attr("IFLA_LINKINFO")
        return str(info.get_attr("IFLA_INFO_KIND") or "") if info else ""

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
        """The IPv4 default routes there are, each next hop of a multipath apart."""
        return [
            DefaultRoute(
                interface=self._name_of(index),
                metric=route.get_attr("RTA_PRIORITY") or 0,
                via=gateway,
                protocol=route["proto"],
                mtu=_mtu_of(route),
            )
            for route in self._netlink.get_default_routes(family=socket.AF_INET)
            for index, gateway in _next_hops(route)
            if index
        ]

    def ipv4_goes_through(self, link: Link, destination: IPv4Address) -> bool:
        """True if packets to ``destination`` leave through the link."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            routes = self._netlink.route("get", dst=str(destination))
        except NetlinkError:  # there is no route
            return False
        return any(route.get_attr("RTA_OIF") == link.index for route in routes)

    def our_ipv4_default_route(self) -> DefaultRoute | None:
        """The IPv4 default route that this program set, if it did."""
        routes = self.ipv4_default_routes()
        return next((route for route in routes if route.is_ours and route.metric == 0), None)

    def set_ipv4_default_route(
        self, link: Link, gateway: IPv6Address | None, mtu: int | None
    ) -> None:
        """An IPv4 default route of metric 0 through an IPv6 gateway, or straight into a
        point-to-point link, in place of one of ours; StateError if another is in the way."""
        ours = self.our_ipv4_default_route() is not None
        via = {} if gateway is None else {"via": _via(gateway)}
        try:
            self._request(
                f"setting the IPv4 default route through {link.name}",
                "route",
                "replace" if ours else "add",
                family=socket.AF_INET,
                dst="default",
                oif=link.index,
                proto=ROUTE_PROTOCOL,
                metrics={"mtu": mtu} if mtu else {},
                **via,
            )
        except LinkError as error:
            if error.errno != errno.EEXIST:
                raise
            raise StateError(
                "somebody else has just set an IPv4 default route",
                "ip route show default; delete it, or give it a metric above 0",
            ) from error

    def delete_ipv4_default_route(self, link: Link) -> None:
        """Removes our default route through ``link``, if it is there, and no other."""
        route = self.our_ipv4_default_route()
        if route is None or route.interface != link.name:
            return
        via = {} if route.via is None else {"via": _via(IPv6Address(route.via))}
        with _ignoring(errno.ESRCH, errno.ENODEV):
            self._request(
                f"deleting the IPv4 default route through {link.name}",
                "route",
                "del",
                family=socket.AF_INET,
                dst="default",
                oif=link.index,
                proto=ROUTE_PROTOCOL,
                **via,
            )

    def add_ipv6_address(self, link: Link, address: IPv6Interface) -> None:
        """Adds an address that this host answers for but does not choose as a source.

        It is usable at once and never preferred.
        """
        self._request(
            f"adding {address} to {link.name}",
            "addr",
            "add",
            index=link.index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            flags=_IFA_F_NODAD,
            preferred_lft=0,
            valid_lft=_FOREVER,
        )

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
                f"removing {address} from {link.name}",
                "addr",
                "del",
                index=link.index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
            )

    def set_up(self, link: Link) -> None:
        """Makes the interface carry packets."""
        self._request(f"setting {link.name} up", "link", "set", index=link.index, state="up")

    def add_veth_pair(self, name: str, peer: str, mtu: int) -> None:
        """Two interfaces that are each other's wire."""
        self._request(
            f"adding the interfaces {name} and {peer}",
            "link",
            "add",
            kind="veth",
            ifname=name,
            mtu=mtu,
            peer={"ifname": peer, "mtu": mtu},
        )

    def replace_ipv6_route(self, link: Link, destination: IPv6Network) -> None:
        """A route to ``destination`` straight into the link, in place of a former one."""
        self._request(
            f"setting the route to {destination} through {link.name}",
            "route",
            "replace",
            family=socket.AF_INET6,
            dst=str(destination),
            oif=link.index,
        )

    def has_proxy_neighbour(self, link: Link, address: IPv6Address) -> bool:
        """True if neighbours that look for ``address`` are answered."""
        return any(
            found["ifindex"] == link.index and found.get_attr("NDA_DST") == str(address)
            for found in self._netlink.get_neighbours(family=socket.AF_INET6, flags=_NTF_PROXY)
        )

    def add_proxy_neighbour(self, link: Link, address: IPv6Address) -> None:
        """Answers neighbours that look for ``address``."""
        self._request(
            f"answering neighbours on {link.name} for {address}",
            "neigh",
            "add",
            dst=str(address),
            ifindex=link.index,
            flags=_NTF_PROXY,
            state=0,
        )

    def delete_proxy_neighbour(self, link: Link, address: IPv6Address) -> None:
        """Stops answering for ``address``."""
        with _ignoring(errno.ENOENT, errno.ENODEV):
            self._request(
                f"no longer answering neighbours on {link.name} for {address}",
                "neigh",
                "del",
                dst=str(address),
                ifindex=link.index,
                flags=_NTF_PROXY,
            )

    def has_clsact(self, link: Link) -> bool:
        """True if there is room for TC filters, false if it can be made.

        HostError where another ingress qdisc is in the way.
        """
        kinds = {
            qdisc.get_attr("TCA_KIND")
            for qdisc in self._netlink.get_qdiscs(link.index)
            if qdisc["handle"] == 0xFFFF0000
        }
        if "clsact" in kinds:
            return True
        if kinds:
            raise HostError(
                f"{link.name} has an {kinds.pop()} qdisc, which leaves no room for TC filters "
                "on the way out",
                f"replace it: tc qdisc del dev {link.name} ingress; "
                f"tc qdisc add dev {link.name} clsact; then add its filters again",
            )
        return False

    def add_clsact(self, link: Link) -> None:
        """Makes room for TC filters."""
        self._request(f"adding a clsact qdisc to {link.name}", "tc", "add", "clsact", link.index)

    def delete_clsact(self, link: Link) -> None:
        """Removes the room for TC filters again, unless somebody else has filters there."""
        if any(list(self._filters(link, hook)) for hook in Hook):
            return
        with _ignoring(errno.ENOENT, errno.EINVAL, errno.ENODEV):
            self._request(
                f"removing the clsact qdisc of {link.name}", "tc", "del", "clsact", link.index
            )

    def attach(
        self,
        link: Link,
        hook: Hook,
        program_fd: int,
        instance: str,
        preference: int = FILTER_PREFERENCE,
    ) -> None:
        """Attaches a TC program, in one step in place of the instance's former one.

        StateError where a filter of somebody else's has its place.
        """
        is_there = self._has_place(link, hook, instance, preference)
        try:
            self._request(
                f"attaching a BPF program to {link.name}, {hook.name.lower()}",
                "tc",
                "replace-filter" if is_there else "add-filter",
                "bpf",
                link.index,
                FILTER_HANDLE,
                fd=program_fd,
                name=f"{_FILTER_PREFIX}{instance}",
                parent=hook.value,
                prio=preference,
                protocol=_ETH_P_ALL,
                classid=1,
                direct_action=True,
            )
        except LinkError as error:
            if error.errno == errno.EEXIST:  # since we looked
                self._has_place(link, hook, instance, preference)
            raise

    def detach(self, link: Link, hook: Hook, instance: str, preference: int | None = None) -> None:
        """Removes the TC programs of this instance that are there, and no other.

        ``preference`` None: whatever they have.
        """
        for found in list(self._filters(link, hook)):
            if _instance_of(found) == instance and preference in (None, _preference(found)):
                with _ignoring(errno.ENOENT, errno.ENODEV):
                    self._request(
                        f"detaching a BPF program from {link.name}, {hook.name.lower()}",
                        "tc",
                        "del-filter",
                        "bpf",
                        link.index,
                        found["handle"],
                        parent=hook.value,
                        prio=_preference(found),
                        protocol=_ETH_P_ALL,
                    )

    def attached(self, link: Link, hook: Hook) -> str | None:
        """The name of the instance whose program is attached, if one is."""
        names = map(_instance_of, self._filters(link, hook))
        return next((name for name in names if name is not None), None)

    def is_attached(self, link: Link, hook: Hook, instance: str, preference: int) -> bool:
        """True if the instance has a program at this preference."""
        return any(
            (_instance_of(found), _preference(found)) == (instance, preference)
            for found in self._filters(link, hook)
        )

    def require_place(self, link: Link, hook: Hook, instance: str) -> None:
        """StateError if another instance is attached, or a filter of others is in the way."""
        self._has_place(link, hook, instance, FILTER_PREFERENCE)

    def _has_place(self, link: Link, hook: Hook, instance: str, preference: int) -> bool:
        """True if the instance's filter is in its place, false if nothing is."""
        has = False
        for found in self._filters(link, hook):
            owner = _instance_of(found)
            if owner not in (None, instance):
                raise StateError(
                    f"instance {owner} runs on {link.name} already", f"mapxdp down {owner} first"
                )
            if _preference(found) != preference:
                continue
            if owner is None or found["handle"] != FILTER_HANDLE:
                raise _in_the_way(found, link, hook)
            has = True
        return has

    def _filters(self, link: Link, hook: Hook) -> Iterator[Any]:
        major, minor = (int(part, 16) for part in hook.value.split(":"))
        for found in self._netlink.get_filters(index=link.index, parent=major << 16 | minor):
            if found.get_attr("TCA_OPTIONS") is not None:
                yield found


def _preference(found: Any) -> int:
    """The upper half of tcm_info; the protocol is in the lower."""
    return int(found["info"]) >> 16


def _bpf_name(found: Any) -> str:
    """The name of a filter that is a BPF program; empty for any other."""
    if found.get_attr("TCA_KIND") != "bpf":
        return ""
    return found.get_attr("TCA_OPTIONS").get_attr("TCA_BPF_NAME") or ""


def _instance_of(found: Any) -> str | None:
    """The instance whose filter it is; None for a filter of somebody else's."""
    name = _bpf_name(found)
    return name.removeprefix(_FILTER_PREFIX) if name.startswith(_FILTER_PREFIX) else None


def _in_the_way(found: Any, link: Link, hook: Hook) -> StateError:
    side = hook.name.lower()
    what = " ".join(filter(None, (found.get_attr("TCA_KIND"), _bpf_name(found))))
    return StateError(
        f"a filter of somebody else's has the preference {_preference(found)} at {side} of "
        f"{link.name}: {what}",
        "add it with another preference; this removes it: "
        f"tc filter del dev {link.name} {side} pref {_preference(found)}",
    )


@contextmanager
def _ignoring(*codes: int) -> Iterator[None]:
    try:
        yield
    except LinkError as error:
        if error.errno not in codes:
            raise


def _via(gateway: IPv6Address) -> dict[str, Any]:
    return {"family": socket.AF_INET6, "addr": str(gateway)}


def _next_hops(route: Any) -> list[tuple[int, str | None]]:
    """Interface index and gateway of each next hop; several where the route is a multipath."""
    several = route.get_attr("RTA_MULTIPATH")
    if several:
        return [(hop["oif"], _gateway_of(hop)) for hop in several]
    return [(route.get_attr("RTA_OIF"), _gateway_of(route))]


def _mtu_of(route: Any) -> int | None:
    metrics = route.get_attr("RTA_METRICS")
    return None if metrics is None else metrics.get_attr("RTAX_MTU")


def _gateway_of(hop: Any) -> str | None:
    """Of the route's own family, or of the other."""
    via = hop.get_attr("RTA_VIA")
    return str(via["addr"]) if via else hop.get_attr("RTA_GATEWAY")


@contextmanager
def open_links() -> Iterator[Links]:
    """A netlink socket in the network namespace this thread is in."""
    try:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError
    except ImportError as error:
        raise HostError(f"pyroute2 is missing: {error}", "pip install pyroute2") from error
    try:
        with IPRoute() as netlink:
            yield Links(netlink)
    except NetlinkError as error:
        raise LinkError("reading interfaces, routes and filters", error.code) from error
