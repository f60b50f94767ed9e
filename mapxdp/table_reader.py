# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Reading typed values out of a parsed TOML table, and refusing what nobody asked for.

Errors are InvalidValue with the path of the key (``rule[1].ea_length``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, TypeVar, overload

from mapxdp.errors import InvalidValue, shown

Table = Mapping[str, Any]
Choice = TypeVar("Choice", bound=StrEnum)

_REQUIRED: Any = object()


class TableReader:
    """One table. Keys are read by the methods; ``finish`` refuses those never asked for."""

    def __init__(self, table: Table, path: str = "") -> None:
        self._table = table
        self._path = path
        self._known: set[str] = set()

    def _name(self, key: str) -> str:
        return f"{self._path}.{shown(key)}" if self._path else shown(key)

    def located(self, error: InvalidValue) -> InvalidValue:
        """The same error, a field that has no path yet named with this table's."""
        if "." in error.field:
            return error
        return InvalidValue(self._name(error.field), error.value, error.rule, error.remedy)

    def raw(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of ``key`` as it was written; required unless ``default`` is given."""
        return self._value(key, default, f"add {key} = …")

    def _value(self, key: str, default: Any, remedy: str) -> Any:
        self._known.add(key)
        if key in self._table:
            return self._table[key]
        if default is _REQUIRED:
            typo = difflib.get_close_matches(key, self._table.keys(), 1, 0.8)
            if typo:
                remedy = f"{typo[0]} is not a key: did you mean {key}?"
            raise InvalidValue(self._name(key), "missing", "it is required", remedy)
        return default

    def _refuse(self, key: str, value: object, rule: str, remedy: str) -> InvalidValue:
        return InvalidValue(self._name(key), value, rule, remedy)

    def text(self, key: str, pattern: re.Pattern[str], rule: str, default: Any = _REQUIRED) -> str:
        """A string that matches ``pattern`` wholly; ``rule`` says so in words."""
        value = self.raw(key, default)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._refuse(key, value, f"it has to be {rule}", f'write {key} = "…"')
        return value

    def texts(self, key: str, pattern: re.Pattern[str], rule: str) -> tuple[str, ...]:
        """A list of such strings; empty where the key is missing."""
        values = self.raw(key, [])
        if not isinstance(values, list) or not all(
            isinstance(value, str) and pattern.fullmatch(value) for value in values
        ):
            raise self._refuse(key, values, f"it has to be a list: {rule}", f'write {key} = ["…"]')
        return tuple(values)

    def number(self, key: str, default: Any = _REQUIRED) -> int:
        """A whole number."""
        value = self.raw(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refuse(key, value, "it has to be a whole number", f"write {key} = <number>")
        return value

    def optional_number(self, key: str) -> int | None:
        """A whole number, or None where the key is missing."""
        return None if self.raw(key, None) is None else self.number(key)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise self._refuse(key, value, "it is true or false", f"write {key} = true")
        return value

    def choice(self, key: str, choices: type[Choice], default: Any = _REQUIRED) -> Choice:
        """One of the values of ``choices``."""
        value = self.raw(key, default)
        try:
            return choices(value)
        except ValueError:
            names = [choice.value for choice in choices]
            nearest = difflib.get_close_matches(str(value), names, 1, 0.0)[0]
            raise self._refuse(
                key, value, f"it is one of {', '.join(names)}", f'did you mean "{nearest}"?'
            ) from None

    @overload
    def ipv6_network(self, key: str) -> IPv6Network: ...
    @overload
    def ipv6_network(self, key: str, optional: bool) -> IPv6Network | None: ...
    def ipv6_network(self, key: str, optional: bool = False) -> IPv6Network | None:
        """An IPv6 prefix whose host bits are zero."""
        network = self._network(key, optional)
        if network is not None and not isinstance(network, IPv6Network):
            raise self._refuse(key, network, "it has to be an IPv6 prefix", 'write "2001:db8::/40"')
        return network

    def ipv4_network(self, key: str) -> IPv4Network:
        """An IPv4 prefix whose host bits are zero."""
        network = self._network(key, optional=False)
        if not isinstance(network, IPv4Network):
            raise self._refuse(key, network, "it has to be an IPv4 prefix", 'write "192.0.2.0/24"')
        return network

    def _network(self, key: str, optional: bool) -> IPv4Network | IPv6Network | None:
        value = self.raw(key, None if optional else _REQUIRED)
        if value is None:
            return None
        if not isinstance(value, str) or "/" not in value:
            raise self._refuse(
                key, value, "it has to be a prefix: address/length", f'write {key} = "…/…"'
            )
        try:
            _refuse_scope(value)
            return ip_network(value, strict=True)
        except ValueError as error:
            raise self._refuse(key, value, str(error), _corrected_network(value)) from None

    def ipv6_address(self, key: str, optional: bool = False) -> IPv6Address | None:
        """An IPv6 address."""
        value = self.raw(key, None if optional else _REQUIRED)
        if value is None:
            return None
        try:
            if not isinstance(value, str):
                raise ValueError("it has to be text")
            _refuse_scope(value)
            return IPv6Address(value)
        except ValueError as error:
            raise self._refuse(
                key, value, f"it has to be an IPv6 address: {error}", 'write "2001:db8::1"'
            ) from None

    def table(self, key: str, optional: bool = False) -> TableReader:
        """A table inside this one; an empty one where it is missing and may be."""
        value = self._value(key, {} if optional else _REQUIRED, f"add [{key}]")
        if not isinstance(value, dict):
            raise self._refuse(key, value, "it has to be a table", f"write [{key}]")
        return TableReader(value, self._name(key))

    def tables(self, key: str) -> list[TableReader]:
        """An array of tables; empty where it is missing."""
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._refuse(key, value, "it has to be an array of tables", f"write [[{key}]]")
        return [
            TableReader(entry, f"{self._name(key)}[{number}]") for number, entry in enumerate(value)
        ]

    def finish(self) -> None:
        """InvalidValue for a key that no method was asked for."""
        for key in self._table:
            if key not in self._known:
                nearest = difflib.get_close_matches(key, sorted(self._known), 1, 0.5)
                remedy = f"did you mean {nearest[0]}?" if nearest else "remove it"
                known = ", ".join(sorted(self._known))
                raise self._refuse(key, self._table[key], f"unknown key; known: {known}", remedy)


def _refuse_scope(text: str) -> None:
    if "%" in text:
        raise ValueError("an address with a scope (%) is valid on this host only")


def _corrected_network(text: str) -> str:
    """What was probably meant by a prefix that is not one."""
    try:
        return f'did you mean "{ip_network(text, strict=False)}"?'
    except ValueError:
        return 'write it as "2001:db8::/40" or "192.0.2.0/24"'
