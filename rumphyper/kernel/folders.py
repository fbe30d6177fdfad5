"""Where the rump kernel's libraries are on this host.

Looked through in this order: ``RUMPHYPER_LIBRARY_PATH`` (folders with colons
between them, all of them are used, the first one wins for each library), the
loader's path (``LD_LIBRARY_PATH``, then the loader's cache), then the usual
folders. Of the last three kinds the first folder that holds librump is the one.
"""

from __future__ import annotations

import os
import re
import struct
import sysconfig
from collections.abc import Iterator

VARIABLE = "RUMPHYPER_LIBRARY_PATH"
USUAL = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/pkg/lib", "/opt/rump/lib")
CACHE = "/etc/ld.so.cache"
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
FILE = re.compile(r"lib(rump\w*)\.so((?:\.\d+)*)$")


def candidate_folders() -> list[str]:
    """The folders that are looked into, the first best, none twice."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen:
        return [folder for folder in chosen.split(os.pathsep) if folder]
    found = [*os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    found += [os.path.dirname(path) for path in cached_paths("librump.so.0")]
    found += USUAL
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        found += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    return list(dict.fromkeys(folder for folder in found if folder))


def library_folders() -> list[str]:
    """The folders whose libraries are used; empty when none holds librump.

    All of RUMPHYPER_LIBRARY_PATH when it is set (extra components may lie in a
    folder of their own), else one.
    """
    folders = candidate_folders()
    holding = [folder for folder in folders if "rump" in library_files(folder)]
    if os.environ.get(VARIABLE):
        return folders if holding else []
    return holding[:1]


def library_files(folder: str) -> dict[str, str]:
    """Paths of a folder's rump libraries by name (``rumpnet_net``).

    Of several versions of one library the file without a version counts, it
    is what a linker would take, else the highest version. A runtime package
    has only the latter.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    best: dict[str, tuple[tuple[int, ...], str]] = {}
    for name in names:
        match = FILE.match(name)
        if match is None:
            continue
        library, version = match.groups()
        rank = tuple(int(part) for part in version.split(".")[1:])
        rank = (1, *rank) if rank else (2,)
        if library not in best or rank > best[library][0]:
            best[library] = rank, name
    return {
        library: os.path.join(folder, name)
        for library, (_, name) in sorted(best.items())
    }


def cached_paths(soname: str) -> Iterator[str]:
    """Paths under which the loader's cache knows ``soname``.

    Format: glibc, sysdeps/generic/dl-cache.h (struct cache_file_new: magic and
    version, u32 count, u32 length of strings, 20 octets; then per entry s32
    flags, u32 key, u32 value, u32 and u64). The magic of the older format may
    stand before it. Anything unexpected: no paths.
    """
    try:
        with open(CACHE, "rb") as file:
            data = file.read()
    except OSError:
        return
    start = data.find(CACHE_MAGIC)
    if start < 0 or len(data) < start + 48:
        return
    (count,) = struct.unpack_from("=I", data, start + 20)
    wanted = soname.encode() + b"\0"
    for index in range(min(count, (len(data) - start - 48) // 24)):
        _, key, value = struct.unpack_from("=iII", data, start + 48 + 24 * index)
        if data.startswith(wanted, start + key):
            end = data.find(b"\0", start + value)
            yield os.fsdecode(data[start + value : end])
