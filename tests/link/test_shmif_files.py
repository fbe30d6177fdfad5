"""Bus files that are none, cannot be made, or change under the link."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, HostError
from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import DATA_SIZE, MAGIC, SIZE
from tests.link.shmif_refuse import FRAME, refuse
from tests.link.shmif_support import ROOT, open_bus, spawn


def test_a_new_bus_has_mode_0600_and_all_its_blocks(path: Path) -> None:
    mask = os.umask(0)
    try:
        open_bus(path).close()
    finally:
        os.umask(mask)
    status = path.stat()
    assert status.st_mode & 0o7777 == 0o600
    assert status.st_size == SIZE
    assert status.st_blocks * 512 >= SIZE
    words = memoryview(path.read_bytes()).cast("I")
    assert list(words[:8]) == [MAGIC, 0, 0, 0, DATA_SIZE, 0, 0, 0]
    with open_bus(path) as link:
        link.send([FRAME])
    assert memoryview(path.read_bytes()).cast("I")[1] == 3


def test_an_empty_or_sparse_file_becomes_a_bus(path: Path) -> None:
    path.touch()
    open_bus(path).close()
    path.unlink()
    with path.open("wb") as file:
        file.truncate(SIZE)
    with open_bus(path) as link:
        link.send([FRAME])
    assert path.stat().st_blocks * 512 >= SIZE


def test_a_watcher_makes_no_bus(path: Path) -> None:
    refuse(path, HostError, "No such file.*somebody has made", readonly=True)
    assert not path.exists()
    path.touch()
    refuse(path, CorruptError, "size is 0 octets", readonly=True)
    with path.open("wb") as file:
        file.truncate(SIZE)
    refuse(path, CorruptError, "magic is 0x0", readonly=True)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    refuse(tmp_path / "no" / "bus", HostError, "No such file or directory")
    refuse(Path("a" * 5000), HostError, "File name too long")


def test_without_permission(tmp_path: Path) -> None:
    bus = tmp_path / "bus"
    open_bus(bus).close()
    with open_bus(bus):
        bus.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        refuse(bus, HostError, "Permission denied.*mode 0600")
        refuse(bus, HostError, "Permission denied.*mode 0600", readonly=True)
        refuse(Path("/usr/bus"), HostError, "Permission denied.*into a folder")
    finally:
        if root:
            os.seteuid(0)


def test_a_full_disk_is_an_error_at_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    refuse(path, HostError, r"No space left on device \(free 1024 KiB")
    assert not path.exists()
    path.touch()
    refuse(path, HostError, "No space left on device")
    assert path.exists()


def test_a_really_full_disk(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    script = """
        import os, subprocess, sys
        from rumphyper.errors import HostError
        from rumphyper.link import open_link
        mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", sys.argv[1]]
        subprocess.check_call(mount)
        try:
            open_link("shmif:" + sys.argv[1] + "/bus")
        except HostError as error:
            print(error)
        print(os.listdir(sys.argv[1]))
    """
    if (
        unshare is None
        or subprocess.run([unshare, "-rm", "true"], check=False).returncode
    ):
        pytest.skip("no user namespaces here, to mount a small tmpfs in")
    run = subprocess.run(
        [unshare, "-rm", sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    error, left = run.stdout.splitlines()
    assert re.fullmatch(r".*/bus: No space left on device \(free 1024 KiB .*\)", error)
    assert left == "[]"


def test_many_may_open_a_new_bus_at_once(path: Path) -> None:
    for _ in range(20):
        links: list[ShmifLink] = []
        barrier = threading.Barrier(4)

        def attach(
            barrier: threading.Barrier = barrier, links: list[ShmifLink] = links
        ) -> None:
            barrier.wait()
            links.append(open_bus(path))

        threads = [threading.Thread(target=attach) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(links) == 4
        links[0].send([FRAME])
        for link in links[1:]:
            assert link.recv(timeout=5) == [FRAME]
        for link in links:
            link.close()
        path.unlink()


def test_a_bus_that_is_renamed_or_removed_goes_on(path: Path) -> None:
    with open_bus(path) as one:
        path.rename(path.with_name("elsewhere"))
        with open_bus(path.with_name("elsewhere")) as two:
            path.with_name("elsewhere").unlink()
            waiting = threading.Timer(0.05, one.send, ([FRAME],))
            waiting.start()
            assert two.recv(timeout=5) == [FRAME]
            waiting.join()


def test_without_descriptors(path: Path) -> None:
    """Each call fails as a whole, leaks nothing, and works once there are more."""
    code = """
        import os, resource, sys
        from rumphyper.errors import RumphyperError
        from rumphyper.link import open_link

        def taken():
            return len(os.listdir("/proc/self/fd")) - 1

        def works(room, call):
            "Call with so many descriptors to be had; the same as before if it fails."
            before = taken()
            resource.setrlimit(resource.RLIMIT_NOFILE, (before + room, hard))
            try:
                call()
                return True
            except (RumphyperError, OSError) as error:
                said = str(error)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            assert "Too many open files" in said, said
            # ask() may keep what it got for the next time.
            assert call is ask or taken() == before, (room, call)
            call()
            return False

        def attach():
            open_link(name).close()

        def receive():
            link.recv(timeout=0)

        def ask():
            link.fileno()

        name = "shmif:" + sys.argv[1]
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with open_link(name) as link:  # from here on all is loaded
            receive(), ask()
        start = taken()
        failed = []
        for room in range(6):
            for call in (attach, receive, ask):
                with open_link(name) as link:
                    failed += [call] * (not works(room, call))
                assert taken() == start
        print(*(failed.count(call) for call in (attach, receive, ask)))
    """
    process = spawn(code, path)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert all(0 < int(times) < 6 for times in output.split())
    assert len(output.split()) == 3
