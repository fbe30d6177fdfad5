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

from rumphyper.errors import CorruptError, HostError, RumphyperError
from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import DATA_SIZE, MAGIC, SIZE, Bus
from tests.link.shmif_support import ROOT, descriptors, open_bus, spawn

FRAME = bytes(60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus"


def refuse(
    path: Path, kind: type[RumphyperError], text: str, **options: object
) -> None:
    """Opening raises this error, which names the file, and leaks nothing."""
    before = descriptors()
    with pytest.raises(kind, match=text) as caught:
        open_bus(path, **options)
    assert caught.value.thing == str(path)
    assert caught.value.remedy
    assert descriptors() == before


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


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("size", [1, 32, 4096, SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_left_alone(
    path: Path, size: int, readonly: bool
) -> None:
    path.write_bytes(b"\x5a" * size)
    text = f"size is {size} octets, a shmif bus has 1048576"
    refuse(path, CorruptError, text, readonly=readonly)
    assert path.read_bytes() == b"\x5a" * size


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"\x7fELF" + bytes(28), "magic is 0x464c457f, a shmif bus has 0xca11d054"),
        (bytes.fromhex("ca11d054") + bytes(28), "other byte order"),
        (bytes.fromhex("54d011ca02000000") + bytes(24), "version is 0x2"),
        (bytes.fromhex("54d011ca04000000") + bytes(24), "version is 0x4"),
    ],
)
def test_a_foreign_file_is_left_alone(
    path: Path, head: bytes, text: str, readonly: bool
) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(SIZE)
    refuse(path, CorruptError, text, readonly=readonly)
    assert path.read_bytes() == head + bytes(SIZE - 32)
    assert path.stat().st_blocks * 512 < SIZE


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({4: DATA_SIZE + 1}, "first is 0x100000*fffe1"),
        ({5: DATA_SIZE}, "offset is 0x0*fffe0"),
        ({5: 0xFFFFFFFF}, "offset is 0xffffffff"),
        ({8: 0xFFFFFFFF}, "length of the packet at offset 0x0 is 0xffffffff"),
        ({6: 7}, "lock is 0x7, it is 0 or 1"),
    ],
)
@pytest.mark.parametrize("readonly", [True, False])
def test_a_broken_bus_is_an_error_that_names_the_field(
    path: Path, words: dict[int, int], text: str, readonly: bool
) -> None:
    text = text.replace("0x100000*fffe1", hex(DATA_SIZE + 1))
    text = text.replace("0x0*fffe0", hex(DATA_SIZE))
    memory = bytearray(SIZE)
    bus = Bus(memory)
    bus.initialise()
    for word, value in words.items():
        bus.words[word] = value
    bus.release()
    path.write_bytes(memory)
    refuse(path, CorruptError, text, readonly=readonly, from_start=True)
    assert path.read_bytes()[:24] == memory[:24]


def test_a_bus_that_breaks_in_use_is_an_error_time_and_again(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME] * 10)
        with path.open("r+b") as file:
            file.seek(32 + 24 + 5 * 84)
            file.write(b"\xff\xff\xff\xff")
        assert two.recv(timeout=0) == [FRAME] * 5
        for _ in range(3):
            with pytest.raises(CorruptError, match="length of the packet at offset"):
                two.recv(timeout=0)
        with path.open("r+b") as file:
            file.seek(20)
            file.write(b"\xff\xff\xff\x7f")
        for link in (one, two):
            with pytest.raises(CorruptError, match="offset is 0x7fffffff"):
                link.send([FRAME])
        with path.open("r+b") as file:
            file.write(bytes(4))
        with pytest.raises(CorruptError, match="magic is 0x0"):
            one.recv(timeout=0)


def test_the_generation_may_jump_ahead_but_not_back(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        for _ in range(30):
            one.send([bytes(1500)] * 60)
            two.recv(limit=100)
        with path.open("r+b") as file:
            file.seek(8)
            file.write((2**63).to_bytes(8, sys.byteorder))
        assert two.recv(limit=5, timeout=0) == [bytes(1500)] * 5
        assert two.counters.dropped == 1
        with path.open("r+b") as file:
            file.seek(8)
            file.write((1).to_bytes(8, sys.byteorder))
        with pytest.raises(CorruptError, match="generation is 0x1, it was 0x7ffffff"):
            receive_all(two)


def receive_all(link: ShmifLink) -> None:
    while link.recv(timeout=0):
        pass


@pytest.mark.parametrize("readonly", [True, False])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, readonly: bool) -> None:
    refuse(tmp_path, CorruptError, "this is a directory", readonly=readonly)
    refuse(Path("/dev/null"), CorruptError, "this is a device", readonly=readonly)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    refuse(fifo, CorruptError, "this is a FIFO", readonly=readonly)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refuse(loop, HostError, os.strerror(errno.ELOOP), readonly=readonly)


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


TRUNCATED = """
    import os, sys
    from rumphyper.errors import CorruptError
    from rumphyper.link import open_link
    path, size, act = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    link = open_link("shmif:" + path, readonly=act == "watch")
    other = open_link("shmif:" + path)
    loop = 50 if act == "loop" else 1
    for _ in range(loop):
        (other if act == "watch" else link).send([bytes(60)])
    os.truncate(path, size)
    for _ in range(2):
        try:
            if act in ("send", "loop"):
                link.send([bytes(60)])
                link.send([bytes(60)] * 2)
            else:
                link.recv(timeout=0)
        except CorruptError as error:
            print(error, flush=True)
    link.close()
    other.close()
    print("closed")
"""


@pytest.mark.parametrize("act", ["send", "loop", "recv", "watch"])
@pytest.mark.parametrize("size", [0, 10, 4096, SIZE - 4096, SIZE - 1])
def test_a_file_cut_off_in_use_is_an_error_not_a_signal(
    path: Path, act: str, size: int
) -> None:
    open_bus(path).close()
    process = spawn(TRUNCATED, path, size, act)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = out.splitlines()
    assert lines[-1] == "closed"
    # What sending does when it tells others of it makes the file 8 octets.
    assert len(lines) == 3
    for line in lines[:2]:
        assert re.match(rf"{path}: size is \d+ octets, the file was cut off", line)


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
