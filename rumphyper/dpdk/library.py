"""Finding DPDK's shared libraries and telling their version."""

from __future__ import annotations

import ctypes
import functools
import glob
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import attrs

from rumphyper.dpdk.layouts import LAYOUTS
from rumphyper.dpdk.prototypes import PROTOTYPES
from rumphyper.errors import LibraryError, UnsupportedError
from rumphyper.host.arch import abi as architecture

if TYPE_CHECKING:
    from libdpdk import LibDpdk

INSTALL = "install DPDK's libraries (Debian: apt-get install dpdk)"
KNOWN = ", ".join(
    f"{number - 1}.11 (librte_*.so.{number})" for number in sorted(LAYOUTS)
)
FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib")


def abi_of(version: str) -> int:
    """The ABI's number of a version as rte_version(3) tells it, "DPDK 22.11.3".

    It changes with each November's release. Raises UnsupportedError for one
    whose layouts are not known.
    """
    found = re.match(r"DPDK (\d+)\.(\d+)", version)
    number = 0
    if found:
        number = int(found[1]) + (int(found[2]) >= 11)
    if number not in LAYOUTS:
        cause = f"the layouts of {version!r} are not known"
        raise UnsupportedError("DPDK", cause, f"known are {KNOWN} and their updates")
    return number


@attrs.define(eq=False)
class Dpdk:
    """DPDK's libraries, open, with prototypes set."""

    version: str
    """As rte_version tells it: "DPDK 22.11.3"."""

    abi: int
    path: str
    """The file of librte_eal."""

    handles: Mapping[str, ctypes.CDLL]
    """The libraries by their short names."""

    @property
    def layout(self) -> Mapping[str, int]:
        """Sizes and offsets of this version, see `rumphyper.dpdk.layouts`."""
        return LAYOUTS[self.abi]

    @functools.cached_property
    def lib(self) -> LibDpdk:
        """All functions of all libraries in one object."""
        functions = {
            name: getattr(self.handles[library], name)
            for library, prototypes in PROTOTYPES.items()
            for name in prototypes
        }
        return cast("LibDpdk", type("LibDpdk", (), functions)())

    def address(self, library: str, name: str) -> int:
        """The address of a function or of exported data."""
        handle = self.handles[library]
        return ctypes.addressof(ctypes.c_char.in_dll(handle, name))

    def errno(self) -> int:
        """This thread's rte_errno."""
        return ctypes.c_int.in_dll(self.handles["eal"], "per_lcore__rte_errno").value


@functools.cache
def dpdk() -> Dpdk:
    """Open the newest DPDK that is installed and known.

    Raises LibraryError (there is none, or part of it is missing or of another
    version) and UnsupportedError (a version or an architecture that is not known).
    """
    if architecture() != "x86_64":
        cause = f"the layouts on {architecture()} have not been verified"
        raise UnsupportedError("DPDK", cause, "use x86-64")
    if not processor_suffices():
        cause = "this processor has no SSE4.2, without which DPDK's code ends in SIGILL"
        raise UnsupportedError("DPDK", cause, "in a guest, choose a newer CPU model")
    for number in sorted(LAYOUTS, reverse=True):
        try:
            eal = ctypes.CDLL(f"librte_eal.so.{number}")
        except OSError as error:
            if "cannot open shared object" not in str(error):
                raise LibraryError("DPDK", str(error), INSTALL) from None
            continue
        return _open(number, eal)
    others = installed()
    if others:
        cause = f"{', '.join(others)} is of a version whose layouts are not known"
        raise UnsupportedError("DPDK", cause, f"known are {KNOWN}")
    raise LibraryError("DPDK", "no librte_eal.so found", INSTALL)


def processor_suffices(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether the processor has what all builds for x86-64 use.

    That is SSE4.2 (DPDK config/x86/meson.build), and the libraries use it as soon
    as they are loaded. True where nothing tells.
    """
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as lines:
            flags = [line for line in lines if line.startswith("flags")]
    except OSError:
        return True
    return all("sse4_2" in line.split() for line in flags)


def installed() -> list[str]:
    """Files of librte_eal in the usual folders, of whatever version."""
    machine = f"{os.uname().machine}-linux-gnu"
    folders = [*FOLDERS, *(f"{folder}/{machine}" for folder in FOLDERS)]
    return sorted(
        path for folder in folders for path in glob.glob(f"{folder}/librte_eal.so.*")
    )


def _open(number: int, eal: ctypes.CDLL) -> Dpdk:
    handles = {"eal": eal}
    eal.rte_version.restype = ctypes.c_char_p
    version = eal.rte_version().decode()
    if abi_of(version) != number:
        cause = f"librte_eal.so.{number} says that it is {version}"
        raise LibraryError("DPDK", cause, "remove one of the two versions")
    for name in (*PROTOTYPES, "bus_vdev", "mempool_ring", "mempool_stack"):
        file = f"librte_{name}.so.{number}"
        try:
            handles[name] = ctypes.CDLL(file)
        except OSError as error:
            cause = f"{version} lacks {file}: {error}"
            remedy = f"install all of it in one version; {INSTALL}"
            raise LibraryError("DPDK", cause, remedy) from None
    for name, prototypes in PROTOTYPES.items():
        for function, (result, arguments) in prototypes.items():
            try:
                face = getattr(handles[name], function)
            except AttributeError:
                cause = f"librte_{name}.so.{number} has no {function}"
                raise LibraryError("DPDK", cause, INSTALL) from None
            face.restype, face.argtypes = result, arguments
    return Dpdk(version, number, _path(eal, number), handles)


def _path(eal: ctypes.CDLL, number: int) -> str:
    """Where the loader found librte_eal."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            if f"/librte_eal.so.{number}" in line:
                return line[line.index("/") :].strip()
    return f"librte_eal.so.{number}"
