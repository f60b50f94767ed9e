"""Mapping rules of every kind, for hypothesis: small networks, so that they meet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from mapxdp.model.rule import MappingRule

PORTS = st.integers(0, 65535)


@st.composite
def rules(draw: st.DrawFn, *, least_prefix: int = 0) -> MappingRule:
    """Any valid FMR: r = 0, o = 0, prefixes longer than /64, explicit PSIDs, a = 0, m = 0."""
    r = draw(st.integers(0, 32))
    suffix = draw(st.integers(0, 32 - r))
    is_whole = suffix == 32 - r
    offset = draw(st.integers(0, 15))
    k = draw(st.integers(0, 16 - offset)) if is_whole else 0
    explicit = is_whole and draw(st.booleans())
    embedded = 0 if explicit else min(k, 48 - suffix)
    o = suffix + embedded
    n = draw(st.integers(least_prefix, 128 - o))
    return MappingRule(
        ipv6=IPv6Network((draw(st.integers(0, 2**128 - 1)), n), strict=False),
        ipv4=IPv4Network((draw(st.integers(0, 2**32 - 1)), r), strict=False),
        ea_length=o,
        psid_offset=offset,
        psid_length=k if explicit else None,
        psid=draw(st.integers(0, (1 << k) - 1)) if explicit else None,
        forwarding=True,
    )


def addresses_near(network: IPv4Network) -> st.SearchStrategy[IPv4Address]:
    """Addresses of a network, and sometimes others."""
    inside = st.integers(0, int(network.hostmask)).map(
        lambda host: IPv4Address(int(network.network_address) | host)
    )
    return inside | inside | st.integers(0, 2**32 - 1).map(IPv4Address)


def flipped(address: IPv6Address, bit: int | None) -> IPv6Address:
    """The address with a bit changed; None changes none."""
    return address if bit is None else IPv6Address(int(address) ^ 1 << bit)
