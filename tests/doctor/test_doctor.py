"""The doctor tells the truth about this host, with a remedy for each lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rumphyper.doctor.finding import device

NAMES = [
    *("thunks", "shmif", "tap", "packet", "xdp", "netmap", "dpdk", "xen"),
    *("pci", "vfio", "uio", "rump"),
]


DROP = "import rumphyper.doctor, os; os.geteuid() or os.setuid({user});"
"""Become nobody once everything is imported."""


def doctor(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rumphyper", "doctor", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **env},
    )


def findings(**env: str) -> dict[str, dict[str, str]]:
    rows = json.loads(doctor("--json", **env).stdout)
    assert all(set(row) == {"name", "status", "reason", "remedy"} for row in rows)
    return {row["name"]: row for row in rows}


def test_every_name_once_with_a_remedy_for_what_is_not_ready() -> None:
    rows = json.loads(doctor("--json").stdout)
    assert sorted(row["name"] for row in rows) == sorted(NAMES)
    for row in rows:
        assert row["status"] in ("ready", "missing", "denied", "unsupported")
        assert row["reason"]
        assert bool(row["remedy"]) == (row["status"] != "ready"), row


def test_the_main_job_is_ready_here() -> None:
    rows = findings()
    assert rows["thunks"]["status"] == "ready", rows["thunks"]
    assert rows["shmif"]["status"] == "ready", rows["shmif"]


def test_thunks_that_are_switched_off() -> None:
    """The reason is not the machine, and it says what works without them."""
    thunks = findings(RUMPHYPER_THUNKS="0")["thunks"]
    assert thunks["status"] == "unsupported"
    assert "RUMPHYPER_THUNKS=0" in thunks["reason"]
    assert "mini kernel" in thunks["reason"]
    assert thunks["remedy"] == "unset it"


def test_no_temporary_folder_means_no_shmif(tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert findings(TMPDIR=str(tmp_path))["shmif"]["status"] == "ready"
    assert set(tmp_path.iterdir()) == before  # nothing is left behind


def test_screen_has_a_line_a_name_and_a_remedy_line() -> None:
    lines = doctor().stdout.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "]
    heads = [line for line in lines if not line.startswith(" ")]
    assert len(heads) == len(NAMES)
    assert sum("ready" not in head for head in heads) == len(lines) - len(heads)


def test_device_tells_missing_from_denied(tmp_path: Path) -> None:
    missing = device("x", str(tmp_path / "none"), "load it", "ask")
    assert missing is not None
    assert (missing.status, missing.remedy) == ("missing", "load it")
    assert device("x", "/dev/null", "load it", "ask") is None


def test_device_denied() -> None:
    """Asked by a process that is not root, for root may open every file."""
    code = (
        "from rumphyper.doctor.finding import device;"
        "found = device('x', '/etc/passwd', 'load it', 'ask');"
        "print(found.status, found.remedy)"
    )
    nobody = 65534
    said = subprocess.run(
        [sys.executable, "-c", DROP.format(user=nobody) + code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "denied ask\n"


def test_xdp_says_what_is_missing_without_the_right_to_load_a_program() -> None:
    if os.geteuid():
        pytest.skip("needs root, whose rights it drops")
    assert findings()["xdp"]["status"] == "ready"
    said = subprocess.run(
        ["unshare", "-U", "-r", "-n", sys.executable, "-m", "rumphyper", "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "it only sends, no program may be loaded" in said
