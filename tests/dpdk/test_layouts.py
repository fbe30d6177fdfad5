"""The layouts before a C compiler and the headers that are installed."""

from __future__ import annotations

import ast
import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rumphyper.dpdk.layouts import LAYOUTS
from rumphyper.dpdk.library import abi_of, dpdk
from rumphyper.dpdk.prototypes import PROTOTYPES
from rumphyper.errors import UnsupportedError
from tests.debian import missing
from tests.dpdk.support import need_dpdk
from tests.judges import tool

STUB = Path(__file__).parents[2] / "stubs" / "libdpdk.pyi"

HEADERS = ("rte_ethdev.h", "rte_mbuf.h", "rte_mempool.h", "rte_bpf.h")
CONSTANTS = """
printf("abi %u\\n", RTE_VER_YEAR + (RTE_VER_MONTH >= 11));
printf("headroom %u\\n", RTE_PKTMBUF_HEADROOM);
printf("ports %u\\n", RTE_MAX_ETHPORTS);
printf("scatter %llu\\n", (unsigned long long)RTE_ETH_RX_OFFLOAD_SCATTER);
printf("segments %llu\\n", (unsigned long long)RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
printf("ptr_mbuf %u\\n", RTE_BPF_ARG_PTR_MBUF);
printf("ptr %u\\n", RTE_BPF_ARG_PTR);
"""


def flags() -> list[str]:
    """What pkg-config tells of libdpdk's headers."""
    tool("gcc")
    ran = subprocess.run(
        [tool("pkg-config"), "--cflags", "libdpdk"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        missing("libdpdk-dev is not installed")
    return ran.stdout.split()


def compiled(folder: Path, lines: list[str]) -> dict[str, int]:
    """Run a C program of printf's of names and numbers; return those."""
    program = folder / "layouts.c"
    includes = "".join(f"#include <{name}>\n" for name in HEADERS)
    body = "\n".join(lines)
    program.write_text(
        f"#include <stdio.h>\n#include <stddef.h>\n#include <rte_version.h>\n"
        f"{includes}int main(void)\n{{\n{body}\nreturn 0;\n}}\n"
    )
    command = ["gcc", "-DALLOW_EXPERIMENTAL_API", *flags(), str(program)]
    subprocess.run([*command, "-o", str(folder / "layouts")], check=True)
    ran = subprocess.run(
        [str(folder / "layouts")], capture_output=True, text=True, check=True
    )
    pairs = (line.rsplit(" ", 1) for line in ran.stdout.splitlines())
    return {name: int(value) for name, value in pairs}


def expression(name: str) -> str:
    structure, _, member = name.partition(".")
    if member:
        return f"offsetof(struct {structure}, {member})"
    return f"sizeof(struct {structure})"


def test_the_layouts_are_those_of_the_headers(tmp_path: Path) -> None:
    names = [f'printf("{name} %zu\\n", {expression(name)});' for name in LAYOUTS[22]]
    found = compiled(tmp_path, [*names, CONSTANTS])
    abi = found.pop("abi")
    rest = {name: found.pop(name) for name in set(found) - set(LAYOUTS[abi])}
    assert found == LAYOUTS[abi]
    assert rest == {
        "headroom": 128,
        "ports": 32,
        "scatter": 1 << 13,
        "segments": 1 << 15,
        "ptr_mbuf": 17,
        "ptr": 16,
    }


def test_every_version_has_every_layout() -> None:
    assert sorted(LAYOUTS) == [22, 23, 24, 25, 26]
    assert len({frozenset(layout) for layout in LAYOUTS.values()}) == 1


@pytest.mark.parametrize(
    ("version", "abi"),
    [
        ("DPDK 21.11.0", 22),
        ("DPDK 22.07.0", 22),
        ("DPDK 22.11.11", 23),
        ("DPDK 23.11.0-rc4", 24),
        ("DPDK 25.03.0", 25),
        ("DPDK 26.07.0", 26),
    ],
)
def test_the_abi_changes_in_november(version: str, abi: int) -> None:
    assert abi_of(version) == abi


@pytest.mark.parametrize("version", ["DPDK 20.11.1", "DPDK 26.11.0", "whatever", ""])
def test_an_unknown_version_is_refused_with_those_that_are_known(version: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        abi_of(version)
    assert repr(version) in str(caught.value)
    for known in ("21.11", "22.11", "23.11", "24.11", "25.11"):
        assert known in str(caught.value)


def test_the_version_found_is_the_one_installed() -> None:
    need_dpdk()
    found = dpdk()
    if shutil.which("pkg-config") is None:
        missing("pkg-config is not installed")
    ran = subprocess.run(
        ["pkg-config", "--modversion", "libdpdk"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        missing("libdpdk-dev is not installed")
    assert found.version.removeprefix("DPDK ") == ran.stdout.strip()
    assert re.search(rf"librte_eal\.so\.{found.abi}", found.path)
    assert Path(found.path).exists()


ANNOTATIONS = {
    None: ("None", "None"),
    ctypes.c_char_p: ("bytes", "bytes"),
    ctypes.c_void_p: ("Address", "int | None"),
}
"""How the stub writes a type as an argument, and as a result; else ``int``."""


def test_the_stub_says_what_the_prototypes_say() -> None:
    (face,) = (
        node
        for node in ast.parse(STUB.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    written = {}
    for node in face.body:
        if isinstance(node, ast.FunctionDef) and node.returns:
            kinds = [arg.annotation for arg in node.args.posonlyargs[1:]]
            texts = [ast.unparse(kind) for kind in kinds if kind]
            written[node.name] = (texts, ast.unparse(node.returns))
    wanted = {
        name: (
            [ANNOTATIONS.get(kind, ("int", "int"))[0] for kind in arguments],
            ANNOTATIONS.get(result, ("int", "int"))[1],
        )
        for prototypes in PROTOTYPES.values()
        for name, (result, arguments) in prototypes.items()
    }
    assert written == wanted
