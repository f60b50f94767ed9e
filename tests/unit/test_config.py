# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Is a configuration read as it is meant, and is what is wrong with it said so that one can act?"""

from __future__ import annotations

import dataclasses
import string
import tomllib
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapxdp import config
from mapxdp.config import Config, DatapathKind, MssClamp, Napt44Mode
from mapxdp.config_forward import ranges_shown
from mapxdp.errors import ConfigError, InvalidValue
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.napt44 import (
    Filtering,
    Forward,
    LogLevel,
    MappingPolicy,
    Napt44Policy,
    Refusal,
)
from mapxdp.model.port_set import PortParameters, PortSet
from mapxdp.model.rule import MappingRule
from mapxdp.model.timeouts import RFC_MINIMA, Protocol, Timeouts

EXAMPLE = """\
# RFC 7599 appendix A, example 1

[ce]
mode = "map-t"
wan = "wan0"
lan = ["lan0"]
end_user_prefix = "2001:db8:12:3400::/56"
dmr = "2001:db8:ffff::/64"

[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
"""

EVERYTHING = """\
[ce]
name = "home-1"
mode = "map-e"
datapath = "tc"
wan = "eth0.100"
lan = ["lan1", "lan2"]
interface_id = "draft-03"
end_user_prefix = "2001:db8:12:3400::/56"
br = "2001:db8:ffff::1"

[napt44]
mode = "netfilter"

[mtu]
wan = 1492
mss_clamp = 1300

[[rule]]
ipv6 = "2001:db8::/40"
ipv4 = "192.0.2.0/24"
ea_length = 16
psid_offset = 6
psid_length = 8
psid = 0x34

[[rule]]
ipv6 = "2001:db9::/40"
ipv4 = "198.51.100.0/24"
ea_length = 16
forwarding = true
"""

POLICY = (
    EXAMPLE
    + """
[napt44]
mode = "bpf"
mapping = { tcp = "shared", udp = "eim", icmp = "auto" }
filtering = { tcp = "apdf", udp = "eif" }
host_ports_min = 4
host_ports_max = 100
host_flows_max = 4096
pick_up = false
early_reclaim = true
refusal = "unreachable"
log = "destinations"
reserved_ports = [2256, "3280-3283"]
strict = false

[napt44.timeouts]
tcp_established = 3600
udp_unanswered = 121

[[forward]]
protocol = "tcp"
port = 1232
to = "192.168.1.10:443"

[[forward]]
protocol = "udp"
port = "any"
to = "192.168.1.10:443"
"""
)

WHERE = "ce.toml"


def changed(old: str, new: str, text: str = EXAMPLE) -> str:
    """The text with one part replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def without(key: str, text: str = EXAMPLE) -> str:
    """The text without the line of a key."""
    kept = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
    assert len(kept) == len(text.splitlines()) - 1, key
    return "\n".join(kept)


def in_ce(*lines: str, text: str = EXAMPLE) -> str:
    """The text with more lines in the table ``ce``."""
    return changed("[ce]\n", "\n".join(("[ce]", *lines, "")), text)


def in_rule(*lines: str) -> str:
    """The example with more lines in its rule."""
    return "\n".join((EXAMPLE, *lines))


def in_mtu(line: str) -> str:
    """The example with a table ``mtu`` of one line."""
    return f"{EXAMPLE}\n[mtu]\n{line}\n"


def in_napt44(*lines: str) -> str:
    """The example with a table ``napt44``."""
    return "\n".join((EXAMPLE, "[napt44]", *lines, ""))


def forward(port: object = 1232, to: str = '"192.168.1.10:443"', protocol: str = '"tcp"') -> str:
    """A table ``forward``; the values as TOML writes them."""
    return f"[[forward]]\nprotocol = {protocol}\nport = {port}\nto = {to}\n"


def forwarding(*forwards: str, text: str = EXAMPLE) -> str:
    """The example with forwards."""
    return "\n".join((text, *forwards))


def refusal(text: str) -> ConfigError:
    """The error that the text is."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, WHERE)
    error = caught.value
    assert (error.where, error.exit_code) == (WHERE, 2)
    assert error.field
    assert error.rule
    assert error.remedy
    assert str(error).startswith(f"{WHERE}: {error.field} = ")
    assert str(error).endswith(f": {error.rule} → {error.remedy}")
    assert len(str(error)) < 1000
    return error


def test_the_example_and_its_defaults() -> None:
    assert config.parse(EXAMPLE, WHERE) == Config(
        name="mapxdp",
        wan="wan0",
        lan=("lan0",),
        domain=Domain(
            mode=Mode.MAP_T,
            end_user_prefix=IPv6Network("2001:db8:12:3400::/56"),
            rules=(
                MappingRule(
                    ipv6=IPv6Network("2001:db8::/40"),
                    ipv4=IPv4Network("192.0.2.0/24"),
                    ea_length=16,
                    psid_offset=6,
                    psid_length=None,
                    psid=None,
                    forwarding=False,
                ),
            ),
            dmr=IPv6Network("2001:db8:ffff::/64"),
            br=None,
            interface_id=InterfaceIdFormat.RFC7597,
        ),
        datapath=DatapathKind.AUTO,
        napt44=Napt44Mode.BPF,
        wan_mtu=None,
        mss_clamp=MssClamp(enabled=True, fixed=None),
        policy=Napt44Policy(),
    )


def test_every_key() -> None:
    rule = MappingRule(
        IPv6Network("2001:db8::/40"), IPv4Network("192.0.2.0/24"), 16, 6, psid_length=8, psid=0x34
    )
    other = MappingRule(
        IPv6Network("2001:db9::/40"), IPv4Network("198.51.100.0/24"), 16, 4, forwarding=True
    )
    assert config.parse(EVERYTHING, WHERE) == Config(
        name="home-1",
        wan="eth0.100",
        lan=("lan1", "lan2"),
        domain=Domain(
            mode=Mode.MAP_E,
            end_user_prefix=IPv6Network("2001:db8:12:3400::/56"),
            rules=(rule, other),
            br=IPv6Address("2001:db8:ffff::1"),
            interface_id=InterfaceIdFormat.DRAFT03,
        ),
        datapath=DatapathKind.TC,
        napt44=Napt44Mode.NETFILTER,
        wan_mtu=1492,
        mss_clamp=MssClamp(fixed=1300),
    )


def test_every_key_of_napt44() -> None:
    server = IPv4Address("192.168.1.10")
    assert config.parse(POLICY, WHERE).policy == Napt44Policy(
        mapping={
            Protocol.TCP: MappingPolicy.SHARED,
            Protocol.UDP: MappingPolicy.EIM,
            Protocol.ICMP: MappingPolicy.AUTO,
        },
        filtering={
            Protocol.TCP: Filtering.APDF,
            Protocol.UDP: Filtering.EIF,
            Protocol.ICMP: Filtering.ADF,
        },
        timeouts=Timeouts(tcp_established=3600, udp_unanswered=121),
        host_ports_min=4,
        host_ports_max=100,
        host_flows_max=4096,
        pick_up=False,
        early_reclaim=True,
        refusal=Refusal.HOST_UNREACHABLE,
        log=LogLevel.DESTINATIONS,
        reserved_ports=frozenset({2256, 3280, 3281, 3282, 3283}),
        forwards=(
            Forward(Protocol.TCP, 1232, server, 443),
            Forward(Protocol.UDP, None, server, 443),
        ),
    )


def test_one_value_for_several_protocols() -> None:
    """ICMP has endpoint-independent mapping unless it is named; filtering is the same for all."""
    policy = config.parse(in_napt44('mapping = "shared"', 'filtering = "eif"'), WHERE).policy
    assert policy.mapping == {
        Protocol.TCP: MappingPolicy.SHARED,
        Protocol.UDP: MappingPolicy.SHARED,
        Protocol.ICMP: MappingPolicy.EIM,
    }
    assert policy.filtering == dict.fromkeys(Protocol, Filtering.EIF)


def test_a_protocol_that_is_not_named_keeps_its_default() -> None:
    lines = ('mapping = {udp = "eim"}', "filtering = {}", "[napt44.timeouts]", "icmp_query = 61")
    policy = config.parse(in_napt44(*lines), WHERE).policy
    default = Napt44Policy()
    assert policy.mapping == default.mapping | {Protocol.UDP: MappingPolicy.EIM}
    assert policy.filtering == default.filtering
    assert policy.timeouts == Timeouts(icmp_query=61)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("prohibited", Refusal.PROHIBITED),
        ("unreachable", Refusal.HOST_UNREACHABLE),
        ("off", Refusal.OFF),
    ],
)
def test_how_a_host_is_refused(name: str, refused: Refusal) -> None:
    assert config.parse(in_napt44(f'refusal = "{name}"'), WHERE).policy.refusal is refused


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(Timeouts)])
def test_every_timeout(name: str) -> None:
    text = in_napt44("[napt44.timeouts]", f"{name} = 8000")
    assert config.parse(text, WHERE).policy.timeouts == Timeouts(**{name: 8000})


@pytest.mark.parametrize("name", RFC_MINIMA)
def test_a_timeout_below_the_minimum_of_an_rfc(name: str) -> None:
    """Refused, unless it is asked for with open eyes."""
    least, rule = RFC_MINIMA[name]
    timeouts = ("[napt44.timeouts]", f"{name} = {least - 1}")
    error = refusal(in_napt44(*timeouts))
    assert error.field == f"napt44.timeouts.{name}"
    assert f"at least {least} seconds ({rule})" in error.rule
    assert "strict = false" in error.remedy
    found = config.parse(in_napt44("strict = false", *timeouts), WHERE).policy.timeouts
    assert getattr(found, name) == least - 1


def test_reserved_ports_of_every_kind() -> None:
    text = in_napt44('reserved_ports = [1232, "1233-1234", "64720-64720", 1232]')
    assert config.parse(text, WHERE).policy.reserved_ports == {1232, 1233, 1234, 64720}


def test_a_port_of_two_protocols_is_forwarded_twice() -> None:
    text = forwarding(
        forward(),
        forward(protocol='"udp"'),
        forward('"any"', '"192.168.1.10:80"'),
        forward('"any"', '"192.168.1.11:443"'),
    )
    assert len(config.parse(text, WHERE).policy.forwards) == 4


def test_the_forwards_of_an_address_that_is_not_shared() -> None:
    policy = config.parse(forwarding(forward(1024), text=UNSHARED), WHERE).policy
    assert policy.forwards[0].port == 1024


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ((6, 8), "1232-1235, 2256-2259, 3280-3283, … 64720-64723 (63 ranges)"),
        ((0, 8), "13312-13567"),
        ((3, 8), "9856-9887, 18048-18079, 26240-26271, 34432-34463, 42624-42655, "
         "50816-50847, 59008-59039"),
        ((8, 8), "308, 564, 820, … 65332 (255 ranges)"),
    ],
)  # fmt: skip
def test_the_ranges_of_a_port_set(parameters: tuple[int, int], shown: str) -> None:
    assert ranges_shown(PortSet(PortParameters(*parameters), 0x34)) == shown


def test_a_ce_without_lan_interfaces_is_allowed() -> None:
    assert config.parse(without("lan"), WHERE).lan == ()


MAP_E = changed('dmr = "2001:db8:ffff::/64"', 'br = "2001:db8:ffff::1"').replace("map-t", "map-e")
LW4O6 = (
    MAP_E.replace("map-e", "lw4o6")
    .replace("192.0.2.0/24", "192.0.2.18/32")
    .replace("ea_length = 16", "ea_length = 0\npsid_length = 8\npsid = 0x34")
)


#: The CE has 192.0.2.52 to itself.
UNSHARED = changed("ea_length = 16", "ea_length = 8").replace("12:3400::/56", "34::/48")


@pytest.mark.parametrize(
    ("text", "psid_offset"),
    [
        pytest.param(EXAMPLE, 6, id="MAP-T"),
        pytest.param(MAP_E, 6, id="MAP-E"),
        pytest.param(in_ce('interface_id = "rfc7597"'), 6, id="RFC 7597 said so"),
        pytest.param(in_ce('interface_id = "draft-03"'), 4, id="draft-03"),
        pytest.param(LW4O6, 0, id="lw4o6"),
        pytest.param(in_ce('interface_id = "draft-03"', text=LW4O6), 0, id="lw4o6 of draft-03"),
        pytest.param(in_rule("psid_offset = 2"), 2, id="given"),
        pytest.param(
            in_ce('interface_id = "draft-03"', text=in_rule("psid_offset = 0")), 0, id="given as 0"
        ),
    ],
)
def test_the_psid_offset_that_nobody_wrote(text: str, psid_offset: int) -> None:
    assert config.parse(text, WHERE).domain.bmr.psid_offset == psid_offset


@pytest.mark.parametrize(
    ("line", "clamp", "limit"),
    [
        ("", MssClamp(), 1440),
        ('mss_clamp = "auto"', MssClamp(), 1440),
        ('mss_clamp = "off"', MssClamp(enabled=False), None),
        ("mss_clamp = 1300", MssClamp(fixed=1300), 1300),
        ("mss_clamp = 536", MssClamp(fixed=536), 536),
        ("mss_clamp = 65495", MssClamp(fixed=65495), 65495),
    ],
)
def test_mss_clamp(line: str, clamp: MssClamp, limit: int | None) -> None:
    found = config.parse(in_mtu(line), WHERE).mss_clamp
    assert found == clamp
    assert found.limit(ipv4_mtu=1480) == limit


@pytest.mark.parametrize("mtu", [1280, 1492, 65535])
def test_the_mtu_of_the_wan(mtu: int) -> None:
    assert config.parse(in_mtu(f"wan = {mtu}"), WHERE).wan_mtu == mtu


def test_a_prefix_is_assigned_without_napt44() -> None:
    text = changed("ea_length = 16", "ea_length = 4") + '\n[napt44]\nmode = "none"\n'
    found = config.parse(text, WHERE)
    assert (found.napt44, str(found.domain.ipv4)) == (Napt44Mode.NONE, "192.0.2.16/28")


def test_a_configuration_cannot_be_changed() -> None:
    found = config.parse(EXAMPLE, WHERE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.wan = "other"  # type: ignore[misc]


# Each: what is wrong, the text, the key that is named, and words of the rule and the remedy.
REFUSALS = [
    # Keys nobody knows.
    ("unknown in ce", in_ce("zzzz = 1"), "ce.zzzz", "unknown key", "remove it"),
    ("typo in ce", in_ce("datapth = 'tc'"), "ce.datapth", "datapath", "did you mean datapath?"),
    ("typo in rule", in_rule("forwardin = true"), "rule[0].forwardin", "unknown", "forwarding?"),
    ("typo in mtu", in_mtu("mss = 1300"), "mtu.mss", "known: lowest_ipv6_mtu, mss", "mss"),
    ("typo in napt44", EXAMPLE + "[napt44]\nmod='bpf'", "napt44.mod", "unknown", "mean mode?"),
    ("unknown table", EXAMPLE + "[napt]\nmode='bpf'", "napt", "unknown", "did you mean napt44?"),
    ("key before tables", "verbose = true\n" + EXAMPLE, "verbose", "unknown", "remove it"),
    # Keys that are missing.
    ("empty file", "", "ce", "required", "add [ce]"),
    ("typo of table ce", changed("[ce]", "[cee]"), "ce", "required", "did you mean ce?"),
    ("typo of wan", changed("wan =", "wann ="), "ce.wan", "required", "did you mean wan?"),
    ("no wan", without("wan"), "ce.wan", "required", "add wan = …"),
    ("no mode", without("mode"), "ce.mode", "required", "add mode = …"),
    ("no prefix", without("end_user_prefix"), "ce.end_user_prefix", "required", "add end_user"),
    ("no rule ipv6", without("ipv6"), "rule[0].ipv6", "required", "add ipv6 = …"),
    ("no rule ipv4", without("ipv4"), "rule[0].ipv4", "required", "add ipv4 = …"),
    ("no ea_length", without("ea_length"), "rule[0].ea_length", "required", "add ea_length = …"),
    ("no rule", EXAMPLE.split("[[rule]]")[0], "rule", "at least one", "add a [[rule]] table"),
    ("second rule", EXAMPLE + "[[rule]]\nipv6='::/0'", "rule[1].ipv4", "required", "add ipv4"),
    # Values of a wrong type.
    ("ce a number", "ce = 5", "ce", "a table", "write [ce]"),
    ("rule a table", changed("[[rule]]", "[rule]"), "rule", "array of tables", "write [[rule]]"),
    ("rules numbers", "rule = [1]\n" + EXAMPLE.split("[[rule]]")[0], "rule", "array", "[[rule]]"),
    ("napt44 text", "napt44 = 'bpf'\n" + EXAMPLE, "napt44", "a table", "write [napt44]"),
    ("mtu a number", "mtu = 1500\n" + EXAMPLE, "mtu", "a table", "write [mtu]"),
    ("wan a number", changed('"wan0"', "0"), "ce.wan", "network interface", 'wan = "…"'),
    ("wan a list", changed('"wan0"', "['wan0']"), "ce.wan", "network interface", 'wan = "…"'),
    ("wan empty", changed('"wan0"', "''"), "ce.wan", "network interface", 'wan = "…"'),
    ("wan with a slash", changed('"wan0"', "'a/b'"), "ce.wan", "network interface", 'wan = "…"'),
    ("wan too long", changed('"wan0"', f"'{'w' * 16}'"), "ce.wan", "interface", 'wan = "…"'),
    ("lan text", changed('["lan0"]', '"lan0"'), "ce.lan", "a list", 'lan = ["…"]'),
    ("lan of numbers", changed('["lan0"]', "[0]"), "ce.lan", "a list", 'lan = ["…"]'),
    ("lan with the WAN", changed('["lan0"]', "['a', 'wan0']"), "ce.lan", "no LAN", "remove wan0"),
    ("lan with a space", changed('["lan0"]', "['a b']"), "ce.lan", "a list", 'lan = ["…"]'),
    ("name with a dot", in_ce("name = 'a.b'"), "ce.name", "letters, digits", 'name = "…"'),
    ("name too long", in_ce(f"name = '{'n' * 33}'"), "ce.name", "at most 32", 'name = "…"'),
    ("name a date", in_ce("name = 2024-01-01"), "ce.name", "letters, digits", 'name = "…"'),
    ("mode misspelt", changed("map-t", "mapt"), "ce.mode", "map-t, map-e, lw4o6", '"map-t"?'),
    ("mode a list", changed('"map-t"', "['map-t']"), "ce.mode", "one of", '"map-t"?'),
    ("mode a table", changed('"map-t"', "{a = 1}"), "ce.mode", "one of", "did you mean"),
    ("mode empty", changed('"map-t"', "''"), "ce.mode", "one of", "did you mean"),
    ("datapath misspelt", in_ce("datapath = 'xpd'"), "ce.datapath", "auto, tc, xdp", '"xdp"?'),
    ("interface_id", in_ce("interface_id = 'draft03'"), "ce.interface_id", "one", '"draft-03"?'),
    ("napt44 misspelt", EXAMPLE + "[napt44]\nmode='nft'", "napt44.mode", "netfilter", "did you"),
    ("ea_length text", changed("= 16", "= '16'"), "rule[0].ea_length", "whole number", "<number>"),
    ("ea_length float", changed("= 16", "= 16.0"), "rule[0].ea_length", "whole number", "<number>"),
    ("ea_length inf", changed("= 16", "= inf"), "rule[0].ea_length", "whole number", "<number>"),
    ("ea_length bool", changed("= 16", "= true"), "rule[0].ea_length", "whole number", "<number>"),
    ("psid_offset bool", in_rule("psid_offset = true"), "rule[0].psid_offset", "whole", "<number>"),
    ("psid text", in_rule("psid = '0x34'"), "rule[0].psid", "whole number", "psid = <number>"),
    ("forwarding text", in_rule("forwarding = 'yes'"), "rule[0].forwarding", "true or", "= true"),
    ("forwarding 1", in_rule("forwarding = 1"), "rule[0].forwarding", "true or false", "= true"),
    # Addresses and prefixes.
    ("host bits v4", changed("192.0.2.0/24", "192.0.2.1/24"), "rule[0].ipv4", "host", ".0/24"),
    ("host bits v6", changed("3400::/56", "3401::/56"), "ce.end_user_prefix", "host", "3400::/56"),
    ("no length", changed("/24", ""), "rule[0].ipv4", "address/length", "write"),
    ("length 33", changed("/24", "/33"), "rule[0].ipv4", "not appear", "192.0.2.0/24"),
    ("v6 for v4", changed("192.0.2.0/24", "::/24"), "rule[0].ipv4", "an IPv4 prefix", "192.0.2"),
    ("v4 for v6", changed("2001:db8::/40", "192.0.2.0/24"), "rule[0].ipv6", "an IPv6", "2001:db8"),
    ("prefix a number", changed('"192.0.2.0/24"', "24"), "rule[0].ipv4", "address/length", "write"),
    ("dmr an address", changed("ffff::/64", "ffff::"), "ce.dmr", "address/length", "write dmr"),
    ("br a prefix", changed("ffff::1", "ffff::/64", MAP_E), "ce.br", "an IPv6 address", "2001:db8"),
    ("br of IPv4", changed("2001:db8:ffff::1", "192.0.2.1", MAP_E), "ce.br", "IPv6", "2001:db8"),
    ("br a number", changed('"2001:db8:ffff::1"', "1", MAP_E), "ce.br", "to be text", "2001:db8"),
    # What contradicts an RFC or itself.
    ("ea_length 49", changed("= 16", "= 49"), "rule[0].ea_length", "0 to 48", "provider"),
    ("psid alone", in_rule("psid = 1"), "rule[0].psid", "both", "give both, or neither"),
    ("psid_length alone", in_rule("psid_length = 8"), "rule[0].psid_length", "both", "give both"),
    ("two PSID lengths", in_rule("psid_length = 4", "psid = 1"), "rule[0].psid_length", "8", "rem"),
    ("psid too big", in_rule("psid_length = 8", "psid = 256"), "rule[0].psid", "8 bits", "to 255"),
    ("psid_offset 9", in_rule("psid_offset = 9"), "rule[0].psid_offset", "16 bits", "at most 8"),
    ("other PSID", in_rule("psid_length = 8", "psid = 1"), "rule[0].psid", "holds PSID 52", "rem"),
    ("short prefix", changed("12:3400::/56", "12::/48"), "rule[0].ea_length", "exceed", "most 8"),
    ("foreign prefix", changed("2001:db8:12:", "2001:db9:12:"), "ce.end_user_prefix", "no", "add"),
    # A far end that the mode does not have.
    ("MAP-T without DMR", without("dmr"), "ce.dmr", "map-t needs it", "set dmr"),
    ("MAP-T with BR", in_ce("br = '::1'"), "ce.br", "map-t has no use", "remove br, or"),
    ("T with BR alone", changed("map-e", "map-t", MAP_E), "ce.dmr", "map-t needs it", "set dmr"),
    ("MAP-E without BR", without("br", MAP_E), "ce.br", "map-e needs it", "set br"),
    ("MAP-E with DMR", in_ce("dmr = '64:ff9b::/96'", text=MAP_E), "ce.dmr", "map-e", "remove dmr"),
    ("lw4o6 without BR", without("br", LW4O6), "ce.br", "lw4o6 needs it", "set br"),
    ("lw4o6 with EA bits", changed("map-e", "lw4o6", MAP_E), "rule[0].ipv4", "one whole", "/32"),
    ("DMR of /60", changed("ffff::/64", "ffff::/60"), "ce.dmr", "RFC 6052", "56, 64 or 96"),
    # NAPT44 where nothing is shared.
    (
        "prefix with NAPT44",
        changed("= 16", "= 4"),
        "napt44.mode",
        "the IPv4 prefix 192.0.2.16/28",
        'napt44.mode = "none"',
    ),
    (
        "prefix with netfilter",
        changed("= 16", "= 4") + "[napt44]\nmode = 'netfilter'",
        "napt44.mode",
        "no NAPT44",
        'napt44.mode = "none"',
    ),
    # NAPT44.
    ("mapping misspelt", in_napt44("mapping = 'eif'"), "napt44.mapping", "auto, eim", '"eim"?'),
    ("mapping a list", in_napt44("mapping = ['eim']"), "napt44.mapping", "one of", "did you"),
    ("mapping of sctp", in_napt44("mapping = {sctp='eim'}"), "napt44.mapping.sctp", "known", "tcp"),
    ("filtering", in_napt44("filtering = {udp='on'}"), "napt44.filtering.udp", "adf", "did you"),
    ("filtering true", in_napt44("filtering = true"), "napt44.filtering", "eif", "did you mean"),
    ("no ports", in_napt44("host_ports_max = 0"), "napt44.host_ports_max", "8 to 65535", "leave"),
    ("less", in_napt44("host_ports_max = 7"), "napt44.host_ports_max", "host_ports_min", "leave"),
    ("minus", in_napt44("host_ports_min = -1"), "napt44.host_ports_min", "0 to 65535", "leave"),
    ("flows 0", in_napt44("host_flows_max = 0"), "napt44.host_flows_max", "1 to 65535", "leave"),
    ("flows text", in_napt44("host_flows_max = '9'"), "napt44.host_flows_max", "whole", "write"),
    ("pick_up", in_napt44("pick_up = 'no'"), "napt44.pick_up", "true or false", "= true"),
    ("early_reclaim", in_napt44("early_reclaim = 1"), "napt44.early_reclaim", "true", "= true"),
    ("strict", in_napt44("strict = 0"), "napt44.strict", "true or false", "strict = true"),
    ("refusal", in_napt44("refusal = 'of'"), "napt44.refusal", "prohibited, unre", '"off"?'),
    ("refusal 13", in_napt44("refusal = 13"), "napt44.refusal", "one of", "did you mean"),
    ("log", in_napt44("log = 'all'"), "napt44.log", "off, mappings, destinations", "did you"),
    ("timeouts", in_napt44("timeouts = 5"), "napt44.timeouts", "a table", "write [timeouts]"),
    (
        "timeout unknown",
        in_napt44("[napt44.timeouts]", "tcp_open = 300"),
        "napt44.timeouts.tcp_open",
        "known",
        "did you mean tcp_opening?",
    ),
    (
        "timeout 0",
        in_napt44("strict = false", "[napt44.timeouts]", "udp_answered = 0"),
        "napt44.timeouts.udp_answered",
        "1 to 604800",
        "leave it out",
    ),
    (
        "timeout text",
        in_napt44("[napt44.timeouts]", "icmp_query = '60s'"),
        "napt44.timeouts.icmp_query",
        "whole number",
        "<number>",
    ),
    # Reserved ports.
    ("reserved", in_napt44("reserved_ports = 5000"), "napt44.reserved_ports", "a list", "write"),
    ("text", in_napt44("reserved_ports = ['x']"), "napt44.reserved_ports", "low to high", "write"),
    ("down", in_napt44("reserved_ports = ['9-8']"), "napt44.reserved_ports", "low to", "write"),
    ("big", in_napt44("reserved_ports = ['9-65536']"), "napt44.reserved_ports", "low to", "write"),
    ("bool", in_napt44("reserved_ports = [true]"), "napt44.reserved_ports", "numbers", "write"),
    (
        "reserved outside",
        in_napt44("reserved_ports = [1232, '1234-1236']"),
        "napt44.reserved_ports",
        "port 1236 is not in this CE's set of 252 ports: 1232-1235, 2256-2259, 3280-3283, … "
        "64720-64723 (63 ranges)",
        "the nearest is 1235",
    ),
    (
        "reserved under netfilter",
        in_napt44("mode = 'netfilter'", "reserved_ports = [1232]"),
        "napt44.reserved_ports",
        'napt44.mode = "netfilter": ports are chosen by whoever does NAPT44',
        'set napt44.mode = "bpf"',
    ),
    # Forwards.
    ("forward a table", EXAMPLE + "[forward]", "forward", "array of tables", "write [[forward]]"),
    ("no protocol", EXAMPLE + "[[forward]]", "forward[0].protocol", "required", "add protocol"),
    ("ICMP", forwarding(forward(protocol="'icmp'")), "forward[0].protocol", "tcp, udp", "did"),
    ("no to", EXAMPLE + "[[forward]]\nprotocol='tcp'\nport=1232", "forward[0].to", "req", "add to"),
    ("unknown", forwarding(forward() + "from = 1"), "forward[0].from", "unknown key", "remove it"),
    ("port text", forwarding(forward("'1232'")), "forward[0].port", 'or "any"', "port = 4928"),
    ("port true", forwarding(forward("true")), "forward[0].port", 'or "any"', "port = 4928"),
    ("port 65536", forwarding(forward(65536)), "forward[0].port", 'or "any"', "port = 4928"),
    ("port -1", forwarding(forward(-1)), "forward[0].port", 'or "any"', "port = 4928"),
    ("no to port", forwarding(forward(to="'10.0.0.1'")), "forward[0].to", "and a port", "to ="),
    ("to port 0", forwarding(forward(to="'10.0.0.1:0'")), "forward[0].to", "and a port", "to ="),
    ("to a name", forwarding(forward(to="'nas:80'")), "forward[0].to", "an IPv4", "to ="),
    ("to octets", forwarding(forward(to="'10.0.0.256:9'")), "forward[0].to", "256", "to ="),
    ("to IPv6", forwarding(forward(to="'[::1]:80'")), "forward[0].to", "an IPv4", "to ="),
    ("to a number", forwarding(forward(to="80")), "forward[0].to", "an IPv4", "to ="),
    ("multicast", forwarding(forward(to="'224.0.0.1:9'")), "forward[0].to", "not the", "to ="),
    ("broadcast", forwarding(forward(to="'255.255.255.255:9'")), "forward[0].to", "not the", "to"),
    ("loopback", forwarding(forward(to="'127.0.0.1:9'")), "forward[0].to", "not the", "to ="),
    ("nobody", forwarding(forward(to="'0.0.0.0:9'")), "forward[0].to", "not the", "to ="),
    ("itself", forwarding(forward(to="'192.0.2.18:9'")), "forward[0].to", "public", "LAN address"),
    (
        "outside the set",
        forwarding(forward(), forward(8080)),
        "forward[1].port",
        "port 8080 is not in this CE's set of 252 ports: 1232-1235,",
        "the nearest is 8400",
    ),
    (
        "twice",
        forwarding(forward(), forward(to="'10.0.0.1:80'")),
        "forward[1].port",
        "there is a forward of this port: tcp 1232 to 192.168.1.10:443",
        "remove one",
    ),
    (
        "two ports of one endpoint",
        forwarding(forward(), forward(2256)),
        "forward[1].to",
        "can leave from one port only",
        "remove one",
    ),
    (
        "reserved and forwarded",
        forwarding(forward(), text=in_napt44("reserved_ports = ['1232-1235']")),
        "forward[0].port",
        "napt44.reserved_ports holds it",
        "remove 1232 from",
    ),
    (
        "well known",
        forwarding(forward(1023), text=UNSHARED),
        "forward[0].port",
        "ports below 1024 are never handed out",
        "from 1024 on",
    ),
    (
        "forward without NAPT44",
        forwarding(forward(), text=in_napt44("mode = 'none'")),
        "forward",
        'napt44.mode = "none": ports are forwarded by whoever',
        'set napt44.mode = "bpf"',
    ),
    (
        "forward under netfilter",
        forwarding(forward(2257), text=in_napt44("mode = 'netfilter'")),
        "forward",
        'napt44.mode = "netfilter": ports are forwarded by whoever',
        "ip daddr 192.0.2.18 tcp dport 16389 dnat to 192.168.1.10:443",
    ),
    (
        "any port under netfilter",
        forwarding(forward('"any"'), text=in_napt44("mode = 'netfilter'")),
        "forward",
        "whoever does NAPT44",
        "iifname wan0 ip daddr 192.0.2.18 tcp dport 16384 dnat to",
    ),
    # MTU and MSS.
    ("MTU 1279", in_mtu("wan = 1279"), "mtu.wan", "at least 1280", "raise the MTU"),
    ("MTU 65536", in_mtu("wan = 65536"), "mtu.wan", "at most 65535", "MTU of the WAN"),
    ("MTU text", in_mtu("wan = '1500'"), "mtu.wan", "whole number", "write wan"),
    ("MSS 535", in_mtu("mss_clamp = 535"), "mtu.mss_clamp", "536 to 65495", 'use "auto"'),
    ("MSS 65496", in_mtu("mss_clamp = 65496"), "mtu.mss_clamp", "536 to 65495", 'use "auto"'),
    ("MSS on", in_mtu("mss_clamp = 'on'"), "mtu.mss_clamp", '"off"', 'use "auto"'),
    ("MSS true", in_mtu("mss_clamp = true"), "mtu.mss_clamp", '"off"', 'use "auto"'),
    ("MSS float", in_mtu("mss_clamp = 1300.0"), "mtu.mss_clamp", "a number", 'use "auto"'),
    ("MSS nan", in_mtu("mss_clamp = nan"), "mtu.mss_clamp", "a number", 'use "auto"'),
    ("MSS list", in_mtu("mss_clamp = []"), "mtu.mss_clamp", "a number", 'use "auto"'),
    # What is no TOML.
    ("no value", EXAMPLE + "psid =", "syntax", "Invalid value", "correct the line"),
    ("no TOML", "ce: {mode: map-t}", "syntax", "line 1", "correct the line"),
    ("key twice", EXAMPLE + "ea_length = 16", "syntax", "overwrite", "correct the line"),
    ("table twice", EXAMPLE + "[ce]", "syntax", "ce", "correct the line"),
    ("NUL", EXAMPLE + "\0", "syntax", "Invalid", "correct the line"),
    ("byte order mark", "\ufeff" + EXAMPLE, "syntax", "line 1", "correct the line"),
    ("surrogate", EXAMPLE + 'x = "\\ud800"', "syntax", "Unicode", "correct the line"),
    ("date of no calendar", "x = 2024-02-30", "syntax", "date", "correct the line"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "field", "rule", "remedy"), [pytest.param(*rest, id=name) for name, *rest in REFUSALS]
)
def test_a_refusal(text: str, field: str, rule: str, remedy: str) -> None:
    error = refusal(text)
    assert error.field == field
    assert rule in error.rule
    assert remedy in error.remedy


def test_the_refusals_begin_with_a_text_that_is_accepted() -> None:
    for text in (EXAMPLE, EVERYTHING, POLICY, UNSHARED, MAP_E, LW4O6):
        config.parse(text, WHERE)


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_arrays_in_arrays(depth: int) -> None:
    assert refusal("x = " + "[" * depth + "]" * depth).field in ("ce", "syntax")
    assert refusal(EXAMPLE + "x = " + "[" * depth + "]" * depth).field in ("rule[0].x", "syntax")


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param("x = " + "1" * 5000, id="5000 digits"),
        pytest.param("x = 0x" + "f" * 5000, id="5000 hexadecimal digits"),
        pytest.param(".".join("a" * 2000) + " = 1", id="2000 dotted keys"),
        pytest.param("[" + ".".join("a" * 2000) + "]", id="a table of 2000 names"),
        pytest.param("x = " + "{a = " * 100 + "1" + "}" * 100, id="100 inline tables"),
        pytest.param("x = " + "{a = " * 5000 + "1" + "}" * 5000, id="5000 inline tables"),
        pytest.param("x = '" + "x" * 100_000 + "'", id="100000 letters"),
        pytest.param("'" + "x" * 100_000 + "' = 1", id="a key of 100000 letters"),
    ],
)
def test_what_a_hostile_file_holds(hostile: str) -> None:
    refusal(EXAMPLE + hostile + "\n")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (changed("ffff::1", "ffff::1%wan0", MAP_E), "ce.br"),
        (changed("3400::/56", "3400::%wan0/56"), "ce.end_user_prefix"),
        (changed("ffff::/64", "ffff::%wan0/64"), "ce.dmr"),
    ],
    ids=["br", "end_user_prefix", "dmr"],
)
def test_an_address_with_a_scope_is_refused(text: str, field: str) -> None:
    assert refusal(text).field == field


@pytest.mark.parametrize("name", [".", "..", "a:b", "é" * 8])
def test_a_name_no_interface_can_have_is_refused(name: str) -> None:
    assert refusal(changed("wan0", name)).field == "ce.wan"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ce.toml"
    path.write_text(EXAMPLE.replace("# RFC", "# é → RFC"), encoding="utf-8")
    loaded = config.load(path)
    assert loaded.config == config.parse(EXAMPLE, "elsewhere")
    assert loaded.text == path.read_text(encoding="utf-8")


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(without("wan"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.where == str(path)
    assert str(caught.value).startswith(f"{path}: ce.wan = ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    latin1 = tmp_path / "latin1.toml"
    latin1.write_bytes("# café\n".encode("latin-1") + EXAMPLE.encode())
    looped = tmp_path / "loop.toml"
    looped.symlink_to(looped)
    beneath_a_file = latin1 / "ce.toml"
    for path in (latin1, tmp_path, tmp_path / "missing.toml", looped, beneath_a_file):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            config.load(path)
        assert (caught.value.where, caught.value.field) == (str(path), "file")
        assert caught.value.remedy == "name a readable TOML file"


def test_a_domain_alone() -> None:
    document = tomllib.loads(without("wan", without("lan")))
    assert config.parse_domain(document, WHERE) == config.parse(EXAMPLE, WHERE).domain


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (EXAMPLE, "ce.wan"),
        (without("wan"), "ce.lan"),
        (without("wan", without("lan")) + "\n[mtu]", "mtu"),
        (without("wan", without("mode")), "ce.mode"),
    ],
    ids=["wan", "lan", "mtu", "no mode"],
)
def test_a_domain_has_no_ports(text: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse_domain(tomllib.loads(text), WHERE)
    assert (caught.value.where, caught.value.field) == (WHERE, field)


TOKENS = st.sampled_from(
    [
        *EXAMPLE.split(),
        *EVERYTHING.split(),
        *POLICY.split(),
        *string.punctuation,
        "\n",
        " = ",
        "true",
        "-1",
        "1e9",
        "0x10",
        "[]",
        "{}",
        "{ipv6 = 1}",
        "''",
        '"\\u0000"',
        "2024-01-01",
        "[[ce]]",
        "[rule]",
        "é",
        "\0",
    ]
)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A configuration in which a few pieces were lost, doubled or replaced."""
    text = draw(st.sampled_from([EXAMPLE, EVERYTHING, POLICY, MAP_E, LW4O6]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.just(""), TOKENS, st.just(text[start:end] * 2)))
        text = text[:start] + piece + text[end:]
    return text


@given(mutations())
@settings(deadline=None, derandomize=True, database=None, max_examples=1500)
def test_whatever_is_written_is_a_configuration_or_a_config_error(text: str) -> None:
    try:
        found = config.parse(text, WHERE)
    except ConfigError as error:
        assert error.where == WHERE
        assert error.field
        assert error.remedy
        assert not isinstance(error.__cause__, ConfigError)
    else:
        assert isinstance(found, Config)


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-3, 200),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(["map-t", "map-e", "lw4o6", "2001:db8::/40", "192.0.2.0/24", "::1"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
CE_KEYS = ["name", "mode", "wan", "lan", "end_user_prefix", "dmr", "br", "interface_id"]
RULE_KEYS = ["ipv6", "ipv4", "ea_length", "psid_offset", "psid_length", "psid", "forwarding"]


@given(
    st.dictionaries(st.sampled_from(CE_KEYS), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(RULE_KEYS), VALUES, max_size=4),
)
@settings(deadline=None, derandomize=True, database=None, max_examples=500)
def test_values_of_any_type_are_read_or_refused(
    in_ce_table: dict[str, object], in_rule_table: dict[str, object]
) -> None:
    document = tomllib.loads(EXAMPLE)
    document["ce"] |= in_ce_table
    document["rule"][0] |= in_rule_table
    try:
        config.parse_domain(document, WHERE)
    except ConfigError as error:
        assert isinstance(error.__cause__, InvalidValue)
