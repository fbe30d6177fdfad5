"""Debian packages of the guests, each version unpacked once into the cache.

apt names the version and fetches it by the lists that the host has; nothing is
installed. Without apt's lists or without a network what was unpacked before
serves; without that either, the test is skipped.
"""

from __future__ import annotations

import fcntl
import functools
import gzip
import lzma
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from tests.debian import cache, missing

UPDATE = "run apt-get update"
LINUX = "linux-image-amd64"
OF_XEN = r"(lib)?xen|libyajl"
"""The packages of Xen's that hosts without Xen do not have."""


def packages(names: Sequence[str]) -> list[Path]:
    """The folders with packages unpacked, of the versions that apt offers."""
    # "name:" and lines of indented facts, of which the candidate is the second.
    offered = re.findall(
        r"^(\S+):\n.*\n +Candidate: ([^(\s]+)$", _query("policy", *names), re.MULTILINE
    )
    versions = dict(offered)
    return [_package(name, versions.get(name)) for name in names]


def _package(name: str, version: str | None) -> Path:
    folder = _folder()
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version is not None:
            path = folder / f"{name}_{urllib.parse.quote(version, safe='')}"
            if path.exists() or _unpack(name, version, path):
                return path
        # Offline: the one that was packed last, if there is any.
        there = sorted(folder.glob(f"{name}_*"), key=lambda path: path.stat().st_mtime)
        if there:
            return there[-1]
    missing(f"the Debian package {name} cannot be had here: {UPDATE}")
    raise AssertionError


def needs(name: str) -> list[str]:
    """A package and all that it depends on, as apt said when it last knew."""
    kept = _folder() / f"{name}.needs"
    said = _query("depends", "--recurse", "--important", name)
    names = re.findall(r"^[a-z0-9][^\s:]*$", said, re.MULTILINE)
    if len(names) > 1:
        kept.write_text(" ".join(names))
        return names
    if not kept.exists():
        missing(f"apt knows of no package {name}: {UPDATE}")
    return kept.read_text().split()


def _folder() -> Path:
    folder = cache() / "packages"
    folder.mkdir(exist_ok=True)
    return folder


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
        command,
        cwd=where,
        env={**os.environ, "LC_ALL": "C"},  # what is printed is read
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


@attrs.frozen
class Kernel:
    """Debian's kernel and busybox, unpacked."""

    elf: Path
    """Not compressed, which saves the guest seconds of emulation."""
    modules: Path
    """Its lib/modules/RELEASE."""
    busybox: Path
    """The first program that it runs."""


@functools.cache
def kernel() -> Kernel:
    """The kernel that Debian's linux-image-amd64 stands for."""
    if platform.machine() != "x86_64":
        missing("a guest runs this host's programs, and they are not of x86-64")
    names = [name for name in needs(LINUX) if re.match(r"linux-image-\d", name)]
    root, busybox = packages([names[0], "busybox-static"])
    (bzimage,) = (root / "boot").glob("vmlinuz-*")
    (modules,) = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    return Kernel(_uncompressed(bzimage), modules, busybox / "bin" / "busybox")


@attrs.frozen
class Xen:
    """The hypervisor and its tools, unpacked."""

    elf: Path
    programs: tuple[Path, ...]
    """Folders for PATH, as dom0 sees them."""
    libraries: tuple[Path, ...]
    """Folders for LD_LIBRARY_PATH; libraries that are not Xen's are the host's."""


@functools.cache
def xen() -> Xen:
    """What Debian's xen-system-amd64 stands for."""
    names = [name for name in needs("xen-system-amd64") if re.match(OF_XEN, name)]
    roots = packages(names)
    (packed,) = (path for root in roots for path in root.glob("boot/xen-*.gz"))
    elf = _once(
        packed.with_suffix(".elf"), lambda: gzip.decompress(packed.read_bytes())
    )
    tools = [path for root in roots for path in root.glob("usr/lib/xen-*")]
    usr = [path for root in roots for path in (root / "usr", *tools)]
    return Xen(
        elf,
        tuple(path / name for path in usr for name in ("bin", "sbin")),
        tuple(path / "lib/x86_64-linux-gnu" for path in usr),
    )


def _uncompressed(bzimage: Path) -> Path:
    """The ELF file inside a bzImage, kept beside it.

    Layout: Linux, Documentation/arch/x86/boot.rst (setup_sects, payload_offset
    and payload_length of the setup header).
    """

    def elf() -> bytes:
        image = bzimage.read_bytes()
        sectors = image[0x1F1] or 4
        offset, length = struct.unpack_from("<II", image, 0x248)
        start = (sectors + 1) * 512 + offset
        # After the stream comes its size, which is none of xz's business.
        return lzma.LZMADecompressor().decompress(image[start : start + length])

    return _once(bzimage.with_name("vmlinux"), elf)


def _once(path: Path, make: Callable[[], bytes]) -> Path:
    """The file, made if it is not there yet; never seen half made."""
    if not path.exists():
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(make())
        part.rename(path)
    return path
