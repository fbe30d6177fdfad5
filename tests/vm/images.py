"""Debian packages of the guests, each version unpacked once into the cache.

apt names the version and fetches it by the lists that the host has; nothing is
installed. Without apt's lists or without a network what was unpacked before
serves; without that either, the test is skipped.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.debian import cache, missing

UPDATE = "run apt-get update"


def package(name: str) -> Path:
    """The directory with a package unpacked, of the version that apt offers."""
    folder = cache() / "packages"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = _offered(name)
        if version is not None:
            path = folder / f"{name}_{urllib.parse.quote(version, safe='')}"
            if path.exists() or _unpack(name, version, path):
                return path
        # Offline: the one that was unpacked last, if there is any.
        there = sorted(folder.glob(f"{name}_*"), key=lambda path: path.stat().st_mtime)
        if there:
            return there[-1]
    missing(f"the Debian package {name} cannot be had here: {UPDATE}")
    raise AssertionError


def _offered(name: str) -> str | None:
    """The version that apt would install; None when it knows of none."""
    found = re.search(r"Candidate: (\S+)", _query("policy", name))
    return found[1] if found and found[1] != "(none)" else None


def _query(*arguments: str) -> str:
    """What apt-cache prints; nothing where there is no apt."""
    if shutil.which("apt-cache") is None:
        return ""
    return _run(["apt-cache", *arguments]).stdout


def _unpack(name: str, version: str, path: Path) -> bool:
    """Fetch and unpack; the directory is complete or not there at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpack-") as work:
        tree = Path(work) / "tree"
        download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"]
        if _run([*download, f"{name}={version}"], work).returncode:
            return False
        (archive,) = Path(work).glob("*.deb")
        _run(["dpkg-deb", "-x", str(archive), str(tree)]).check_returncode()
        tree.rename(path)
    return True


def _run(
    command: Sequence[str], where: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=where, check=False, capture_output=True, text=True, timeout=240
    )


@attrs.frozen
class Kernel:
    """Debian's kernel, unpacked."""

    bzimage: Path
    """What boot loaders and Xen take."""
    elf: Path
    """The same uncompressed, which saves the guest seconds of emulation."""
    modules: Path
    """Its lib/modules/RELEASE."""


def kernel() -> Kernel:
    """The kernel that Debian's linux-image-amd64 stands for."""
    if platform.machine() != "x86_64":
        missing("a guest runs this host's programs, and they are not of x86-64")
    depends = _query("depends", "linux-image-amd64")
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found:
        root = package(found[1])
    else:
        there = (cache() / "packages").glob("linux-image-*_*")
        newest = sorted(there, key=lambda path: path.stat().st_mtime)
        if not newest:
            missing(f"apt knows of no package linux-image-amd64: {UPDATE}")
        root = newest[-1]
    (bzimage,) = (root / "boot").glob("vmlinuz-*")
    (modules,) = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    return Kernel(bzimage, _uncompressed(bzimage), modules)


def _uncompressed(bzimage: Path) -> Path:
    """The ELF file inside a bzImage, kept beside it.

    Layout: Linux, Documentation/arch/x86/boot.rst (setup_sects, payload_offset
    and payload_length of the setup header).
    """
    path = bzimage.with_name("vmlinux")
    if not path.exists():
        image = bzimage.read_bytes()
        sectors = image[0x1F1] or 4
        offset, length = struct.unpack_from("<II", image, 0x248)
        start = (sectors + 1) * 512 + offset
        # After the stream comes its size, which is none of xz's business.
        elf = lzma.LZMADecompressor().decompress(image[start : start + length])
        part = path.with_name(f"vmlinux.{os.getpid()}")
        part.write_bytes(elf)
        part.rename(path)
    return path
