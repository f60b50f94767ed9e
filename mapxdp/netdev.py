# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What an interface can do for XDP, as its driver tells the kernel (netdev generic netlink)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mapxdp.links import Link, open_links

_FAMILY, _DEV_GET = "netdev", 1
#: enum netdev_xdp_act of <linux/netdev.h>.
_BASIC, _REDIRECT, _NDO_XMIT = 1, 2, 4
_NEEDED = (
    (_BASIC, "run XDP programs"),
    (_REDIRECT, "send frames elsewhere from XDP"),
    (_NDO_XMIT, "take frames that XDP sends from elsewhere"),
)
#: Kinds of interfaces on which XDP does harm: on veth it turns the peer's segmentation off.
_VIRTUAL = frozenset({"veth", "bridge", "vlan", "tun", "macvlan", "bond", "team", "ppp", "vxlan"})
#: Kinds whose driver may take frames from elsewhere only once a program is on the interface:
#: hardware, as igb and virtio_net, and what is made of it.
_MAY_BECOME_TARGET = frozenset({"", "bond"})
_JOINING = ("rx-lro", "rx-gro-hw")
#: Kinds that XDP cannot send frames into.
_NO_TARGET = frozenset({"bridge", "vlan", "macvlan", "ppp", "vxlan"})


@dataclass(frozen=True, slots=True)
class Device:
    """An interface. ``kind`` is the kernel's word for one made in software, empty for hardware;
    ``features`` None where the kernel does not say (before Linux 6.3). ``joining`` are the offloads
    by which it joins packets before XDP sees them, as ethtool calls them."""

    name: str
    kind: str
    features: int | None
    joining: tuple[str, ...] = ()

    @property
    def is_virtual(self) -> bool:
        """True for one that XDP would slow down."""
        return self.kind in _VIRTUAL

    @property
    def why_not_xdp(self) -> str | None:
        """Why XDP is not tried by itself; None where it is."""
        if self.is_virtual:
            return f"{self.name} is a {self.kind} interface"
        if self.features is None:
            return f"this kernel does not say what the driver of {self.name} can do"
        return self.why_never_xdp

    @property
    def why_never_xdp(self) -> str | None:
        """Why it is not tried even if it is asked for; None where it is.

        What the kernel does not say is found out by trying.
        """
        if self.kind in _NO_TARGET:
            return f"XDP cannot send frames into {self.name}, a {self.kind} interface"
        needed = _BASIC | _REDIRECT
        if self.kind not in _MAY_BECOME_TARGET:
            needed |= _NDO_XMIT
        return self._why_without(needed)

    @property
    def why_no_target(self) -> str | None:
        """Why frames that XDP sends into it are lost, while a program is on it; None where they
        are not."""
        return self._why_without(_NDO_XMIT)

    @property
    def xdp_remedy(self) -> str | None:
        """What makes it do all that XDP needs; None where nothing does."""
        if self.kind != "veth":
            return None
        if self._why_without(_BASIC | _REDIRECT):
            return f"give {self.name} as many RX queues as its other end has TX (ethtool -L)"
        return f"at the other end of {self.name}, while it is up: ethtool -K OTHER gro on"

    def _why_without(self, needed: int) -> str | None:
        missing = [
            word
            for bit, word in _NEEDED
            if self.features is not None and needed & bit & ~self.features
        ]
        return f"{self.name} cannot {missing[0]}" if missing else None


def look_at(link: Link) -> Device:
    """What there is to know of an interface of this network namespace."""
    with open_links() as links:
        kind = links.kind(link)
    return Device(link.name, kind, _features(link.index), _joining(link.name))


def _features(index: int) -> int | None:
    from pyroute2.netlink import NLM_F_REQUEST, genlmsg
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.generic import GenericNetlinkSocket

    class Message(genlmsg):  # type: ignore[misc]
        """struct of the attributes NETDEV_A_DEV_… in the order of their numbers."""

        nla_map = (
            ("UNSPEC", "none"),
            ("IFINDEX", "uint32"),
            ("PAD", "none"),
            ("XDP_FEATURES", "uint64"),
        )

    try:
        with GenericNetlinkSocket() as socket:
            socket.bind(_FAMILY, Message)
            message = Message()
            message["cmd"], message["version"] = _DEV_GET, 1
            message["attrs"] = [("IFINDEX", index)]
            answers = socket.nlm_request(message, msg_type=socket.prid, msg_flags=NLM_F_REQUEST)
            return next((answer.get_attr("XDP_FEATURES") for answer in answers), None)
    except (NetlinkError, OSError):
        return None


def _joining(name: str) -> tuple[str, ...]:
    """Offloads that are on and join what comes in into packets that nobody sent."""
    from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError

    try:
        with closing(IoctlEthtool(name)) as ethtool:
            features = ethtool.get_features()
    except (OSError, NotSupportedError):  # an interface without ethtool's operations
        return ()
    known = set(features.keys())
    return tuple(key for key in _JOINING if key in known and features.is_active(key))
