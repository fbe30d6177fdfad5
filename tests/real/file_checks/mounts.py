"""Mounting, and showing the host's files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import KernelError, UnsupportedError
from tests.real.file_checks.kit import MEGABYTE, TREE, check, tree


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
