"""Who answers hypercalls: modes and overrides, with and without librumpuser."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rumphyper.doctor import check_all
from rumphyper.kernel.folders import VARIABLE
from rumphyper.kernel.libraries import Libraries
from tests.judges import tool
from tests.real.netbsd_session import PATIENCE, run, start
from tests.real.rump import MODE, require_rump

pytestmark = pytest.mark.rump


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()


def case(name: str, *arguments: str) -> Any:
    return run(name, *arguments, inside=())


@pytest.mark.usefixtures("mode")
def test_a_class_answers_a_family() -> None:
    assert case("by_class") == {"hours": 1, "works": True, "by": ["python"] * 2}


@pytest.mark.usefixtures("mode")
def test_objects_answer_families() -> None:
    found = case("by_instance")
    assert found == {"hours": 1, "works": True, "asked": True, "loaded": True}


@pytest.mark.usefixtures("mode")
def test_functions_answer_hypercalls() -> None:
    assert case("by_function") == {
        "host": "elsewhere",
        "asked": True,
        "said": True,
        "works": True,
        "by": ["override"] * 2,
    }


@pytest.mark.usefixtures("mode")
def test_c_answers_a_hypercall() -> None:
    process = start("by_address", inside=())
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == {"works": True, "by": ["override"]}
    assert "The NetBSD Foundation" in out


REFUSALS = {
    "family": "no such family",
    "hypercall": "not in the catalogue",
    "another family": "answer the family 'random'",
    "arguments": "it is called with the arguments of: int rumpuser_clock_gettime",
    "no answer": "give a callable or the address of a C function",
    "a family by a function": "not in the catalogue",
    "around the end": "it does not return",
    "around text": "cannot be passed on from Python",
    "frames": "derive it from rumphyper.hypercalls.families.virtif.Virtif",
    "mode": "known: native, hybrid, libc, python",
}
TOGETHER = "one side must answer them all"
"""Locks, lwps and component functions."""


def test_what_cannot_be_is_refused_and_harms_nothing(mode: str) -> None:
    found = case("refused", mode)
    assert found.pop("works") is True
    expected = dict(REFUSALS)
    alone = {"python": [], "libc": ["lwp"]}.get(mode, ["locks", "lwp", "component"])
    expected |= {f"{name} alone": TOGETHER for name in alone}
    if mode == "libc":
        expected["lwp alone"] = "derive the family of lwps from LibcLwp"
    expected["one of the locks"] = TOGETHER
    assert found.keys() == expected.keys()
    for name, text in expected.items():
        assert found[name][0] == "UnsupportedError", (name, found[name])
        assert text in found[name][1], (name, found[name])


def test_which_library_is_mapped(mode: str) -> None:
    found = case("maps")
    assert found["works"]
    assert bool(found["mapped"]) == (mode in ("native", "hybrid")), found


def without_librumpuser(folder: Path) -> Path:
    """A folder with the libraries of the rump kernel, without the stock one."""
    for source in Libraries().folders:
        for path in sorted(Path(source).glob("librump*.so*")):
            link = folder / path.name
            if not path.name.startswith("librumpuser") and not link.exists():
                link.symlink_to(path)
    return folder


@pytest.mark.parametrize("wanted", ["libc", "python", ""])
def test_no_stock_library(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two modes need none, and one of these is what the default becomes."""
    libraries = tmp_path / "lib"
    libraries.mkdir()
    monkeypatch.setenv(VARIABLE, str(without_librumpuser(libraries)))
    if wanted:
        monkeypatch.setenv(MODE, wanted)
    else:
        monkeypatch.delenv(MODE, raising=False)
    found = case("without_stock", str(tmp_path))
    for needing in ("native", "hybrid"):
        kind, text = found[needing]
        assert kind == "LibraryError"
        assert "librumpuser.so: no such file in" in text
        assert "choose 'libc' or 'python'" in text
    assert found["mode"] == (wanted or "libc")
    assert found["works"]
    assert found["mapped"] == []


@pytest.mark.parametrize("stock", [True, False])
def test_the_doctor_tells_the_modes(
    stock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stock:
        monkeypatch.setenv(VARIABLE, str(without_librumpuser(tmp_path)))
    (rump,) = [found for found in check_all() if found.name == "rump"]
    assert rump.status == "ready"
    known = "native, hybrid, libc, python (hybrid" if stock else "libc, python (libc"
    assert f"hypercalls by {known} if not said)" in rump.reason


@pytest.mark.usefixtures("mode")
def test_a_boot_after_one_that_did_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component that needs a library which is gone; NetBSD is loaded for nothing."""
    gone, broken = tmp_path / "libgone.so", tmp_path / "librumpnet_broken.so"
    source = tmp_path / "source.c"
    source.write_text("int rumpns_broken;\n")
    compiler = [tool("gcc"), "-shared", "-fPIC", "-Wl,--no-as-needed", str(source)]
    subprocess.run([*compiler, "-o", gone], check=True)
    subprocess.run([*compiler, str(gone), "-o", broken], check=True)
    gone.unlink()
    folders = [str(tmp_path), *Libraries().folders]
    monkeypatch.setenv(VARIABLE, os.pathsep.join(folders))
    found = case("a_library_that_does_not_load")
    for kind, text in found["errors"]:
        assert kind == "LibraryError"
        assert "libgone.so" in text
    assert found["works"]
