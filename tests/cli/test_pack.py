"""``rumphyper pack``: the file that it makes, run where nothing is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rumphyper import __version__
from rumphyper.cli.main import VERBS
from rumphyper.link import open_link
from tests.cli.command import TIMEOUT, fails, run


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pyz") / "one file.pyz"
    done = run("pack", file)
    assert done.returncode == 0, done.stderr
    return file


def python(minor: int | None = None) -> str:
    """A Python with no packages in its path (see `packed`); None: this version."""
    if minor is None:
        return os.path.realpath(sys.executable)
    homes = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
    for found in (shutil.which(f"python3.{minor}"), *homes):
        if found is None:
            continue
        words = [found, "-c", "import sys; print(sys.version_info[:2])"]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        if said.stdout.strip() == f"(3, {minor})":
            return str(found)
    pytest.skip(f"no Python 3.{minor} is here")


def packed(
    file: Path, *words: str, by: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the file in its folder; -S keeps site-packages out, -I all the rest."""
    return subprocess.run(
        [by or python(), "-I", "-S", file.name, *words], cwd=file.parent,
        capture_output=True, text=True, timeout=2 * TIMEOUT, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_every_verb_is_there(pyz: Path) -> None:
    assert packed(pyz, "--version").stdout == f"{__version__}\n"
    for verb in VERBS:
        done = packed(pyz, verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"usage: rumphyper {verb}" in done.stdout


def test_doctor_finds_the_same(pyz: Path) -> None:
    """It starts Pythons of its own, which have to find the file."""
    done = packed(pyz, "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    states = [
        {finding["name"]: finding["status"] for finding in json.loads(text)}
        for text in (done.stdout, run("doctor", "--json").stdout)
    ]
    assert states[0] == states[1]


def test_demo_and_hypercalls(pyz: Path) -> None:
    done = packed(pyz, "demo", "--count", "2", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["sent"], answer["received"]) == (4, 4)
    calls = json.loads(packed(pyz, "hypercalls", "--json").stdout)
    assert "rumpuser_malloc" in [call["name"] for call in calls]


def test_bench_unpacks_its_benchmarks_for_the_time_it_runs(
    pyz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = packed(pyz, "bench", "import", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["case"] for row in json.loads(done.stdout)] == [
        "import",
        "import memory",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_other_pythons_run_it_without_its_byte_code(pyz: Path, minor: int) -> None:
    words = ("demo", "--count", "1", "--kernel", "mini", "--json")
    done = packed(pyz, *words, by=python(minor))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["received"] == 2


def test_it_runs_as_it_is_and_lets_wireshark_find_it(pyz: Path) -> None:
    """The script that it installs runs the file, not an installation."""
    folder = pyz.parent / "extcap"
    path = os.path.dirname(python())
    environment = {"PATH": f"{path}:{os.environ['PATH']}"}
    words = [str(pyz), "extcap", "--install", str(folder)]
    subprocess.run(words, env=environment, check=True, timeout=TIMEOUT)
    script = folder / "rumphyper"
    assert str(pyz) in script.read_text()
    said = subprocess.run(
        [script, "--extcap-interfaces"], env={}, capture_output=True, text=True,
        check=True, cwd="/", timeout=TIMEOUT,
    )  # fmt: skip
    assert said.stdout.startswith("extcap {version=")


def test_what_is_in_it(pyz: Path) -> None:
    names = set(zipfile.ZipFile(pyz).namelist())
    assert {"attrs/__init__.py", "typing_extensions.py", "rumphyper/py.typed"} <= names
    assert {"rumphyper/link/tap.pyc", "rumphyper/_benchmarks/harness.py"} <= names
    for licence in ("attrs-", "typing_extensions-"):
        assert any(n.startswith(licence) and "LICENSE" in n for n in names)
    assert not [name for name in names if "__pycache__" in name]


def test_what_cannot_be_packed(pyz: Path, tmp_path: Path) -> None:
    assert "No such file" in fails("pack", tmp_path / "none" / "x.pyz")
    (tmp_path / "folder").mkdir()
    assert "Is a directory" in fails("pack", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert "packed file already" in packed(pyz, "pack", str(tmp_path / "x")).stderr


def test_a_link_works_from_it(pyz: Path, tmp_path: Path) -> None:
    with open_link(f"pcap:{tmp_path}/a.pcap", mode="w") as link:
        link.send([bytes(60)])
    done = packed(pyz, "dump", f"{tmp_path}/a.pcap", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["frames"] == 1


def test_the_example_of_its_page(pyz: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "pyz.md").read_text()
    [command] = re.findall(r"^PYTHONPATH=.*$", text, re.MULTILINE)
    command = command.replace("rumphyper.pyz", f"'{pyz}'")
    command = command.replace("python3", f"{python()} -S")
    said = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, cwd="/"
    )
    assert said.stdout == f"{__version__}\n"
