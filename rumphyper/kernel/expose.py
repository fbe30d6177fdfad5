"""Showing files of the host to the kernel: disk images, files, directories.

NetBSD calls it etfs: a name in the kernel's root file system that stands for a
host file (sys/rump/librump/rumpvfs/rumpfs.c, rump_etfs_register). It is no
system call, so only a kernel in this process can do it.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, cast

from rumphyper.errors import KernelError

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

KINDS = {"file": 0, "image": 1, "folder": 3, "tree": 4}
"""enum rump_etfs_type (rump/rump.h), without character devices."""


class ExposeCalls:
    """The calls of a `Kernel` that show it the host's files."""

    def expose(
        self, host_path: str | os.PathLike[str], name: str, kind: str = "image"
    ) -> None:
        """Show a host file to the kernel under the absolute path ``name``.

        ``kind`` is ``image`` for a block device (a disk image to mount),
        ``file``, ``folder`` for a directory without what is below its
        directories, or ``tree``. Raises ValueError for another kind or a name
        that is not absolute, FileNotFoundError, KernelError (EEXIST when the
        name is taken).
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}: known are {', '.join(KINDS)}")
        if not name.startswith("/"):
            raise ValueError(f"{name!r} is not an absolute path of the kernel")
        path = os.path.abspath(host_path)
        os.stat(path)  # the kernel's own errors do not name the host's file
        self._etfs("register", name, os.fsencode(name), os.fsencode(path), KINDS[kind])

    def withdraw(self, name: str) -> None:
        """Take the name away again; KernelError (EBUSY) while it is mounted."""
        self._etfs("remove", name, os.fsencode(name))

    def _etfs(self, call: str, name: str, *arguments: bytes | int) -> None:
        kernel = cast("Kernel", self)
        function = kernel.function(f"rump_pub_etfs_{call}", ctypes.c_int)
        # The result is NetBSD's errno itself, and errno is left alone.
        number = kernel.invoke(function, *arguments)
        if number:
            error: KernelError = kernel.error(abs(number), name)
            raise error
