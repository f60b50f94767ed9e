# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does Python understand ``bpf/contract.h`` as a compiler does, and notice when it changes?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mapxdp import bpf_source
from mapxdp.contract import Contract, Field, Struct, read_contract
from mapxdp.datapath.maps import STATE_MAPS

CAPACITIES = {
    "SLOTS": 256,
    "EIM_ENTRIES": 1792,
    "FLOWS": 1024,
    "PERMISSIONS": 512,
    "EVENT_BYTES": 4096,
    "RULES": 16,
    "TREE_NODES": 8,
    "SHORTCUTS": 4,
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contract(**CAPACITIES)


def compiler(name: str) -> str:
    """The path of a compiler; a test without it is skipped, but not in CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is missing: apt install {'gcc' if name == 'cc' else name}"
        if os.environ.get("CI"):
            pytest.fail(f"tests of C may not be skipped in CI, but {reason}")
        pytest.skip(reason)
    return path


def multiarch() -> list[str]:
    """Where Debian keeps <asm/types.h>, which a cross compiler does not find by itself."""
    name = sysconfig.get_config_var("MULTIARCH")
    return [f"-I/usr/include/{name}"] if name else []


COMPILERS = {
    "host": ("cc", ["-std=gnu11"]),
    "bpf": ("clang", ["-target", "bpf", "-ferror-limit=0", *multiarch()]),
}


def check_syntax(
    target: str, text: str, folder: Path, headers: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Shows the compiler ``contract.h`` and what follows it."""
    name, options = COMPILERS[target]
    source = folder / "contract.c"
    source.write_text(f'#include <linux/types.h>\n#include "contract.h"\n{text}\n')
    return subprocess.run(
        [
            compiler(name),
            *options,
            "-fsyntax-only",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-I{headers or bpf_source.bpf_directory()}",
            *(f"-D{name}={value}" for name, value in CAPACITIES.items()),
            str(source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", COMPILERS)
def test_the_compiler_agrees_on_every_layout(
    target: str, contract: Contract, tmp_path: Path
) -> None:
    result = check_syntax(target, contract.assertions(), tmp_path)
    assert result.returncode == 0, result.stderr


def one_more(assertion: str) -> str:
    """The same assertion with a number that is not true."""
    expression, rest = assertion.split(" == ")
    number, words = rest.split(",", 1)
    return f"{expression} == {int(number) + 1},{words}"


@pytest.mark.parametrize("target", COMPILERS)
def test_the_compiler_refuses_each_wrong_layout(
    target: str, contract: Contract, tmp_path: Path
) -> None:
    """All assertions made wrong at once: the compiler complains of every one."""
    right = contract.assertions().splitlines()
    text = "\n".join(one_more(assertion) for assertion in right)
    result = check_syntax(target, text, tmp_path)
    assert result.returncode != 0
    for number, assertion in enumerate(right, start=1):
        assert f"contract.c:{number + 2}:" in result.stderr, assertion


def test_sizes_and_all_offsets_are_asserted(contract: Contract) -> None:
    lines = contract.assertions().splitlines()
    fields = sum(len(layout.fields) for layout in contract.structs.values())
    assert len(set(lines)) == len(lines) == len(contract.structs) + fields


@pytest.mark.parametrize("target", COMPILERS)
def test_the_compiler_agrees_on_every_enumerator(
    target: str, contract: Contract, tmp_path: Path
) -> None:
    names = contract.numbers.keys() - CAPACITIES.keys()
    text = "".join(f'_Static_assert({name} == {contract.number(name)}, "");\n' for name in names)
    result = check_syntax(target, text, tmp_path)
    assert result.returncode == 0, result.stderr


def bodies(keyword: str) -> dict[str, list[str]]:
    """The lines between the braces of each ``struct`` or ``enum``, by its name."""
    found: dict[str, list[str]] = {}
    name = None
    for line in bpf_source.read("contract.h").splitlines():
        if line.startswith(f"{keyword} "):
            name, _, rest = line.removeprefix(f"{keyword} ").partition(" {")
            found[name] = [rest]
        elif name is not None:
            found[name].append(line)
        if "};" in line:
            name = None
    return found


def test_no_struct_and_no_field_is_overlooked(contract: Contract) -> None:
    """Counted another way: each line with a semicolon declares one field."""
    expected = {
        name: sum(";" in line.replace("};", "") for line in lines)
        for name, lines in bodies("struct").items()
    }
    assert {name: len(layout.fields) for name, layout in contract.structs.items()} == expected


def test_no_enumerator_is_overlooked(contract: Contract) -> None:
    """Counted another way: outside comments, a comma or the brace ends each enumerator."""
    expected = 0
    for lines in bodies("enum").values():
        code = "".join(line.split("/*")[0] for line in lines).split("}")[0]
        expected += sum(bool(part.strip()) for part in code.split(","))
    assert len(contract.numbers) - len(CAPACITIES) == expected


def test_no_map_is_overlooked(contract: Contract) -> None:
    lines = [line.strip() for line in bpf_source.read("maps.h").splitlines()]
    names = [line[2:].split(",")[0] for line in lines if line.startswith("X(")]
    assert [spec.name for spec in contract.maps] == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIRECTION_46", 0),
        ("DIRECTIONS", 2),
        ("PROTOCOLS", 3),
        ("NAPT44_BPF", 1),
        ("SLOT_DYING", 4),
        ("FLAG_SEVERAL_PEERS", 32),
        ("SLOT_FLOW", 7),
        ("FLOW_64", 1),
        ("TIMEOUTS", 512),
        ("SLOTS", 256),
    ],
)
def test_numbers(name: str, value: int, contract: Contract) -> None:
    assert contract.number(name) == value


def test_a_number_nobody_declared(contract: Contract) -> None:
    with pytest.raises(KeyError):
        contract.number("FLAG_OF_TRUCE")


@pytest.mark.parametrize("slots", [64, 256, 2048, 65536])
def test_maps_are_as_big_as_the_port_set(slots: int) -> None:
    contract = read_contract(**CAPACITIES | {"SLOTS": slots, "EIM_ENTRIES": 9})
    maps = {spec.name: spec for spec in contract.maps}
    assert (maps["slots"].value_size, maps["slots"].entries) == (64, 3 * slots)
    assert (maps["flows"].value_size, maps["flows"].entries) == (64, 1024)
    assert maps["pool"].value_size == contract["pool"].size
    pool = {field.name: field.size for field in contract["pool"].fields}
    assert pool["taken"] == pool["shared"] == 3 * slots // 8
    assert pool["flows_taken"] == 1024 // 8
    assert (maps["eim"].key_size, maps["eim"].value_size, maps["eim"].entries) == (8, 8, 9)
    assert (maps["flow_index"].key_size, maps["flow_index"].entries) == (16, 2 * 1024)
    assert (maps["permissions"].key_size, maps["permissions"].entries) == (16, 512)
    assert (maps["events"].key_size, maps["events"].value_size) == (0, 0)
    assert maps["events"].entries == 4096
    assert (maps["scratch"].value_size, maps["scratch"].entries) == (4 * 132, 1)
    assert (maps["counters"].value_size, maps["counters"].entries) == (16, 2 * 128)
    assert maps["config"].value_size == 8 + 2 * contract["config"].size
    assert (maps["rules"].value_size, maps["rules"].entries) == (contract["rule"].size, 16)
    for name in ("rule_by_ipv4", "rule_by_ipv6"):
        assert (maps[name].value_size, maps[name].entries) == (64, 8)
        assert maps[name].flags == 1 << 10
    assert maps["rule_by_psid"].flags == 1
    assert maps["slots"].flags == maps["flows"].flags == 1 << 10
    assert {spec.name: spec.map_type for spec in maps.values() if spec.map_type != "ARRAY"} == {
        "rule_by_psid": "HASH",
        "eim": "HASH",
        "flow_index": "HASH",
        "permissions": "LRU_HASH",
        "fragments": "LRU_HASH",
        "fragment_work": "PERCPU_ARRAY",
        "shortcut_work": "PERCPU_ARRAY",
        "events": "RINGBUF",
        "counters": "PERCPU_ARRAY",
        "scratch": "PERCPU_ARRAY",
        "objects": "PERCPU_ARRAY",
        "programs": "PROG_ARRAY",
    }


# Packing and unpacking.


def value_of(layout: Struct, field: Field, start: int) -> Any:
    """A value that no other field has: octets that count up from ``start``."""

    def element(number: int) -> Any:
        octets = bytes((start + number + at) % 251 + 1 for at in range(field.element_size))
        if field.type_name in layout.nested:
            return values_of(layout.nested[field.type_name], start + number)
        if field.type_name.startswith("__be"):
            return octets
        return int.from_bytes(octets, sys.byteorder)

    if field.count is None:
        return element(0)
    elements = [element(number) for number in range(field.count)]
    return b"".join(elements) if field.type_name.startswith("__be") else elements


def values_of(layout: Struct, start: int = 0) -> dict[str, Any]:
    """A value for each field of a struct that is not reserved."""
    return {
        field.name: value_of(layout, field, start + 7 * number)
        for number, field in enumerate(layout.fields)
        if not field.name.startswith("reserved")
    }


def as_unpacked(layout: Struct, values: dict[str, Any]) -> dict[str, Any]:
    """What unpack gives for packed values: arrays are tuples, nested structs stay bytes."""
    expected: dict[str, Any] = {}
    for field in layout.fields:
        value = values.get(field.name, 0 if field.count is None else (0,) * field.count)
        if field.type_name in layout.nested:
            nested = layout.nested[field.type_name]
            elements = [value] if field.count is None else value
            value = b"".join(nested.pack(**element) for element in elements)
        elif isinstance(value, list):
            value = tuple(value)
        expected[field.name] = value
    return expected


STRUCTS = list(read_contract(**CAPACITIES).structs)


@pytest.mark.parametrize("name", STRUCTS)
def test_what_is_packed_is_unpacked(name: str, contract: Contract) -> None:
    layout = contract[name]
    values = values_of(layout)
    data = layout.pack(**values)
    assert len(data) == layout.size
    assert layout.unpack(data) == as_unpacked(layout, values)


def test_a_reader_reads_some_members_of_many_structs(contract: Contract) -> None:
    layout = contract["endpoint"]
    many = b"".join(
        layout.pack(ipv4=bytes(4), port=port, protocol=port % 3, zero=0) for port in range(10)
    )
    reader = layout.reader("port", "protocol")
    assert reader.size == layout.size
    assert list(reader.iter_unpack(many)) == [(port, port % 3) for port in range(10)]


@pytest.mark.parametrize("names", [("protocol", "port"), ("port", "nonsense"), ("port", "port")])
def test_a_reader_of_another_order_is_refused(names: tuple[str, str], contract: Contract) -> None:
    with pytest.raises(ValueError, match="struct endpoint has not"):
        contract["endpoint"].reader(*names)


def test_octets_lie_where_c_has_them(contract: Contract) -> None:
    endpoint = contract["endpoint"]
    port = (40000).to_bytes(2, sys.byteorder)
    packed = endpoint.pack(ipv4=bytes([192, 0, 2, 18]), port=40000, protocol=2, zero=0)
    assert packed == bytes([192, 0, 2, 18]) + port + bytes([2, 0])


def test_reserved_fields_are_zero_and_cannot_be_given(contract: Contract) -> None:
    host = contract["host"]
    values = values_of(host)
    assert host.unpack(host.pack(**values))["reserved"] == (0, 0, 0)
    with pytest.raises(TypeError, match="no field reserved"):
        host.pack(**values, reserved=[0, 0, 0])


@pytest.mark.parametrize("name", STRUCTS)
def test_a_missing_field_is_refused(name: str, contract: Contract) -> None:
    layout = contract[name]
    values = values_of(layout)
    for missing in values:
        rest = {field: value for field, value in values.items() if field != missing}
        with pytest.raises(TypeError, match=f"struct {name}: field {missing} is missing"):
            layout.pack(**rest)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_field_too_many_is_refused(name: str, contract: Contract) -> None:
    layout = contract[name]
    with pytest.raises(TypeError, match=f"struct {name} has no field colour"):
        layout.pack(**values_of(layout), colour=0)


PREFIX = {"address": bytes(4), "mask": bytes(4)}


@pytest.mark.parametrize(
    ("struct", "changes"),
    [
        pytest.param("endpoint", {"ipv4": bytes(3)}, id="an address of 3 octets"),
        pytest.param("endpoint", {"ipv4": bytes(5)}, id="an address of 5 octets"),
        pytest.param("endpoint", {"ipv4": 1}, id="a number for an address"),
        pytest.param("endpoint", {"port": "80"}, id="text for a number"),
        pytest.param("endpoint", {"port": None}, id="nothing for a number"),
        pytest.param("endpoint", {"port": bytes(1)}, id="one octet for a __u16"),
        pytest.param("endpoint", {"port": [80]}, id="a list for a number"),
        pytest.param("endpoint", {"port": {"a": 1}}, id="a struct for a number"),
        pytest.param("config", {"map_address": bytes(15)}, id="an IPv6 address of 15 octets"),
        pytest.param("config", {"map_address": [1, 2, 3, 4]}, id="numbers for an IPv6 address"),
        pytest.param("config", {"on_link": [PREFIX] * 7}, id="an array too short"),
        pytest.param("config", {"on_link": [PREFIX] * 9}, id="an array too long"),
        pytest.param("config", {"on_link": [1] * 8}, id="numbers for structs"),
        pytest.param("config", {"timeout": [0] * 1023}, id="numbers too few"),
        pytest.param("config", {"timeout": 5}, id="a number for an array"),
        pytest.param("pool", {"taken": [0] * 11}, id="words too few"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(
    struct: str, changes: dict[str, Any], contract: Contract
) -> None:
    layout = contract[struct]
    with pytest.raises(ValueError, match=f"struct {struct}"):
        layout.pack(**(values_of(layout) | changes))


@pytest.mark.parametrize("number", [-1, 1 << 16])
def test_a_number_that_does_not_fit_is_refused(number: int, contract: Contract) -> None:
    values = values_of(contract["endpoint"]) | {"port": number}
    with pytest.raises(ValueError, match="struct endpoint: port"):
        contract["endpoint"].pack(**values)


@pytest.mark.parametrize("change", [{"address": bytes(4)}, PREFIX | {"length": 24}])
def test_a_nested_struct_is_as_strict(change: dict[str, Any], contract: Contract) -> None:
    values = values_of(contract["config"]) | {"on_link": [change] * 8}
    with pytest.raises(TypeError, match="struct ipv4_prefix"):
        contract["config"].pack(**values)


# The fingerprint.


def edited(
    monkeypatch: pytest.MonkeyPatch, folder: Path, edits: Sequence[tuple[str, str, str]]
) -> Contract:
    """The contract of a copy of the C text in which pieces are replaced."""
    texts = {name: bpf_source.read(name) for name in ("contract.h", "maps.h")}
    for name, old, new in edits:
        assert texts[name].count(old) == 1, old
        texts[name] = texts[name].replace(old, new)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(bpf_source, "bpf_directory", lambda: folder)
        return read_contract(**CAPACITIES)


SEEN = {
    "a field of mapping renamed": ("contract.h", "__u32 created;", "__u32 born;"),
    "a field of mapping made of reserved space": (
        "contract.h",
        "__u64 reserved;",
        "__u64 packets;",
    ),
    "a field of host of another size": ("contract.h", "__u64 reserved[3];", "__u64 reserved[2];"),
    "a field of pool": ("contract.h", "__u64 flow_high_water;", "__u64 flows_seen;"),
    "two fields of counter swapped": (
        "contract.h",
        "__u64 packets;\n\t__u64 bytes;",
        "__u64 bytes;\n\t__u64 packets;",
    ),
    "room for more reasons": ("contract.h", "REASONS_MAX = 128", "REASONS_MAX = 256"),
    "a field of instance": ("contract.h", "__u64 created_ns;", "__u64 created_us;"),
    "a bitmap of other words": ("contract.h", "WORD_BITS = 64", "WORD_BITS = 32"),
    "another map type": ("maps.h", "X(eim, HASH,", "X(eim, LRU_HASH,"),
    "another flag": ("maps.h", "PROTOCOLS * SLOTS, BPF_F_MMAPABLE", "PROTOCOLS * SLOTS, 0"),
    "other ends of a flow": (
        "contract.h",
        "enum flow_way { FLOW_46, FLOW_64 }",
        "enum flow_way { FLOW_64, FLOW_46 }",
    ),
    "another timeout class": (
        "contract.h",
        "TIMEOUT_TCP,\n\tTIMEOUT_UDP,",
        "TIMEOUT_UDP,\n\tTIMEOUT_TCP,",
    ),
    "two fields of a key swapped": (
        "contract.h",
        "__u8 protocol; /* enum protocol_index */\n\t__u8 zero;",
        "__u8 zero;\n\t__u8 protocol; /* enum protocol_index */",
    ),
    "another meaning of a slot's state": (
        "contract.h",
        "\tSLOT_FREE,\n",
        "\tSLOT_NOBODYS,\n\tSLOT_FREE,\n",
    ),
    "another meaning of a flag": ("contract.h", "FLAG_CONFIRMED = 1,", "FLAG_CONFIRMED = 32,"),
    "a field of endpoint of another size": (
        "contract.h",
        "__u16 port;\n\t__u8 protocol; /* enum protocol_index */\n\t__u8 zero;",
        "__u32 port;\n\t__u8 protocol;\n\t__u8 zero;",
    ),
}
UNSEEN = {
    "a field of config renamed": ("contract.h", "__u32 ipv4_mtu;", "__u32 largest;"),
    "a field more in config": (
        "contract.h",
        "__u32 on_link_count;",
        "__u32 on_link_count;\n\t__u32 more;",
    ),
    "room for more on-link prefixes": ("contract.h", "ON_LINK_MAX = 8", "ON_LINK_MAX = 16"),
    "a comment": ("contract.h", "One cache line.", "64 bytes."),
    "a program more": ("contract.h", "PROGRAM_RECLAIM,", "PROGRAM_RECLAIM, NEW,"),
}
#: C that the small grammar of the module does not have.
MISREAD = {
    "two fields in one declaration": (
        "contract.h",
        "__u32 port_count;",
        "__u32 port_count, other;",
    ),
    "a bit field": (
        "contract.h",
        "__u32 port_count;",
        "__u32 port_count : 8;\n\t__u32 other : 24;",
    ),
    "a matrix": ("contract.h", "__u64 reserved[3];", "__u64 reserved[3][2];"),
    "a pointer": ("contract.h", "__u64 created_ns;", "void *created_ns;"),
    "an alignment": ("contract.h", "__u32 created;", "__u32 created __attribute__((aligned(64)));"),
}


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("change", MISREAD)
def test_what_python_misreads_does_not_compile(
    change: str, target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = edited(monkeypatch, tmp_path, [MISREAD[change]])
    assert check_syntax(target, "", tmp_path, tmp_path).returncode == 0
    result = check_syntax(target, other.assertions(), tmp_path, tmp_path)
    assert "mapxdp.contract misread contract.h" in result.stderr


#: Structs that are not padded by hand: the compiler then pads, and so must Python.
UNPADDED = {
    "a gap within": ("contract.h", "__u8 zero;", "__u8 zero;\n\t__u8 one;\n\t__u64 wide;"),
    "a gap at the end": ("contract.h", "__u8 zero;", "__u8 zero;\n\t__u8 one;"),
    "a gap before a struct": (
        "contract.h",
        "__u32 on_link_count;",
        "__u32 on_link_count;\n\t__u8 one;",
    ),
}


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("change", UNPADDED)
def test_python_pads_as_the_compiler_does(
    change: str, target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = edited(monkeypatch, tmp_path, [UNPADDED[change]])
    result = check_syntax(target, other.assertions(), tmp_path, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("change", SEEN)
def test_a_change_of_what_is_pinned_is_seen(
    change: str, contract: Contract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = edited(monkeypatch, tmp_path, [SEEN[change]])
    assert other.fingerprint(STATE_MAPS) != contract.fingerprint(STATE_MAPS)


@pytest.mark.parametrize("change", UNSEEN)
def test_a_change_of_anything_else_is_not(
    change: str, contract: Contract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = edited(monkeypatch, tmp_path, [UNSEEN[change]])
    assert other.fingerprint(STATE_MAPS) == contract.fingerprint(STATE_MAPS)


def test_the_fingerprint_is_64_bits_and_the_same_each_time(contract: Contract) -> None:
    fingerprint = contract.fingerprint(STATE_MAPS)
    assert 0 < fingerprint < 1 << 64
    assert read_contract(**CAPACITIES).fingerprint(STATE_MAPS) == fingerprint
    assert read_contract(**CAPACITIES | {"SLOTS": 320}).fingerprint(STATE_MAPS) != fingerprint


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "1 - 1", "len", "SLOTS()", "1.5", "'x'", "SLOTS if 1 else 2"],
)
def test_only_constant_expressions_are_evaluated(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, KeyError)):
        edited(monkeypatch, tmp_path, [("contract.h", "ON_LINK_MAX = 8", f"ON_LINK_MAX = {text}")])
