"""What mount(2) wants to know about each type of file system.

Structures: NetBSD sys/fs/tmpfs/tmpfs_args.h, sys/ufs/ufs/ufsmount.h,
sys/fs/msdosfs/msdosfsmount.h, sys/fs/cd9660/cd9660_mount.h,
sys/miscfs/genfs/layer.h, and sys/sys/mount.h (export_args30, which old tools
filled and the kernel skips).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from rumphyper.errors import UnsupportedError

_NGROUPS = 16


class _Credentials(ctypes.Structure):
    """struct uucred (sys/sys/ucred.h)."""

    _fields_ = [
        ("unused", ctypes.c_ushort),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("ngroups", ctypes.c_short),
        ("groups", ctypes.c_uint32 * _NGROUPS),
    ]


class _ExportArgs(ctypes.Structure):
    """struct export_args30."""

    _fields_ = [
        ("flags", ctypes.c_int),
        ("root", ctypes.c_uint32),
        ("anonymous", _Credentials),
        ("address", ctypes.c_void_p),
        ("address_length", ctypes.c_int),
        ("mask", ctypes.c_void_p),
        ("mask_length", ctypes.c_int),
        ("index_file", ctypes.c_void_p),
    ]


class TmpfsArgs(ctypes.Structure):
    """struct tmpfs_args."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("nodes_max", ctypes.c_uint64),
        ("size_max", ctypes.c_int64),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
    ]


class DeviceArgs(ctypes.Structure):
    """struct ufs_args, and those of others that name a device and no more."""

    _fields_ = [("source", ctypes.c_char_p)]


class MsdosArgs(ctypes.Structure):
    """struct msdosfs_args, version 3."""

    _fields_ = [
        ("source", ctypes.c_char_p),
        ("export", _ExportArgs),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mask", ctypes.c_uint32),
        ("flags", ctypes.c_int),
        ("version", ctypes.c_int),
        ("folder_mask", ctypes.c_uint32),
        ("seconds_east", ctypes.c_int),
    ]


class Cd9660Args(ctypes.Structure):
    """struct iso_args."""

    _fields_ = [
        ("source", ctypes.c_char_p),
        ("export", _ExportArgs),
        ("flags", ctypes.c_int),
    ]


class LayerArgs(ctypes.Structure):
    """struct layer_args."""

    _fields_ = [("target", ctypes.c_char_p), ("export", _ExportArgs)]


_MSDOS_LONG_NAMES, _MSDOS_VERSIONED, _MSDOS_UTF8 = 2, 16, 32


def tmpfs(
    source: bytes,
    size: int = 0,
    nodes: int = 0,
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o1777,
) -> Any:
    """``size`` in octets and ``nodes`` in files; 0 is as much as there is."""
    return TmpfsArgs(1, nodes, size, uid, gid, mode)


def device(source: bytes) -> Any:
    """A block device and nothing else."""
    return DeviceArgs(source)


def msdos(
    source: bytes,
    uid: int = 0,
    gid: int = 0,
    mask: int = 0o755,
    folder_mask: int = 0o755,
) -> Any:
    """FAT with long names in UTF-8."""
    flags = _MSDOS_LONG_NAMES | _MSDOS_VERSIONED | _MSDOS_UTF8
    return MsdosArgs(source, _ExportArgs(), uid, gid, mask, flags, 3, folder_mask, 0)


def cd9660(source: bytes) -> Any:
    """ISO 9660 with Rock Ridge where it is there."""
    return Cd9660Args(source, _ExportArgs(), 0)


def layer(source: bytes) -> Any:
    """Another directory, shown once more."""
    return LayerArgs(source, _ExportArgs())


def nothing(source: bytes) -> Any:
    """File systems that the kernel makes up by itself."""
    return None


KINDS: dict[str, Callable[..., Any]] = {
    "tmpfs": tmpfs,
    "ffs": device,
    "ext2fs": device,
    "lfs": device,
    "v7fs": device,
    "sysvbfs": device,
    "msdos": msdos,
    "cd9660": cd9660,
    "null": layer,
    "kernfs": nothing,
    "fdesc": nothing,
}
"""How to make the arguments of each type: function(source, **options)."""

NEED_SOURCE = frozenset(
    kind for kind, make in KINDS.items() if make in (device, msdos, cd9660, layer)
)


def arguments(kind: str, source: bytes, options: dict[str, Any]) -> Any:
    """The structure for mount(2); None for none.

    Raises UnsupportedError for a type or an option that is not known here.
    """
    make = KINDS.get(kind)
    if make is None:
        raise UnsupportedError(
            f"file system type {kind!r}",
            "its arguments are not known",
            f"known are {', '.join(sorted(KINDS))}; others take data=",
        )
    if kind in NEED_SOURCE and not source:
        raise UnsupportedError(
            f"mounting {kind}", "no source", "give source= (see kernel.expose)"
        )
    try:
        return make(source, **options)
    except TypeError as error:
        raise UnsupportedError(f"mounting {kind}", str(error)) from None
