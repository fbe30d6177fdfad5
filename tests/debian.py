"""Debian packages unpacked into a cache, leaving the machine as it is.

For tests that need files of another architecture: its kernel headers, its C
library, its Python. apt gets state, lists and cache directories of its own, so
neither dpkg's architectures nor the installed packages change.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

CACHE = "RUMPHYPER_TEST_CACHE"
"""Names the directory of the cache; by default one in the user's cache."""


def in_ci() -> bool:
    """Whether nothing that can be installed may be missing."""
    return os.environ.get("CI") == "true"


def missing(reason: str) -> None:
    """Skip the test, or fail it in CI."""
    if in_ci():
        pytest.fail(f"{reason}, and CI must have it")
    pytest.skip(reason)


def cache() -> Path:
    """The directory that keeps what was unpacked."""
    named = os.environ.get(CACHE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(named) if named else Path(base) / "rumphyper-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


def unpacked(name: str, architecture: str, packages: Sequence[str]) -> Path:
    """A directory with the packages unpacked, from the cache if it is there.

    ``{python}`` in a package's name stands for the release's Python, such as
    python3.11. Skips the test where there is no apt or no network.
    """
    root = cache() / name
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".complete").exists():
            for program in ("apt-get", "apt-cache", "dpkg-deb"):
                if shutil.which(program) is None:
                    missing(f"{program} is not there to fetch {name}")
            shutil.rmtree(root, ignore_errors=True)
            try:
                _fetch(root, architecture, packages)
            except subprocess.SubprocessError as error:
                shutil.rmtree(root, ignore_errors=True)
                missing(f"Debian packages for {name} cannot be had: {error}")
            (root / ".complete").touch()
    return root


def _fetch(root: Path, architecture: str, packages: Sequence[str]) -> None:
    apt = root / ".apt"
    for part in ("state/lists/partial", "cache/archives/partial", "debs"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    options = [
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        f"Dir::State={apt / 'state'}",
        f"Dir::State::status={apt / 'status'}",
        f"Dir::Cache={apt / 'cache'}",
        "Dir::Etc::sourceparts=" + str(_sources(apt)),
        "Dir::Etc::sourcelist=/dev/null",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
        "Acquire::Retries=2",
        "Debug::NoLocking=true",
    ]
    flags = [word for option in options for word in ("-o", option)]
    _run(["apt-get", "-q", *flags, "update"], apt)
    named = list(packages)
    if any("{python}" in package for package in packages):
        depends = _run(["apt-cache", *flags, "depends", "python3-minimal"], apt)
        found = re.search(r"(python3\.\d+)-minimal", depends)
        if found is None:
            raise subprocess.SubprocessError("python3-minimal names no Python")
        named = [package.replace("{python}", found[1]) for package in packages]
    _run(["apt-get", "-q", *flags, "download", *named], apt / "debs")
    for package in sorted((apt / "debs").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)], apt)
    shutil.rmtree(apt)


def _sources(apt: Path) -> Path:
    """The machine's own sources, of Debian only: others lack the architecture."""
    parts = apt / "sources"
    parts.mkdir()
    etc = Path("/etc/apt")
    for source in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if source.is_file() and "debian.org" in source.read_text():
            shutil.copy(source, parts)
    return parts


def _run(command: Sequence[str], where: Path) -> str:
    ran = subprocess.run(
        command, cwd=where, check=True, capture_output=True, text=True, timeout=240
    )
    return ran.stdout


# Our name of an architecture: Debian's, and the directory of its headers.
KERNELS = {
    "x86_64": ("amd64", "x86_64-linux-gnu"),
    "i386": ("i386", "i686-linux-gnu"),
    "aarch64": ("arm64", "aarch64-linux-gnu"),
    "arm": ("armhf", "arm-linux-gnueabihf"),
    "riscv64": ("riscv64", "riscv64-linux-gnu"),
    "ppc64le": ("ppc64el", "powerpc64le-linux-gnu"),
    "powerpc": ("powerpc", "powerpc-linux-gnu"),
    "s390x": ("s390x", "s390x-linux-gnu"),
    "mips64": ("mips64el", "mips64el-linux-gnuabi64"),
    "sparc": ("sparc64", "sparc64-linux-gnu"),
    "alpha": ("alpha", "alpha-linux-gnu"),
    "parisc": ("hppa", "hppa-linux-gnu"),
}


def kernel_headers(abi: str) -> Path:
    """The include directory of the kernel's headers, as cross compilers use it."""
    packages = [f"linux-libc-dev-{debian}-cross" for debian, _ in KERNELS.values()]
    return unpacked("headers", "amd64", packages) / "usr" / KERNELS[abi][1] / "include"
