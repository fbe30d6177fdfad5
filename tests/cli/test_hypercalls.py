"""``rumphyper hypercalls``: the list, one of them, JSON, and wrong names."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rumphyper.cli.main import main
from rumphyper.hypercalls.catalogue import CATALOGUE, FAMILIES, members

Capture = pytest.CaptureFixture[str]


def test_list(capsys: Capture) -> None:
    """Every family and hypercall, with signature and one line."""
    assert main(["hypercalls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, purpose in FAMILIES.items():
        assert f"{name}: {purpose}" in lines
    for call in CATALOGUE.values():
        where = lines.index(f"  {call.signature}")
        assert lines[where + 1].strip() == call.summary


def test_family(capsys: Capture) -> None:
    """Only that family."""
    assert main(["hypercalls", "--family", "lwp"]) == 0
    out = capsys.readouterr().out
    assert "rumpuser_curlwpop(int enum_rumplwpop, struct lwp *l)" in out
    assert len(out.splitlines()) == 1 + 2 * len(members("lwp"))


@pytest.mark.parametrize("name", ["getparam", "rumpuser_getparam"])
def test_one(capsys: Capture, name: str) -> None:
    """Arguments with meaning, result, errors by name and number, who has it."""
    assert main(["hypercalls", name]) == 0
    out = capsys.readouterr().out
    for text in (
        "int rumpuser_getparam(const char *name, void *buf, size_t buflen);",
        "buflen  octets of room",
        "0, or a NetBSD errno",
        "ERANGE (34)",
        "families.param.Param.getparam",
        "librumpuser.so.0",
    ):
        assert text in out
    assert main(["hypercalls", "rumpuser_exit"]) == 0
    assert "does not return" in capsys.readouterr().out
    assert main(["hypercalls", "rumpcomp_pci_map"]) == 0
    assert "families.pci.Pci.map" in capsys.readouterr().out


def test_json(capsys: Capture) -> None:
    """The same as objects."""
    assert main(["hypercalls", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert [call["name"] for call in everything] == list(CATALOGUE)
    assert main(["hypercalls", "--json", "--family", "shmif"]) == 0
    family = json.loads(capsys.readouterr().out)
    assert [call["family"] for call in family] == ["shmif"] * 3
    assert main(["hypercalls", "cv_timedwait", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one == next(c for c in everything if c["name"] == one["name"])
    assert one["errors"] == [
        {"errno": "ETIMEDOUT", "number": 60, "when": "no signal came in time"}
    ]
    assert [a["name"] for a in one["arguments"]] == ["cv", "mtx", "sec", "nsec"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rumpuser_mallok"], "did you mean rumpuser_malloc"),
        ([""], "not in the catalogue"),
        (["--family", "lokcs"], "known: init, memory"),
    ],
)
def test_wrong_names(capsys: Capture, words: list[str], text: str) -> None:
    """One line with what is near, status 2."""
    assert main(["hypercalls", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err
    assert len(captured.err.splitlines()) == 1


def test_as_a_command_in_a_pipe() -> None:
    """The list may be cut off by its reader."""
    command = f"{sys.executable} -m rumphyper hypercalls | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.startswith("init: ")
    assert done.stderr == ""
