"""DPDK's network drivers: which there are, and what arguments they know.

Each driver's library tells of itself by a text in it that begins with
PMD_INFO_STRING (DPDK buildtools/pmdinfogen). That text may leave arguments out, so
one is unknown only when its name is nowhere in the library.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator

import attrs

from rumphyper.dpdk.library import Dpdk
from rumphyper.errors import HostError

_INFO = re.compile(rb"PMD_INFO_STRING= (\{[^\0]*\})\0")


@attrs.frozen
class Driver:
    """A driver by the name that devices have: ``net_tap``."""

    name: str
    file: str
    parameters: str
    """The arguments as its authors describe them."""

    def check_arguments(self, device: str, arguments: str) -> None:
        """Raise HostError for an argument that the driver cannot know."""
        with open(self.file, "rb") as library:
            octets = library.read()
        for argument in filter(None, arguments.split(",")):
            key = argument.partition("=")[0]
            if key.encode() + b"\0" not in octets:
                cause = f"{self.name} knows no argument {key!r}"
                remedy = f"it knows {self.parameters or 'none'}"
                raise HostError(device, cause, remedy)


def libraries(dpdk: Dpdk) -> list[str]:
    """The files of all network drivers of this DPDK."""
    folder = os.path.dirname(dpdk.path)
    found: dict[str, str] = {}
    for place in (folder, f"{folder}/dpdk/pmds-{dpdk.abi}*"):
        for file in sorted(glob.glob(f"{place}/librte_net_*.so.{dpdk.abi}")):
            found.setdefault(os.path.basename(file), file)
    return list(found.values())


def drivers_in(file: str) -> Iterator[Driver]:
    """The drivers in one library: some have several."""
    with open(file, "rb") as library:
        octets = library.read()
    for text in _INFO.findall(octets):
        told = json.loads(text)
        yield Driver(told["name"], file, told.get("params", "").strip())


def find(dpdk: Dpdk, name: str) -> Driver | None:
    """The driver of that name, None when there is none."""
    files = libraries(dpdk)
    likely = f"librte_{name}.so"
    files.sort(key=lambda file: not os.path.basename(file).startswith(likely))
    for file in files:
        for driver in drivers_in(file):
            if driver.name == name:
                return driver
    return None
