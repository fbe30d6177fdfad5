"""A guest's first file system: busybox, modules, and the script of its start.

A cpio archive of the format "newc" (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst), not compressed: the
host hands it over faster than an emulated processor unpacks it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.vm.modules import contents

FOLDERS = ("bin", "dev", "host", "keep", "modules", "proc", "sys")


def build(busybox: Path, modules: Sequence[Path], keep: Iterable[Path]) -> bytes:
    """The archive.

    ``modules`` are inserted in that order; ``keep`` are directories of the host
    that stay visible where the guest mounts something of its own over them.
    """
    init = Path(__file__).with_name("init.sh").read_bytes()
    entries = [_entry(name, stat.S_IFDIR | 0o755) for name in FOLDERS]
    entries.append(_entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    entries.append(_entry("init", stat.S_IFREG | 0o755, init))
    names = [path.name.partition(".ko")[0] + ".ko" for path in modules]
    for name, path in zip(names, modules, strict=True):
        entries.append(_entry(f"modules/{name}", stat.S_IFREG | 0o644, contents(path)))
    for name, lines in (("modules/order", names), ("keep/list", map(str, keep))):
        text = "".join(f"{line}\n" for line in lines)
        entries.append(_entry(name, stat.S_IFREG | 0o644, text.encode()))
    entries.append(_entry("TRAILER!!!", 0))
    return b"".join(entries)


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    encoded = name.encode() + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor,
    # rdevminor, namesize, check
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
