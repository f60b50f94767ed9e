"""Generated fragments of a household's datagrams: steps for hypothesis, and their packets.

Most datagrams are sound; their fragments come in any order, mixed with those of others. Some
lack a piece, have one twice, or overlap, or say what cannot be.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address

from hypothesis import strategies as st

from harness import packets, traffic
from harness.domains import BR
from harness.traffic import FromLan, FromWan, Wait
from mapxdp.model import rfc6052
from mapxdp.model.domain import Domain

FRAGMENT = 44
MORE, DONT_FRAGMENT = 0x2000, 0x4000
#: Around the age that fragments reach, in ticks.
WAITS = [1, 14, 15, 16, 31]
#: Payloads: nothing to cut, a few pieces, what does not fit a buffer of the WAN's MTU, and more
#: than the datapath makes one packet of.
OCTETS = [0, 1, 24, 100, 1480, 2000, 3501, 4000, 9001, 15948, 20000, 30000]
#: Octets of a piece, the last one as long as it comes.
SIZES = [8, 16, 24, 40, 552, 1200, 1240, 1400, 1448, 1480]
_MOST_PIECES = 80


@dataclass(frozen=True)
class Piece:
    """``length`` octets from ``offset`` on."""

    offset: int
    length: int
    more: bool


@dataclass(frozen=True)
class Datagram:
    """``packet`` with ``octets`` of payload. ``outer``: of MAP-E, the tunnel packet is cut."""

    packet: FromLan | FromWan
    octets: int
    identification: int
    flags: int
    outer: bool


@dataclass(frozen=True)
class Fragment:
    """A step: one piece of a datagram."""

    datagram: Datagram
    piece: Piece

    @property
    def is_upstream(self) -> bool:
        return isinstance(self.datagram.packet, FromLan)


Step = Fragment | Wait
Pieces = list[Piece]


def noise(octets: int) -> bytes:
    """The same each time, no two alike."""
    return random.Random(octets).randbytes(octets)


def upstream_packet(fragment: Fragment) -> bytes:
    """The IPv4 fragment a host of the LAN sends."""
    datagram = fragment.datagram
    assert isinstance(datagram.packet, FromLan)
    whole = _whole_upstream(datagram)
    return _ipv4_fragment(whole, datagram, fragment.piece)


def downstream_packet(ce_domain: Domain, fragment: Fragment, port: int) -> bytes:
    """The IPv6 packet the BR sends for a fragment to the CE's address and ``port``."""
    datagram, piece = fragment.datagram, fragment.piece
    assert isinstance(datagram.packet, FromWan)
    whole = _whole_downstream(ce_domain, datagram, port)
    map_address = ce_domain.map_address
    if ce_domain.dmr is not None:
        source = rfc6052.embed(ce_domain.dmr, IPv4Address(datagram.packet.server))
        data = _fragment_header(whole[6], datagram, piece) + _octets(whole[40:], piece)
        tos = datagram.packet.tos
        return packets.ipv6(data, FRAGMENT, source, map_address, traffic_class=tos)
    outer = datagram.packet.outer
    if datagram.outer:
        inner = _numbered(whole[40:], datagram)
        data = _fragment_header(packets.IPV4, datagram, piece) + _octets(inner, piece)
        return packets.ipv6(data, FRAGMENT, BR, map_address, traffic_class=outer)
    inner = _ipv4_fragment(whole[40:], datagram, piece)
    return packets.ipv6(inner, packets.IPV4, BR, map_address, traffic_class=outer)


@lru_cache(maxsize=64)
def _whole_upstream(datagram: Datagram) -> bytes:
    assert isinstance(datagram.packet, FromLan)
    step = dataclasses.replace(datagram.packet, payload=noise(datagram.octets))
    return traffic.upstream_packet(step)


@lru_cache(maxsize=64)
def _whole_downstream(ce_domain: Domain, datagram: Datagram, port: int) -> bytes:
    assert isinstance(datagram.packet, FromWan)
    step = dataclasses.replace(datagram.packet, payload=noise(datagram.octets))
    return traffic.downstream_packet(ce_domain, step, port)


def _numbered(whole: bytes, datagram: Datagram) -> bytes:
    """The IPv4 packet with the datagram's number: a CE may have to cut what came cut outside."""
    number = (datagram.identification & 0xFFFF).to_bytes(2, "big")
    return packets.with_header_checksum(whole[:4] + number + whole[6:])


def _ipv4_fragment(whole: bytes, datagram: Datagram, piece: Piece) -> bytes:
    source, destination = (str(IPv4Address(whole[at : at + 4])) for at in (12, 16))
    return packets.ipv4(
        _octets(whole[20:], piece),
        whole[9],
        source,
        destination,
        tos=whole[1],
        identification=datagram.identification & 0xFFFF,
        fragment=datagram.flags | MORE * piece.more | piece.offset // 8,
    )


def _fragment_header(next_header: int, datagram: Datagram, piece: Piece) -> bytes:
    offset_and_more = piece.offset & 0xFFF8 | piece.more
    return (
        bytes([next_header, 0])
        + offset_and_more.to_bytes(2, "big")
        + datagram.identification.to_bytes(4, "big")
    )


def _octets(payload: bytes, piece: Piece) -> bytes:
    """Zeros where there is no such piece."""
    return payload[piece.offset : piece.offset + piece.length].ljust(piece.length, b"\0")


def length_of(datagram: Datagram) -> int:
    """Octets that are cut into pieces."""
    packet = datagram.packet
    header = 20 + len(packet.options) if packet.protocol == "tcp" else 8
    return header + datagram.octets + (20 if datagram.outer else 0)


def cut(length: int, sizes: list[int]) -> Pieces:
    """In order; each in turn as long as ``sizes`` say, but not in too many."""
    least = (length // _MOST_PIECES + 7) & ~7
    pieces, start = [], 0
    for size in (size for _ in range(length) for size in sizes):
        size = max(size, least)
        more = start + size < length
        pieces.append(Piece(start, min(size, length - start), more))
        start += size
        if not more:
            break
    return pieces


def _in_order(pieces: Pieces, _: random.Random) -> Pieces:
    return pieces


def _reversed(pieces: Pieces, _: random.Random) -> Pieces:
    return pieces[::-1]


def _first_last(pieces: Pieces, _: random.Random) -> Pieces:
    return [*pieces[1:], pieces[0]]


def _shuffled(pieces: Pieces, chance: random.Random) -> Pieces:
    return chance.sample(pieces, len(pieces))


ORDERS = [_in_order, _in_order, _reversed, _first_last, _shuffled, _shuffled]


def _hole(pieces: Pieces, chance: random.Random) -> Pieces:
    missing = chance.randrange(len(pieces))
    return pieces[:missing] + pieces[missing + 1 :]


def _twice(pieces: Pieces, chance: random.Random) -> Pieces:
    return [*pieces, chance.choice(pieces)]


def _all_twice(pieces: Pieces, _: random.Random) -> Pieces:
    return pieces + pieces


def _changed(**changes: Callable[[Piece], int]) -> Callable[[Pieces, random.Random], Pieces]:
    """One piece more, like one there is but for something."""

    def change(pieces: Pieces, chance: random.Random) -> Pieces:
        like = chance.choice(pieces)
        values = {name: value(like) for name, value in changes.items()}
        other = dataclasses.replace(like, **values)
        at = chance.randrange(len(pieces) + 1)
        return [*pieces[:at], other, *pieces[at:]]

    return change


DAMAGES = [
    _hole,
    _twice,
    _all_twice,
    _changed(length=lambda piece: piece.length + 8),
    _changed(offset=lambda piece: piece.offset + 8),
    _changed(offset=lambda piece: max(0, piece.offset - 8)),
    _changed(length=lambda _: 8, more=lambda _: True),
    _changed(length=lambda piece: piece.length + 3),
    _changed(length=lambda _: 0),
    _changed(more=lambda piece: not piece.more),
    _changed(offset=lambda _: 65528, length=lambda _: 8),
    _changed(offset=lambda _: 65504, length=lambda _: 16, more=lambda _: False),
]


def sound_pieces(length: int) -> st.SearchStrategy[Pieces]:
    """All of the datagram, once, in any order."""
    return st.builds(
        lambda sizes, order, seed: order(cut(length, sizes), random.Random(seed)),
        sizes=st.one_of(
            st.sampled_from([[1480], [1400], [8, 1480]]),  # as hosts and attackers cut
            st.lists(st.sampled_from(SIZES), min_size=1, max_size=4),
        ),
        order=st.sampled_from(ORDERS),
        seed=st.integers(0, 999),
    )


def damaged_pieces(length: int) -> st.SearchStrategy[Pieces]:
    """The same, with one thing wrong or more."""

    def damaged(pieces: Pieces, damages: list[tuple[int, int]]) -> Pieces:
        for kind, seed in damages:
            pieces = DAMAGES[kind](pieces, random.Random(seed)) or pieces
        return pieces

    kinds = st.tuples(st.integers(0, len(DAMAGES) - 1), st.integers(0, 999))
    return st.builds(damaged, sound_pieces(length), st.lists(kinds, min_size=1, max_size=3))


def datagrams(
    packet_strategy: st.SearchStrategy[FromLan] | st.SearchStrategy[FromWan],
    *,
    outer: bool = False,
) -> st.SearchStrategy[Datagram]:
    """Few identifications, so that datagrams take each other's; mostly without DF."""
    return st.builds(
        Datagram,
        packet=packet_strategy,
        octets=st.sampled_from(OCTETS),
        identification=st.sampled_from([1, 2, 0xBEEF, 0x1234BEEF]),
        flags=st.sampled_from([0] * 9 + [DONT_FRAGMENT]),
        outer=st.booleans() if outer else st.just(False),
    )


def fragments(
    of: st.SearchStrategy[Datagram], *, sound: bool = False
) -> st.SearchStrategy[list[Fragment]]:
    """Of one datagram; one in three is damaged, unless all are to be ``sound``."""

    def pieces_of(datagram: Datagram) -> st.SearchStrategy[list[Fragment]]:
        length = length_of(datagram)
        either = [sound_pieces(length)] * 2 + [damaged_pieces(length)] * (not sound)
        return st.one_of(either).map(lambda some: [Fragment(datagram, piece) for piece in some])

    return of.flatmap(pieces_of)


@st.composite
def mixed(draw: st.DrawFn, of: st.SearchStrategy[list[Fragment]], most: int = 4) -> list[Step]:
    """The fragments of several datagrams, each in its own order, and time that passes."""
    queues = [list(reversed(some)) for some in draw(st.lists(of, min_size=1, max_size=most))]
    chance = random.Random(draw(st.integers(0, 999)))
    run = draw(st.sampled_from([1, 2, 100]))
    steps: list[Step] = []
    while queues := [queue for queue in queues if queue]:
        queue = chance.choice(queues)
        steps += [queue.pop() for _ in range(min(run, len(queue)))]
    for wait in draw(st.lists(st.sampled_from(WAITS), max_size=2)):
        steps.insert(chance.randrange(len(steps) + 1), Wait(wait))
    return steps


def both_ways(ce_domain: Domain) -> st.SearchStrategy[list[Step]]:
    """Fragments from the LAN and from the WAN, sound and damaged, mixed."""
    from_lan = fragments(datagrams(traffic.from_lan(ce_domain)))
    is_tunnel = ce_domain.dmr is None
    from_wan = fragments(datagrams(traffic.from_wan(ce_domain), outer=is_tunnel))
    return mixed(st.one_of(from_lan, from_lan, from_wan))
