"""The harness itself: what a guest is, and that no failure inside is lost."""

from __future__ import annotations

import errno
import os
import platform
import select
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import attrs
import pytest

import rumphyper
from tests.vm.guest import ROOT, SHARE, Guest
from tests.vm.kinds import KINDS
from tests.vm.marker import inside
from tests.vm.run import Crash, Run

guest_only = pytest.mark.vm("plain")


@guest_only
def test_the_kernel_is_debians_and_not_the_hosts() -> None:
    assert inside() == "plain"
    assert platform.node() == "guest"
    assert "Debian" in platform.version()
    assert Path("/sys/class/dmi/id/sys_vendor").read_text() == "QEMU\n"


@guest_only
def test_python_is_the_hosts_with_its_packages() -> None:
    assert Path(rumphyper.__file__).parents[1] == ROOT
    assert Path(sys.prefix, "pyvenv.cfg").exists() or sys.prefix == sys.base_prefix


@guest_only
@pytest.mark.parametrize("folder", ["/", "/etc", "/var/tmp", str(ROOT), sys.prefix])
def test_the_hosts_files_cannot_be_written(folder: str) -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        Path(folder, "written-in-a-guest").touch()
    assert caught.value.errno == errno.EROFS


@guest_only
@pytest.mark.parametrize("folder", ["/tmp", "/run", "/dev/shm", SHARE])
def test_the_guest_has_places_to_write(folder: str) -> None:
    path = Path(folder, "written-in-a-guest")
    path.write_text("here")
    assert path.read_text() == "here"


@guest_only
def test_devices_and_processes_are_the_guests() -> None:
    assert os.getuid() == 0
    assert Path("/proc/1/cmdline").read_bytes().startswith(b"/bin/busybox\0sh\0/init")
    mounts = Path("/proc/mounts").read_text().splitlines()
    types = {line.split()[1]: line.split()[2] for line in mounts}
    assert types["/dev"] == "devtmpfs"
    assert types["/sys"] == "sysfs"
    assert types["/dev/hugepages"] == "hugetlbfs"
    reader, writer = os.openpty()
    os.close(reader)
    os.close(writer)


def pytest_on(tmp_path: Path, *arguments: str) -> dict[str, ElementTree.Element]:
    """Run pytest on provoked.py here; its cases by name, as junit has them."""
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", *arguments, "tests/vm/provoked.py"]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 1, ran.stdout
    cases = ElementTree.parse(report).iter("testcase")
    return {str(case.get("name")): case for case in cases}


def test_every_way_to_fail_inside_is_seen_outside(tmp_path: Path) -> None:
    cases = pytest_on(tmp_path)

    def said(name: str, how: str) -> str:
        (result,) = cases[name]
        assert result.tag == how
        return f"{result.get('message')}\n{result.text}"

    assert len(cases) == 9
    assert not list(cases["test_passes"])
    assert "assert {'left': 1} == {'left': 2}" in said("test_fails", "failure")
    assert "in this guest" in said("test_skips", "skipped")
    assert "this fixture breaks" in said("test_has_a_broken_fixture", "error")
    assert said("test_fails_as_expected", "skipped")
    panic = said("test_panics", "failure")
    assert "by a panic or reset during" in panic
    assert "Kernel panic - not syncing: sysrq triggered crash" in panic
    hang = said("test_hangs", "failure")
    assert "has said nothing for 10 s during tests/vm/provoked.py::test_hangs" in hang
    assert "in test_hangs" in hang  # where its thread was
    assert not list(cases["test_comes_after_a_panic"])
    assert not list(cases["test_comes_after_a_hang"])


def test_a_guest_that_cannot_be_set_up_says_where() -> None:
    kind = attrs.evolve(KINDS["plain"], setup=("true", "cat /nowhere"))
    run = Run(kind, {"tests/vm/provoked.py::test_passes": 10}, [])
    try:
        with pytest.raises(Crash, match="has ended with status 125") as caught:
            run.reports("tests/vm/provoked.py::test_passes")
    finally:
        run.close()
    assert "cat: /nowhere: No such file" in str(caught.value)
    assert "vm: failed: cat /nowhere" in str(caught.value)


def test_a_commands_exit_status_comes_out() -> None:
    guest = Guest(KINDS["plain"], ["sh", "-c", f"echo kept >{SHARE}/file; exit 42"])
    try:
        assert guest.wait(60) == 42, guest.tail()
        assert (guest.share / "file").read_text() == "kept\n"
    finally:
        guest.close()
    assert not guest.share.exists()


def test_qemu_does_not_outlive_the_one_who_started_it(tmp_path: Path) -> None:
    code = """
import time
from tests.vm.guest import Guest
from tests.vm.kinds import KINDS
print(Guest(KINDS["plain"], ["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # killed, it tidies nothing up
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        qemu = os.pidfd_open(int(parent.stdout.readline()))
        assert not select.select([qemu], [], [], 0)[0]
        parent.kill()
    ended, _, _ = select.select([qemu], [], [], 10)
    os.close(qemu)
    assert ended
