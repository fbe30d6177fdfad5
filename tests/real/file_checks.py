"""File systems of the kernel: tmpfs and disk images, judged by the tools.

Images are made by mke2fs, makefs, mkfs.vfat and genisoimage and read by NetBSD;
what NetBSD writes is read by debugfs, e2fsck and mcopy. kernel_session.py runs
these checks.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import KernelError, UnsupportedError
from rumphyper.kernel.boot import NEEDED, WANTED
from tests.judges import tool

COMPONENTS = (*NEEDED, *WANTED, "disk", "ffs", "ext2fs", "msdos", "cd9660", "null")

Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}

TREE = {
    "hello.txt": b"hello from the host\n",
    "sub/data.bin": bytes(range(256)) * 700,
    "empty": b"",
}
MEGABYTE = 1 << 20


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def command(*words: str | Path) -> str:
    """Run a program that must work; what it prints."""
    path = tool(str(words[0]))
    done = subprocess.run(
        [path, *map(str, words[1:])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree(folder: Path) -> Path:
    """The files of `TREE` in a new directory of the host."""
    top = folder / "tree"
    for name, data in TREE.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def assert_tree(kernel: Any, top: str) -> None:
    """The files of `TREE` are at ``top`` in the kernel."""
    for name, data in TREE.items():
        with kernel.open(f"{top}/{name}", "rb") as file:
            assert file.read() == data, name
        assert kernel.fs.stat(f"{top}/{name}").st_size == len(data)
    assert "sub" in kernel.fs.listdir(top)
    with pytest.raises(FileNotFoundError):
        kernel.fs.stat(f"{top}/nothing")


class Mounted:
    """An image exposed and mounted at /mnt, and both undone at the end."""

    def __init__(self, kernel: Any, image: Path, kind: str, **options: Any) -> None:
        self.kernel, self.image, self.kind = kernel, image, kind
        self.options = options

    def __enter__(self) -> str:
        fs = self.kernel.fs
        self.kernel.expose(self.image, "/dev/image")
        fs.makedirs("/mnt", exist_ok=True)
        fs.mount(self.kind, "/mnt", "/dev/image", **self.options)
        return "/mnt"

    def __exit__(self, *exc: object) -> None:
        self.kernel.fs.unmount("/mnt")
        self.kernel.withdraw("/dev/image")


@check
def tmpfs_limits(kernel: Any) -> None:
    fs = kernel.fs
    fs.mkdir("/small")
    fs.mount("tmpfs", "/small", size=MEGABYTE, nodes=8, uid=7, gid=8, mode=0o750)
    top = fs.stat("/small")
    assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode)) == (7, 8, 0o750)
    space = fs.statvfs("/small")
    assert space.f_frsize * space.f_blocks == MEGABYTE
    assert fs.statvfs("/small").f_namemax >= 255
    with (
        pytest.raises(OSError, match="No space"),
        kernel.open("/small/big", "wb") as file,
    ):
        file.write(bytes(2 * MEGABYTE))
    for number in range(5):
        fs.mkdir(f"/small/{number}")
    with pytest.raises(OSError, match="No space"):
        fs.mkdir("/small/too-many")
    assert [one.kind for one in fs.mounts() if one.path == "/small"] == ["tmpfs"]
    held = fs.open("/small/big", os.O_RDONLY)
    with pytest.raises(OSError, match="busy") as caught:
        fs.unmount("/small")
    assert caught.value.errno == errno.EBUSY
    fs.unmount("/small", force=True)
    fs.close(held)
    assert not [one for one in fs.mounts() if one.path == "/small"]
    fs.rmdir("/small")


@check
def read_only(kernel: Any) -> None:
    fs = kernel.fs
    fs.mkdir("/shut")
    fs.mount("tmpfs", "/shut", read_only=True)
    with pytest.raises(OSError, match="Read-only") as caught:
        fs.mkdir("/shut/x")
    assert caught.value.errno == errno.EROFS
    assert fs.statvfs("/shut").f_flag & os.ST_RDONLY
    assert [one.read_only for one in fs.mounts() if one.path == "/shut"] == [True]
    fs.unmount("/shut")
    fs.rmdir("/shut")


@check
def bad_mounts(kernel: Any) -> None:
    fs = kernel.fs
    with pytest.raises(UnsupportedError, match="not known"):
        fs.mount("zfs", "/")
    with pytest.raises(UnsupportedError, match="components"):
        fs.mount("lfs", "/", "/dev/none")
    with pytest.raises(UnsupportedError, match="no source"):
        fs.mount("ffs", "/")
    with pytest.raises(UnsupportedError, match="colour"):
        fs.mount("tmpfs", "/", colour="red")
    with pytest.raises(FileNotFoundError):
        fs.mount("tmpfs", "/nowhere")
    with pytest.raises(FileNotFoundError):
        fs.mount("ffs", "/", "/dev/none")
    with pytest.raises(OSError, match="Invalid"):
        fs.unmount("/dev")
    with pytest.raises(OSError, match="Invalid"):
        fs.mount("tmpfs", "/", data=b"\xff" * 3)


@check
def ext2(kernel: Any) -> None:
    """Made by mke2fs, changed by NetBSD, judged by e2fsck and debugfs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "ext2.img"
        command(
            *("mke2fs", "-q", "-t", "ext2", "-O", "none,filetype,sparse_super"),
            *("-I", "128", "-d", tree(folder), image, "4M"),
        )
        with Mounted(kernel, image, "ext2fs") as top:
            assert_tree(kernel, top)
            with kernel.open(f"{top}/written", "wb") as file:
                file.write(TREE["sub/data.bin"] * 3)
            kernel.fs.rename(f"{top}/hello.txt", f"{top}/sub/renamed")
            kernel.fs.mkdir(f"{top}/new")
            kernel.fs.symlink("../written", f"{top}/new/link")
            kernel.fs.chmod(f"{top}/written", 0o600)
        command("e2fsck", "-f", "-n", image)
        command("debugfs", "-R", f"dump written {folder}/back", image)
        assert (folder / "back").read_bytes() == TREE["sub/data.bin"] * 3
        command("debugfs", "-R", f"dump sub/renamed {folder}/back", image)
        assert (folder / "back").read_bytes() == TREE["hello.txt"]
        assert "Mode:  0600" in command("debugfs", "-R", "stat written", image)
        assert '"../written"' in command("debugfs", "-R", "stat new/link", image)


@check
def ffs(kernel: Any) -> None:
    """Made by makefs; what NetBSD writes is there after mounting again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "ffs.img"
        command("makefs", "-t", "ffs", "-s", "8m", image, tree(folder))
        with Mounted(kernel, image, "ffs") as top:
            assert_tree(kernel, top)
            with kernel.open(f"{top}/written", "w") as file:
                file.write("by NetBSD\n" * 10_000)
            kernel.fs.unlink(f"{top}/hello.txt")
        assert b"by NetBSD\n" * 100 in image.read_bytes()
        with Mounted(kernel, image, "ffs", read_only=True) as top:
            with kernel.open(f"{top}/written") as file:
                assert file.read() == "by NetBSD\n" * 10_000
            assert sorted(kernel.fs.listdir(top)) == ["empty", "sub", "written"]
            with pytest.raises(OSError, match="Read-only"):
                kernel.fs.unlink(f"{top}/written")


@check
def fat(kernel: Any) -> None:
    """Made by mkfs.vfat, filled by NetBSD, read by mcopy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "fat.img"
        command("mkfs.vfat", "-C", image, "2048")
        with Mounted(kernel, image, "msdos", uid=5, mask=0o700) as top:
            with kernel.open(f"{top}/a long name.txt", "wb") as file:
                file.write(TREE["sub/data.bin"])
            found = kernel.fs.stat(f"{top}/a long name.txt")
            assert found.st_uid == 5
            assert kernel.fs.listdir(top) == ["a long name.txt"]
        command("mcopy", "-i", image, "::a long name.txt", folder / "back")
        assert (folder / "back").read_bytes() == TREE["sub/data.bin"]


@check
def cd(kernel: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "cd.iso"
        command("genisoimage", "-quiet", "-R", "-o", image, tree(folder))
        with Mounted(kernel, image, "cd9660", read_only=True) as top:
            assert_tree(kernel, top)


@check
def null_mount(kernel: Any) -> None:
    fs = kernel.fs
    fs.makedirs("/sockets/origin")
    fs.mkdir("/again")
    with kernel.open("/sockets/origin/file", "w") as file:
        file.write("seen twice")
    fs.mount("null", "/again", "/sockets/origin")
    with kernel.open("/again/file") as file:
        assert file.read() == "seen twice"
    fs.unmount("/again")
    fs.rmdir("/again")
    fs.unlink("/sockets/origin/file")
    fs.rmdir("/sockets/origin")


@check
def exposed_files(kernel: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = tree(Path(name))
        kernel.expose(top / "hello.txt", "/greeting", "file")
        with kernel.open("/greeting", "rb") as file:
            assert file.read() == TREE["hello.txt"]
        kernel.withdraw("/greeting")
        assert not kernel.fs.exists("/greeting")
        kernel.expose(top, "/host", "tree")
        with kernel.open("/host/sub/data.bin", "rb") as file:
            assert file.read() == TREE["sub/data.bin"]
        with pytest.raises(KernelError):
            kernel.expose(top, "/host", "tree")
        kernel.withdraw("/host")
        with pytest.raises(KernelError):
            kernel.withdraw("/host")
        with pytest.raises(FileNotFoundError, match="nothing"):
            kernel.expose(top / "nothing", "/x")
        with pytest.raises(ValueError, match="absolute"):
            kernel.expose(top / "empty", "x")
        with pytest.raises(ValueError, match="disk"):
            kernel.expose(top / "empty", "/x", "disk")


@check
def hostile_image(kernel: Any) -> None:
    """Octets that are no file system are refused, and nothing is left."""
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "noise"
        image.write_bytes(os.urandom(MEGABYTE))
        before = len(kernel.fs.mounts())
        kernel.fs.makedirs("/mnt", exist_ok=True)
        kernel.expose(image, "/dev/noise")
        for kind in ("ffs", "ext2fs", "msdos", "cd9660"):
            with pytest.raises(OSError, match="Invalid"):
                kernel.fs.mount(kind, "/mnt", "/dev/noise", read_only=True)
        assert len(kernel.fs.mounts()) == before
        kernel.withdraw("/dev/noise")


@check
def waits_end_by_signal(kernel: Any) -> None:
    fs = kernel.fs
    reader, writer = fs.pipe()
    waits: list[Callable[[], Any]] = [
        lambda: fs.read(reader, 1),
        lambda: fs.readinto(reader, bytearray(1)),
        lambda: kernel.open(reader, "rb", closefd=False).read(1),
    ]
    for wait in waits:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert time.monotonic() - before < 1.0
        timer.join()
    fs.write(writer, b"still there")
    assert fs.read(reader, 100) == b"still there"
    fs.close(reader)
    fs.close(writer)


@check
def socket_as_file(kernel: Any) -> None:
    a, b = kernel.socketpair()
    with a, b:
        kernel.fs.write(a.fileno(), b"by descriptor")
        assert kernel.fs.read(b.fileno(), 100) == b"by descriptor"
        threading.Timer(0.3, a.send, (b"late",)).start()
        assert kernel.fs.read(b.fileno(), 100) == b"late"
        b.setblocking(False)
        with pytest.raises(BlockingIOError):
            kernel.fs.read(b.fileno(), 1)


@check
def unclosed_file(kernel: Any) -> None:
    file = kernel.open("/sockets/unclosed", "wb", buffering=0)
    fd = file.fileno()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [one.category for one in caught] == [ResourceWarning]
    other = kernel.fs.open("/sockets/unclosed", os.O_RDONLY)
    assert other == fd
    kernel.fs.close(other)
    kernel.fs.unlink("/sockets/unclosed")


@check
def device_files(kernel: Any) -> None:
    with kernel.open("/dev/zero", "rb", buffering=0) as zero:
        assert zero.read(16) == bytes(16)
    with kernel.open("/dev/null", "wb") as null:
        null.write(b"gone")
    assert stat.S_ISCHR(kernel.fs.stat("/dev/null").st_mode)
