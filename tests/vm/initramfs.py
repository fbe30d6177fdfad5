"""A guest's first file system: busybox, modules, and the script of its start.

A cpio archive of the format "newc" (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst), not compressed: the
host hands it over faster than an emulated processor unpacks it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.vm.modules import contents

FOLDERS = ("bin", "dev", "host", "keep", "modules", "proc", "sys")


def build(busybox: Path, modules: Sequence[Path], keep: Iterable[Path]) -> bytes:
    """The archive for init.sh.

    ``modules`` are inserted in that order; ``keep`` are directories of the host
    that stay visible where the guest mounts something of its own over them.
    """
    inserted = {path.name.partition(".ko")[0] + ".ko": path for path in modules}
    files = {
        "init": Path(__file__).with_name("init.sh").read_bytes(),
        "bin/busybox": busybox.read_bytes(),
        "modules/order": _lines(inserted),
        "keep/list": _lines(map(str, keep)),
    }
    for name, path in inserted.items():
        files[f"modules/{name}"] = contents(path)
    return archive(FOLDERS, files)


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def archive(folders: Iterable[str], files: Mapping[str, bytes]) -> bytes:
    """An archive of folders and, in them, files that may be executed."""
    entries = [_entry(name, stat.S_IFDIR | 0o755) for name in folders]
    for name, data in files.items():
        entries.append(_entry(name, stat.S_IFREG | 0o755, data))
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
