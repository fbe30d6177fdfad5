"""What the checks of files are made with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.judges import tool

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
