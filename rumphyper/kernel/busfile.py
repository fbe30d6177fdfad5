"""A look at a bus file before NetBSD's shmif driver gets it.

The driver believes what it finds there, and its assertions end the process.
Source of the checks: NetBSD sys/rump/net/lib/libshmif/shmifvar.h, if_shmem.c.
"""

from __future__ import annotations

import os
import stat
import struct

from rumphyper.errors import CorruptError, HostError

SIZE = 1 << 20
HEADER = 32
MAGIC, VERSION = 0xCA11D054, 3


def check_bus_file(path: str) -> None:
    """Raise HostError when ``path`` cannot be a bus, CorruptError when it is none.

    A path without a file is fine (the driver creates it), and so is an empty
    file or one of zeros.
    """
    folder = os.path.dirname(path) or "."
    try:
        with open(path, "r+b") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise HostError(path, "not a regular file", "give a bus file")
            header = file.read(HEADER)
    except FileNotFoundError as error:
        if os.path.isdir(folder) and os.access(folder, os.W_OK):
            return
        raise HostError(
            path,
            error.strerror or str(error),
            f"the folder {folder} must be there and writable",
            error.errno or 0,
        ) from None
    except OSError as error:
        raise HostError(
            path,
            error.strerror or str(error),
            "it must be readable and writable",
            error.errno or 0,
        ) from None
    if status.st_size == 0:
        return
    if status.st_size != SIZE:
        raise _corrupt(path, f"{status.st_size} octets, a bus has {SIZE}")
    magic, version, _, first, last = struct.unpack_from("=IIQII", header)
    if magic == 0:
        return
    data = SIZE - HEADER
    if magic != MAGIC or version not in (0, VERSION) or first > data or last > data:
        raise _corrupt(
            path, f"magic {magic:#x}, version {version}, first {first}, last {last}"
        )


def _corrupt(path: str, cause: str) -> CorruptError:
    return CorruptError(path, cause, "remove the file, or name another one")
