# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What can be said of the text without running it: style, types, warnings, layers, names."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.domains import domain
from mapxdp.datapath import tables

ROOT = Path(__file__).parents[2]
BPF = ROOT / "bpf"
DOCUMENTS = sorted(
    path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
)
TOOLS = ROOT / "tools"
C_FILES = sorted([*BPF.rglob("*.[ch]"), *(ROOT / "tests").rglob("*.[ch]"), *TOOLS.rglob("*.[ch]")])


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> Path:
    """A tool of the virtual environment."""
    return Path(sys.executable).parent / name


def needs(program: str) -> str:
    """The path of a compiler; skips without it, fails in CI."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing: apt install {program}")
        pytest.skip(f"{program} is missing: apt install {program}")
    return found


def test_ruff_check() -> None:
    run(tool("ruff"), "check", ".")


def test_ruff_format() -> None:
    run(tool("ruff"), "format", "--check", ".")


def test_mypy_strict() -> None:
    run(sys.executable, "-m", "mypy")


def test_clang_format() -> None:
    run(tool("clang-format"), "--dry-run", "--Werror", *C_FILES)


def compile_bpf(source: Path, made: Path, *options: str) -> None:
    """Plain clang with every warning, as bcc would define things."""
    contract = tables.contract_for(domain("map-t").port_set)
    defines = [f"-D{name}={value}" for name, value in contract.capacities.items()]
    multiarch = subprocess.run(
        [needs("gcc"), "-print-multiarch"], capture_output=True, text=True, check=True
    ).stdout.strip()
    run(
        needs("clang"),
        *("-target", "bpf", "-O2", "-g", "-c", "-Wall", "-Wextra", "-Werror", "-Wshadow"),
        *("-Wimplicit-fallthrough", "-Wenum-conversion", *defines, *options),
        f"-I/usr/include/{multiarch}",
        *(source, "-o", made),
    )


@pytest.mark.parametrize("l2_length", [0, 14])
@pytest.mark.parametrize("source", sorted(BPF.glob("*.bpf.c")), ids=lambda path: path.name)
def test_second_compiler(source: Path, l2_length: int, tmp_path: Path) -> None:
    """Plain clang compiles what bcc compiles, without a warning, and inlines every function."""
    made = tmp_path / "made.o"
    compile_bpf(source, made, f"-DL2_LENGTH={l2_length}")
    assert b"\x7fELF" in made.read_bytes()[:4]


@pytest.mark.parametrize("header", sorted(BPF.glob("*.h")), ids=lambda path: path.name)
def test_a_header_includes_what_it_needs(header: Path, tmp_path: Path) -> None:
    """Alone, before any other: whoever includes it need not know its order."""
    alone = tmp_path / "alone.c"
    alone.write_text(f'#include "{header}"\n', encoding="utf-8")
    compile_bpf(alone, tmp_path / "made.o", "-DL2_LENGTH=14", "-Wno-unused-function")


#: Which outside library only which module may import.
ONLY_IMPORTERS = {
    "bcc": {"mapxdp/datapath/compiler.py"},
    "pyroute2": {"mapxdp/conntrack.py", "mapxdp/links.py", "mapxdp/netdev.py"},
    "rich": {"mapxdp/views/", "mapxdp/commands/", "mapxdp/lab/run.py"},
    "scapy": {"mapxdp/software/capture.py"},
}


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


MODULES = {
    str(path.relative_to(ROOT)): imports_of(path) for path in (ROOT / "mapxdp").rglob("*.py")
}


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_outside_libraries_have_one_home(library: str) -> None:
    importers = {
        module
        for module, imports in MODULES.items()
        if any(name == library or name.startswith(f"{library}.") for name in imports)
    }
    allowed = ONLY_IMPORTERS[library]
    strangers = {module for module in importers if not module.startswith(tuple(allowed))}
    assert not strangers


def test_the_model_imports_the_standard_library_only() -> None:
    for module, imports in MODULES.items():
        if module.startswith("mapxdp/model/"):
            for name in imports:
                top = name.split(".")[0]
                inside = name.startswith(("mapxdp.model", "mapxdp.errors"))
                assert top in sys.stdlib_module_names or inside, f"{module} imports {name}"


def test_the_software_path_knows_nothing_of_the_c_code() -> None:
    """It is the oracle: it may share the model and the names of the reasons, nothing else."""
    for module, imports in MODULES.items():
        if module.startswith("mapxdp/software/"):
            assert not any(
                name.startswith(("mapxdp.datapath", "mapxdp.contract", "mapxdp.bpf_source"))
                for name in imports
            ), module


#: Each layer of the C text may include those before it (docs/architecture.md).
C_LAYERS = (
    {"inline.h", "contract.h", "reasons.h", "maps.h"},
    {"byteorder.h", "csum.h", "headers.h", "packet.h", "fragment.h", "parse.h"},
    {
        "port_set.h",
        "map_address.h",
        "rfc6052.h",
        "rfc7915_46.h",
        "rfc7915_64.h",
        "rfc7915_icmp.h",
        "rfc4884.h",
        "quote.h",
        "encapsulation.h",
        "traffic_class.h",
        "ipv4_options.h",
        "udp_checksum.h",
        "ipv6_extension.h",
        "mss.h",
        "mapping_state.h",
        "transport_change.h",
        "choose.h",
        "virtual_port.h",
    },
    {
        "portable.h",
        "config.h",
        "scratch.h",
        "counters.h",
        "rule_tree.h",
        "rules.h",
        "pool.h",
        "event_log.h",
        "napt44.h",
        "napt44_own.h",
        "napt44_flow.h",
        "napt44_alloc.h",
        "napt44_share.h",
        "napt44_64.h",
        "filtering.h",
        "fairness.h",
        "sweep.h",
        "control.h",
        "fragment_table.h",
    },
    {
        "translate46.h",
        "translate64.h",
        "hairpin.h",
        "refusal.h",
        "refusal_64.h",
        "other_protocol.h",
        "napt44_quoted.h",
        "icmp_error46.h",
        "icmp_error64.h",
        "tunnel_error.h",
        "shortcut.h",
        "shortcut_end.h",
        "shortcut_learn.h",
        "next_hop.h",
        "accelerate46.h",
        "accelerate64.h",
        "rewrite.h",
    },
    {
        "hook_tc.h",
        "hook_tc_learn.h",
        "hook_tc_confirm.h",
        "hook_tc_accelerator.h",
        "hook_xdp.h",
        "hook_xdp_accelerator.h",
        "emit_mapt.h",
        "emit_mape.h",
        "hook_tc_46.h",
        "hook_tc_around.h",
        "hook_tc_sum.h",
        "hook_tc_prepare.h",
        "hook_tc_extension.h",
        "hook_tc_other.h",
        "hook_tc_mss.h",
        "hook_tc_error.h",
        "hook_tc_error_46.h",
        "hook_tc_error_mapt.h",
        "hook_tc_error_mape.h",
        "hook_tc_control.h",
        "hook_tc_fragment.h",
        "hook_tc_fragment_46.h",
        "hook_tc_fragment_64.h",
        "hook_tc_pieces_46.h",
        "hook_tc_pieces_mapt.h",
        "hook_tc_pieces_mape.h",
        "hook_tc_pieces_mapt_64.h",
        "hook_tc_pieces_mape_64.h",
    },
    {
        "mapt.bpf.c",
        "mapt_rare.bpf.c",
        "mapt_accelerator.bpf.c",
        "mape.bpf.c",
        "mape_rare.bpf.c",
        "mape_accelerator.bpf.c",
        "trial.bpf.c",
    },
)


def test_c_layers() -> None:
    level = {name: number for number, names in enumerate(C_LAYERS) for name in names}
    files = {path.name: path for path in BPF.glob("*.[ch]")}
    assert set(files) == set(level), "a new file needs its place in a layer"
    for name, path in files.items():
        for included in re.findall(r'#include "(.+)"', path.read_text(encoding="utf-8")):
            assert level[included] <= level[name], f"{name} includes {included}"


def test_only_hooks_know_their_hook() -> None:
    for path in BPF.glob("*.[ch]"):
        if path.name not in {"portable.h", *C_LAYERS[-2], *C_LAYERS[-1]}:
            text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            assert not re.search(r"__sk_buff|xdp_md|TC_ACT|\bXDP_|kernel_skb", text), path.name


def test_docs_counters_is_current() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "counters.py"], capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "counters.md").read_text(encoding="utf-8")
    assert page == made, "tools/counters.py > docs/counters.md"


@pytest.mark.parametrize("page", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page.parent / target).exists(), target


def test_files_that_are_named_in_c_exist() -> None:
    for path in C_FILES:
        for name in re.findall(r"\bdocs/[\w.-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_the_architecture_names_every_c_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for names in C_LAYERS:
        for name in names:
            assert f"`{name}`" in text, name


def test_every_file_names_its_licence() -> None:
    for path in [*C_FILES, *(ROOT / "mapxdp").rglob("*.py"), *TOOLS.rglob("*.py")]:
        head = path.read_text(encoding="utf-8").splitlines()[:2]
        assert any("SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause" in x for x in head), path


def test_no_debugging_left() -> None:
    for path in BPF.glob("*.[ch]"):
        assert "printk" not in path.read_text(encoding="utf-8")
