"""Mounting and unmounting file systems of the kernel."""

from __future__ import annotations

import ctypes
from typing import Any

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.constants import failure
from rumphyper.kernel.descriptors import Descriptors, Path, raw_path
from rumphyper.kernel.filelayouts import MNT_RDONLY, Mount, StatVfs, mount_of
from rumphyper.kernel.mountargs import arguments
from rumphyper.kernel.transport import SIZES

_MNT_FORCE = 0x00080000  # sys/sys/fstypes.h
_MNT_NOWAIT = 2


class Mounting(Descriptors):
    """The calls of `FileSystem` that mount and unmount."""

    def mount(
        self,
        kind: str,
        path: Path,
        source: Path = "",
        *,
        read_only: bool = False,
        data: bytes | None = None,
        **options: Any,
    ) -> None:
        """Mount a file system of NetBSD's type ``kind`` at ``path``.

        ``source`` is a block device of the kernel (see `Kernel.expose`), for
        ``null`` a directory. ``options`` are those of mountargs.py: for tmpfs
        ``size`` (octets), ``nodes``, ``uid``, ``gid``, ``mode``. A type that is
        not known there takes its C structure as ``data``. Raises
        UnsupportedError for a type that is unknown or not loaded, else OSError.
        """
        if data is None:
            given = arguments(kind, raw_path(source), options)
        else:
            given = ctypes.create_string_buffer(data, len(data))
        size = 0 if given is None else ctypes.sizeof(given)
        pointer = None if given is None else ctypes.byref(given)
        flags = MNT_RDONLY if read_only else 0
        name = kind.encode()
        result = self._calls.mount(name, raw_path(path), flags, pointer, SIZES[size])
        if result == -Errno.ENODEV:
            raise UnsupportedError(
                f"mounting {kind}",
                "the kernel has no such file system",
                f"boot with {kind!r} among the components",
            )
        if result < 0:
            raise failure(-result, path)

    def unmount(self, path: Path, force: bool = False) -> None:
        """Unmount what is mounted at ``path``; ``force`` also when it is in use."""
        self._do("unmount", path, _MNT_FORCE if force else 0)

    def mounts(self) -> list[Mount]:
        """What is mounted now."""
        count = self._calls.do("getvfsstat", None, SIZES[0], _MNT_NOWAIT)
        room = (StatVfs * (count + 4))()
        count = self._calls.do(
            "getvfsstat", room, SIZES[ctypes.sizeof(room)], _MNT_NOWAIT
        )
        return [mount_of(one) for one in room[:count]]
