# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What C declares for both sides: ``bpf/contract.h`` and ``bpf/maps.h``, read as text.

C owns every layout. This module learns names, sizes and offsets from the declarations and
makes bytes from named values and back. That it understood them is confirmed by the compiler
at each load: ``Contract.assertions`` is C text that does not compile otherwise.
"""

from __future__ import annotations

import ast
import hashlib
import operator
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mapxdp import bpf_source

_SCALARS = {
    "void": (0, "x"),
    "__u8": (1, "B"),
    "__u16": (2, "H"),
    "__u32": (4, "I"),
    "__u64": (8, "Q"),
    "__be16": (2, "2s"),
    "__be32": (4, "4s"),
}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENUM = re.compile(r"enum (?P<name>\w+) \{(?P<body>[^}]*)\};")
_STRUCT = re.compile(r"struct (?P<name>\w+) \{(?P<body>[^}]*)\};")
_FIELD = re.compile(r"(?P<type>(?:struct )?\w+)\s+(?P<name>\w+)(?:\[(?P<count>[^\]]+)\])?;")
_MAP = re.compile(
    r"X\((?P<name>\w+), (?P<type>\w+), (?P<key>[\w ]+), (?P<value>[\w ]+),"
    r" (?P<entries>[^,]+), (?P<flags>\w+)\)"
)
#: Enums whose numbers lie in maps that outlive a version.
_ENUMS_IN_MAPS = (
    "direction",
    "protocol_index",
    "slot_state",
    "mapping_flag",
    "timeout_class",
    "flow_way",
)
_MAP_FLAGS = {"0": 0, "BPF_F_NO_PREALLOC": 1 << 0, "BPF_F_MMAPABLE": 1 << 10}

Value = int | bytes | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a struct. ``count`` is None for a single value, not an array."""

    name: str
    type_name: str
    offset: int
    element_size: int
    count: int | None

    @property
    def size(self) -> int:
        """Octets of the whole member."""
        return self.element_size * (1 if self.count is None else self.count)


@dataclass(frozen=True)
class Struct:
    """A struct of the contract. ``nested`` holds the structs its members are made of."""

    name: str
    size: int
    fields: tuple[Field, ...]
    nested: Mapping[str, Struct]

    def pack(self, **values: Value) -> bytes:
        """The bytes of the struct. Every field must be given, except ``reserved…``.

        Numbers for __u fields, bytes in network order for __be fields, sequences for arrays
        (bytes for an array of __be), mappings for structs. TypeError for a name too many or
        too few, ValueError for a value of the wrong shape.
        """
        given = dict(values)
        out = bytearray(self.size)
        for field in self.fields:
            if field.name.startswith("reserved"):
                continue
            if field.name not in given:
                raise TypeError(f"struct {self.name}: field {field.name} is missing")
            packed = self._pack_field(field, given.pop(field.name))
            if len(packed) != field.size:
                raise ValueError(
                    f"struct {self.name}: {field.name} takes {field.size} bytes, not {len(packed)}"
                )
            out[field.offset : field.offset + field.size] = packed
        if given:
            raise TypeError(f"struct {self.name} has no field {', '.join(given)}")
        return bytes(out)

    def _pack_field(self, field: Field, value: Value) -> bytes:
        if isinstance(value, bytes):
            return value
        if field.count is None:
            return self._pack_element(field, value)
        if not isinstance(value, Sequence):
            raise ValueError(f"struct {self.name}: {field.name} is an array")
        return b"".join(self._pack_element(field, element) for element in value)

    def _pack_element(self, field: Field, value: Value) -> bytes:
        if field.type_name in self.nested:
            if not isinstance(value, Mapping):
                raise ValueError(f"struct {self.name}: {field.name} is a struct")
            return self.nested[field.type_name].pack(**value)
        if not isinstance(value, int) or field.type_name.startswith("__be"):
            raise ValueError(f"struct {self.name}: {field.name} = {value!r}")
        try:
            return value.to_bytes(field.element_size, sys.byteorder)
        except OverflowError as error:
            raise ValueError(f"struct {self.name}: {field.name} = {value}: {error}") from error

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Named values again: the inverse of ``pack``; nested structs stay bytes."""
        return {field.name: self._unpack_field(field, data) for field in self.fields}

    def reader(self, *names: str) -> struct.Struct:
        """Reads these members, numbers in the struct's own order, and skips the others.

        For many structs in a row: ``unpack`` asks for the layout each time.
        """
        wanted = [field for field in self.fields if field.name in names]
        if [field.name for field in wanted] != list(names):
            raise ValueError(f"struct {self.name} has not {', '.join(names)} in this order")
        codes = (
            _SCALARS[field.type_name][1] if field in wanted else f"{field.size}x"
            for field in self.fields
        )
        return struct.Struct("=" + "".join(codes))

    def _unpack_field(self, field: Field, data: bytes) -> Any:
        raw = data[field.offset : field.offset + field.size]
        if field.type_name.startswith("__be") or field.type_name in self.nested:
            return raw
        _, code = _SCALARS[field.type_name]
        numbers = struct.unpack(f"={field.count or 1}{code}", raw)
        return numbers[0] if field.count is None else numbers


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map of ``bpf/maps.h``: sizes in bytes, ``entries`` elements."""

    name: str
    map_type: str
    key_type: str
    key_size: int
    value_type: str
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True)
class Contract:
    """Everything both sides share, for one choice of capacities (the ``-D`` numbers)."""

    numbers: Mapping[str, int]
    enums: Mapping[str, Mapping[str, int]]
    structs: Mapping[str, Struct]
    maps: tuple[MapSpec, ...]
    capacities: Mapping[str, int]

    def __getitem__(self, struct_name: str) -> Struct:
        return self.structs[struct_name]

    def number(self, name: str) -> int:
        """The value of an enumerator."""
        return self.numbers[name]

    def assertions(self) -> str:
        """C text that compiles only if every size and offset is what was understood here."""
        lines = []
        for layout in self.structs.values():
            lines.append(_assertion(f"sizeof(struct {layout.name})", layout.size))
            lines.extend(
                _assertion(f"__builtin_offsetof(struct {layout.name}, {field.name})", field.offset)
                for field in layout.fields
            )
        return "\n".join(lines) + "\n"

    def fingerprint(self, map_names: Sequence[str]) -> int:
        """64 bits that change with the layout or the meaning of what the named maps hold."""
        text = repr(
            [
                (spec, self._fields_of(spec.key_type), self._fields_of(spec.value_type))
                for spec in self.maps
                if spec.name in map_names
            ]
            + [self.enums[name] for name in _ENUMS_IN_MAPS]
        )
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def _fields_of(self, type_name: str) -> tuple[Field, ...]:
        return self.structs[type_name].fields if type_name in self.structs else ()


def _assertion(expression: str, value: int) -> str:
    return f'_Static_assert({expression} == {value}, "mapxdp.contract misread contract.h");'


_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.LShift: operator.lshift,
}


def _evaluate(expression: str, names: Mapping[str, int]) -> int:
    """A constant expression of the contract: numbers, names, + * / <<."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"not a constant expression of the contract: {expression}")

    return value(ast.parse(expression.strip(), mode="eval").body)


def _read_enums(text: str, names: dict[str, int]) -> dict[str, dict[str, int]]:
    """The enums by name; each enumerator is also added to ``names``."""
    enums: dict[str, dict[str, int]] = {}
    for enum in _ENUM.finditer(text):
        members = enums[enum["name"]] = {}
        following = 0
        for entry in filter(None, (part.strip() for part in enum["body"].split(","))):
            name, _, expression = (part.strip() for part in entry.partition("="))
            members[name] = _evaluate(expression, names) if expression else following
            names[name] = members[name]
            following = members[name] + 1
    return enums


def _read_structs(text: str, names: Mapping[str, int]) -> dict[str, Struct]:
    structs: dict[str, Struct] = {}
    for declaration in _STRUCT.finditer(text):
        fields: list[Field] = []
        end = alignment = 0
        for member in _FIELD.finditer(declaration["body"]):
            type_name = _bare(member["type"])
            size, align = _size_and_alignment(type_name, structs)
            count = _evaluate(member["count"], names) if member["count"] else None
            offset = -(-end // align) * align
            fields.append(Field(member["name"], type_name, offset, size, count))
            end = offset + fields[-1].size
            alignment = max(alignment, align)
        size = -(-end // alignment) * alignment
        structs[declaration["name"]] = Struct(declaration["name"], size, tuple(fields), structs)
    return structs


def _bare(type_name: str) -> str:
    return type_name.removeprefix("struct ")


def _size_and_alignment(type_name: str, structs: Mapping[str, Struct]) -> tuple[int, int]:
    if type_name in _SCALARS:
        size = _SCALARS[type_name][0]
        return size, size
    layout = structs[type_name]
    return layout.size, max(
        _size_and_alignment(field.type_name, structs)[1] for field in layout.fields
    )


def read_contract(**capacities: int) -> Contract:
    """Reads the C declarations for these capacities (``SLOTS``, ``FLOWS`` and so on)."""
    text = _COMMENT.sub("", bpf_source.read("contract.h"))
    numbers = dict(capacities)
    enums = _read_enums(text, numbers)
    structs = _read_structs(text, numbers)
    maps = tuple(
        MapSpec(
            name=entry["name"],
            map_type=entry["type"],
            key_type=_bare(entry["key"]),
            key_size=_size_and_alignment(_bare(entry["key"]), structs)[0],
            value_type=_bare(entry["value"]),
            value_size=_size_and_alignment(_bare(entry["value"]), structs)[0],
            entries=_evaluate(entry["entries"], numbers),
            flags=_MAP_FLAGS[entry["flags"]],
        )
        for entry in _MAP.finditer(_COMMENT.sub("", bpf_source.read("maps.h")))
    )
    return Contract(numbers, enums, structs, maps, dict(capacities))
