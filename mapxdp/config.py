# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A CE's configuration: TOML text to one checked, immutable value.

Every problem is a ConfigError that names the file, the key, the value, the rule and the
remedy. ``docs/configuration.md`` describes the keys for people.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from mapxdp.config_accelerator import read_accelerator
from mapxdp.config_napt44 import read_policy
from mapxdp.config_translation import lowest_ipv6_mtu, read_translation
from mapxdp.errors import ConfigError, InvalidValue, shown
from mapxdp.model.accelerator import AcceleratorPolicy
from mapxdp.model.domain import Domain, Mode
from mapxdp.model.interface_id import InterfaceIdFormat
from mapxdp.model.mtu import mss_for, require_wan_mtu
from mapxdp.model.napt44 import Forward, Napt44Policy
from mapxdp.model.rule import DEFAULT_PSID_OFFSET, Assignment, MappingRule
from mapxdp.model.translation import TranslationPolicy
from mapxdp.model.virtual_range import virtual_port, virtual_range
from mapxdp.table_reader import Table, TableReader

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_NAME_RULE = "letters, digits, - and _, at most 32, the first a letter or digit"
_INTERFACE = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")  # dev_valid_name() of the kernel
_DRAFT03_PSID_OFFSET = 4
_SMALLEST_MSS = 536


class DatapathKind(StrEnum):
    """What moves the packets."""

    AUTO = "auto"
    TC = "tc"
    XDP = "xdp"
    SOFTWARE = "software"


class Napt44Mode(StrEnum):
    """Who maps LAN endpoints to ports of the set."""

    BPF = "bpf"
    NETFILTER = "netfilter"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MssClamp:
    """The largest TCP MSS let through: ``fixed``, none at all, or what fits the MTU."""

    enabled: bool = True
    fixed: int | None = None

    def limit(self, ipv4_mtu: int) -> int | None:
        """The limit for an IPv4 MTU; None where the MSS is left alone."""
        if not self.enabled:
            return None
        return self.fixed if self.fixed is not None else mss_for(ipv4_mtu)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything ``mapxdp up`` needs to know."""

    name: str
    wan: str
    lan: tuple[str, ...]
    domain: Domain
    datapath: DatapathKind = DatapathKind.AUTO
    napt44: Napt44Mode = Napt44Mode.BPF
    wan_mtu: int | None = None
    mss_clamp: MssClamp = field(default_factory=MssClamp)
    policy: Napt44Policy = field(default_factory=Napt44Policy)
    translation: TranslationPolicy = field(default_factory=TranslationPolicy)
    lowest_ipv6_mtu: int | None = None
    accelerator: AcceleratorPolicy | None = field(default_factory=AcceleratorPolicy)

    def __post_init__(self) -> None:
        if self.domain.assignment is Assignment.PREFIX and self.napt44 is not Napt44Mode.NONE:
            raise InvalidValue(
                "napt44.mode",
                self.napt44,
                f"the rule assigns the IPv4 prefix {self.domain.ipv4}, which needs no NAPT44",
                'set napt44.mode = "none" and number the LAN from the prefix',
            )
        if self.wan in self.lan:
            raise InvalidValue(
                "ce.lan",
                self.wan,
                "the WAN interface is no LAN interface",
                f"remove {self.wan} from lan",
            )
        if self.napt44 is not Napt44Mode.BPF:
            self._refuse_what_only_bpf_does()

    def _refuse_what_only_bpf_does(self) -> None:
        """A forward that nobody carries out, or a port that is used all the same."""
        by_whom = f'napt44.mode = "{self.napt44}": '
        if self.policy.forwards:
            raise InvalidValue(
                "forward",
                self.policy.forwards[0],
                by_whom + "ports are forwarded by whoever does NAPT44",
                self._other_forward(self.policy.forwards[0]),
            )
        if self.policy.reserved_ports:
            raise InvalidValue(
                "napt44.reserved_ports",
                ", ".join(map(str, sorted(self.policy.reserved_ports))),
                by_whom + "ports are chosen by whoever does NAPT44, from the whole set",
                'remove it, or set napt44.mode = "bpf"',
            )

    def _other_forward(self, forward: Forward) -> str:
        """How a forward is made where mapxdp does not do it."""
        use_bpf = 'set napt44.mode = "bpf"'
        if self.napt44 is not Napt44Mode.NETFILTER:
            return f"{use_bpf}, or forward it where the public address is put in"
        port_set = self.domain.port_set
        virtual = (
            virtual_range(self.domain).first
            if forward.port is None
            else virtual_port(port_set, forward.port)
        )
        return (
            f"{use_bpf}, or add to a chain of your own (type nat hook prerouting): "
            f"iifname {self.wan} ip daddr {self.domain.ipv4_address} "
            f"{forward.protocol.name.lower()} dport {virtual} "
            f"dnat to {forward.host}:{forward.host_port}"
        )


def require_name(name: str) -> str:
    """``name`` again, if an instance can have it; InvalidValue if not.

    Names become names of files: every path that is made of one is made with this.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            "name",
            name,
            f"it has to be {_NAME_RULE}",
            "write the ce.name of its configuration file",
        )
    return name


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration, and the file it was read from: once, as a pipe can be."""

    path: Path
    text: str
    config: Config


def load(path: Path) -> ConfigFile:
    """Reads and checks a configuration file. ConfigError says what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path), "file", path, f"it cannot be read: {error}", "name a readable TOML file"
        ) from error
    return ConfigFile(path, text, parse(text, str(path)))


def parse(text: str, where: str) -> Config:
    """Checks the text of a configuration file; ``where`` is its name in messages."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number too long
        raise ConfigError(
            where, "syntax", "TOML", shown(error), "correct the line, see https://toml.io"
        ) from error
    return _located(where, lambda: _config(TableReader(document)))


def parse_domain(document: Table, where: str) -> Domain:
    """Checks a document that holds the domain only: the rules, and ``ce`` without ports."""

    def read() -> Domain:
        top = TableReader(document)
        ce = top.table("ce")
        domain = _domain(ce, top.tables("rule"))
        ce.finish()
        top.finish()
        return domain

    return _located(where, read)


def _located(where: str, read: Callable[[], T]) -> T:
    """``read()``, its errors completed with the file they are in."""
    try:
        return read()
    except ConfigError:
        raise
    except InvalidValue as error:
        raise ConfigError(where, error.field, error.value, error.rule, error.remedy) from error


def _config(top: TableReader) -> Config:
    ce = top.table("ce")
    napt44 = top.table("napt44", optional=True)
    mtu = top.table("mtu", optional=True)
    translation = top.table("translation", optional=True)
    accelerator = top.table("accelerator", optional=True)
    domain = _domain(ce, top.tables("rule"))
    wan_mtu = _wan_mtu(mtu)
    config = Config(
        name=ce.text("name", _NAME, _NAME_RULE, default="mapxdp"),
        wan=ce.text("wan", _INTERFACE, "the name of a network interface"),
        lan=ce.texts("lan", _INTERFACE, "names of network interfaces"),
        datapath=ce.choice("datapath", DatapathKind, DatapathKind.AUTO),
        domain=domain,
        napt44=napt44.choice("mode", Napt44Mode, Napt44Mode.BPF),
        wan_mtu=wan_mtu,
        mss_clamp=_mss_clamp(mtu),
        policy=read_policy(napt44, top.tables("forward"), domain),
        translation=read_translation(translation, domain.mode),
        lowest_ipv6_mtu=lowest_ipv6_mtu(mtu, wan_mtu),
        accelerator=read_accelerator(accelerator),
    )
    for table in (ce, napt44, mtu, translation, accelerator, top):
        table.finish()
    return config


def _domain(ce: TableReader, rules: list[TableReader]) -> Domain:
    mode = ce.choice("mode", Mode)
    layout = ce.choice("interface_id", InterfaceIdFormat, InterfaceIdFormat.RFC7597)
    if not rules:
        raise InvalidValue(
            "rule",
            "none",
            "a CE needs at least one mapping rule",
            "add a [[rule]] table with the provider's ipv6, ipv4 and ea_length",
        )
    mapping_rules = tuple(_rule(rule, _default_psid_offset(mode, layout)) for rule in rules)
    try:
        return Domain(
            mode=mode,
            end_user_prefix=ce.ipv6_network("end_user_prefix"),
            rules=mapping_rules,
            dmr=ce.ipv6_network("dmr", optional=True),
            br=ce.ipv6_address("br", optional=True),
            interface_id=layout,
        )
    except InvalidValue as error:
        raise ce.located(error) from error


def _default_psid_offset(mode: Mode, layout: InterfaceIdFormat) -> int:
    if mode is Mode.LW4O6:
        return 0  # RFC 7596 section 5.1
    return _DRAFT03_PSID_OFFSET if layout is InterfaceIdFormat.DRAFT03 else DEFAULT_PSID_OFFSET


def _rule(table: TableReader, default_psid_offset: int) -> MappingRule:
    try:
        rule = MappingRule(
            ipv6=table.ipv6_network("ipv6"),
            ipv4=table.ipv4_network("ipv4"),
            ea_length=table.number("ea_length"),
            psid_offset=table.number("psid_offset", default=default_psid_offset),
            psid_length=table.optional_number("psid_length"),
            psid=table.optional_number("psid"),
            forwarding=table.flag("forwarding", default=False),
        )
    except InvalidValue as error:
        raise table.located(error) from error
    table.finish()
    return rule


def _wan_mtu(table: TableReader) -> int | None:
    mtu = table.optional_number("wan")
    return None if mtu is None else require_wan_mtu("mtu.wan", mtu)


def _mss_clamp(table: TableReader) -> MssClamp:
    value = table.raw("mss_clamp", "auto")
    if value == "auto":
        return MssClamp()
    if value == "off":
        return MssClamp(enabled=False)
    if isinstance(value, int) and not isinstance(value, bool) and _SMALLEST_MSS <= value <= 65495:
        return MssClamp(fixed=value)
    raise InvalidValue(
        "mtu.mss_clamp",
        value,
        f'it is "auto", "off" or a number from {_SMALLEST_MSS} to 65495',
        'use "auto": the MSS then follows the MTU of the WAN',
    )
