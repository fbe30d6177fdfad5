"""Disk images, judged by the tools that make and read them.

Made by mke2fs, makefs, mkfs.vfat and genisoimage and read by NetBSD; what NetBSD
writes is read by debugfs, e2fsck and mcopy.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.real.file_checks.kit import TREE, Mounted, assert_tree, check, command, tree


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
