"""Components and their order, on small libraries that gcc makes here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.errors import LibraryError
from rumphyper.kernel import folders
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.loader import load
from rumphyper.kernel.ordering import sort_by_need

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc"), reason="gcc (apt install gcc) is missing"
)

KERNEL = {
    "rump": "int rumpns_core = 1; int rumpuser_malloc(void);"
    "int rump_init(void) { return rumpuser_malloc(); }",
    "rumpnet": "extern int rumpns_core; int rumpns_faction = 2;"
    "__attribute__((weak)) int rumpns_bridge_output(void) { return -1; }"
    "int rumpns_f(void) { return rumpns_core; }",
    "rumpnet_net": "int rumpns_f(void); int rumpns_bridge_output(void);"
    "int rumpns_net(void) { return rumpns_f() + 10 * rumpns_bridge_output(); }",
    "rumpnet_bridge": "int rumpns_net(void);"
    "int rumpns_bridge_output(void) { return 5; }"
    "int rumpns_b(void) { return rumpns_net(); }",
    "rumpnet_netinet": "int rumpns_net(void); int rumpns_helper(void);"
    "int rumpns_inet(void) { return rumpns_net() + rumpns_helper(); }",
    "rumpkern_helper": "int rumpns_helper(void) { return 100; }",
    "rumpuser": "int rumpuser_malloc(void) { return 42; }",
}

Build = Callable[..., Path]


def compile_library(folder: Path, name: str, text: str) -> None:
    source, library = folder / "s.c", folder / f"lib{name}.so"
    source.write_text(text)
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(**sources: str) -> Path:
        for name, text in sources.items():
            compile_library(tmp_path, name, text)
        return tmp_path

    return make


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rump")
    for name, text in KERNEL.items():
        compile_library(folder, name, text)
    return folder


def test_names(kernel: Path) -> None:
    libraries = Libraries([str(kernel)])
    assert set(libraries.components) == {
        *("kern", "rumpnet", "net", "bridge", "netinet", "helper")
    }
    for name in ("net", "rumpnet_net", "librumpnet_net.so", "librumpnet_net.so.0"):
        assert libraries.find(name).path == str(kernel / "librumpnet_net.so")
    assert libraries.rumpuser == str(kernel / "librumpuser.so")


def test_what_is_needed_comes_too_and_first(kernel: Path) -> None:
    plan = Libraries([str(kernel)]).plan(["netinet"])
    order = [component.name for component in plan.order]
    assert set(order) == {"kern", "rumpnet", "net", "helper", "netinet"}
    for name, others in plan.needs.items():
        assert all(order.index(other) < order.index(name) for other in others)
    assert plan.needs["netinet"] == {"net", "helper"}
    assert plan.hypercalls == {"rumpuser_malloc"}
    assert not plan.cycles


def test_a_component_may_be_named_twice(kernel: Path) -> None:
    libraries = Libraries([str(kernel)])
    for names in (["netinet", "netinet"], ["netinet", "kern", "rumpnet_netinet"]):
        assert libraries.plan(names).order == libraries.plan(["netinet"]).order


def test_the_strong_definition_is_found_first(kernel: Path) -> None:
    search = [c.name for c in Libraries([str(kernel)]).plan(["bridge"]).search]
    assert search.index("bridge") < search.index("rumpnet")


def test_loading_gives_the_strong_definition(kernel: Path) -> None:
    program = (
        "import ctypes, sys\n"
        "from rumphyper.kernel.libraries import Libraries\n"
        "from rumphyper.kernel.loader import load\n"
        "libraries = Libraries([sys.argv[1]])\n"
        "ctypes.CDLL(libraries.rumpuser, ctypes.RTLD_GLOBAL)\n"
        "handle = load(libraries.plan(sys.argv[2:]))\n"
        "print(handle.rump_init(), handle.rumpns_net())\n"
    )
    for names, answer in ((["net"], "42 -9"), (["bridge"], "42 51")):
        result = subprocess.run(
            [sys.executable, "-c", program, str(kernel), *names],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.stdout.strip() == answer, result.stderr


def test_a_missing_component_says_what_was_looked_for_where(kernel: Path) -> None:
    with pytest.raises(LibraryError) as caught:
        Libraries([str(kernel)]).plan(["netinte"])
    assert "librumpnet_netinte.so" in str(caught.value)
    assert str(kernel) in str(caught.value)
    assert "netinet" in caught.value.remedy


def test_no_library_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.VARIABLE, f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(LibraryError, match=r"librump\.so") as caught:
        Libraries()
    assert f"{tmp_path}/a, {tmp_path}/b" in str(caught.value)
    assert folders.VARIABLE in caught.value.remedy


def test_a_symbol_that_nobody_defines(build: Build) -> None:
    folder = build(
        rump="int rump_init(void) { return 0; }",
        rumpnet_net="int rumpns_gone(void); int f(void) { return rumpns_gone(); }",
    )
    with pytest.raises(LibraryError, match="rumpns_gone") as caught:
        Libraries([str(folder)]).plan(["net"])
    assert caught.value.thing == str(folder / "librumpnet_net.so")


def test_another_architecture(build: Build) -> None:
    folder = build(
        rump="int rump_init(void) { return 0; }", rumpnet_net="int rumpns_x;"
    )
    path = folder / "librumpnet_net.so"
    data = bytearray(path.read_bytes())
    data[18:20] = (8).to_bytes(2, "little")  # e_machine: mips
    path.write_bytes(data)
    with pytest.raises(LibraryError, match="mips") as caught:
        Libraries([str(folder)]).plan(["net"])
    assert "this Python is" in caught.value.cause


def test_the_loaders_error_names_the_library(build: Build) -> None:
    folder = build(
        rump="int rump_init(void) { return 0; }",
        rumpnet_net="int nobodys_function(void); int (*p)(void) = nobodys_function;",
    )
    plan = Libraries([str(folder)]).plan(["net"])
    with pytest.raises(LibraryError, match="nobodys_function") as caught:
        load(plan)
    assert "'net'" in caught.value.remedy


def test_folders_of_the_variable_add_up(
    build: Build, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = build(rumpnet_mine="int rumpns_mine;", rumpnet_net="int rumpns_other;")
    monkeypatch.setenv(folders.VARIABLE, f"{extra}:{kernel}")
    libraries = Libraries()
    assert libraries.find("mine").path.startswith(str(extra))
    assert libraries.find("net").path.startswith(str(extra))
    assert libraries.find("netinet").path.startswith(str(kernel))


def test_versions_of_one_library(tmp_path: Path) -> None:
    for name in ("librump.so.0", "librump.so.0.1", "librumpnet.so", "librumpnet.so.7"):
        (tmp_path / name).touch()
    for name in ("libtrump.so", "librump.a", "librump.so.old"):
        (tmp_path / name).touch()
    found = folders.library_files(str(tmp_path))
    assert {name: Path(path).name for name, path in found.items()} == {
        "rump": "librump.so.0.1",
        "rumpnet": "librumpnet.so",
    }


def test_sort_by_need_reports_circles() -> None:
    order, circles = sort_by_need(
        {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    )
    assert order.index("d") < order.index("b") < order.index("a") < order.index("e")
    assert [set(circle) for circle in circles] == [{"b", "c"}]
