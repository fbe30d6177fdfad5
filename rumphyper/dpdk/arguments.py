"""EAL's arguments: from options, with defaults that fit the host."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from rumphyper.errors import HostError

MEMORY = 256
"""Mebibytes for mempools where there are no huge pages; only what is used counts."""

MOST_MEMORY = 1 << 19
"""What EAL has addresses for by default (RTE_MAX_MEM_MB)."""

_PCI = re.compile(r"[0-9a-f]{1,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)

HUGEPAGES = Path("/sys/kernel/mm/hugepages")


@attrs.frozen
class Options:
    """How to start EAL.

    ``hugepages``: None takes them where enough are free and may be used.
    ``memory`` is in MiB, None for 256 without huge pages and EAL's choice with
    them. ``cpus``: where this process may run by default. ``pci``: the addresses
    of devices that EAL shall drive, none by default. ``arguments`` follow, as EAL
    takes them.
    """

    hugepages: bool | None = None
    memory: int | None = None
    cpus: Sequence[int] | None = None
    pci: Sequence[str] = ()
    arguments: Sequence[str] = ()

    def check(self) -> None:
        """Raise HostError for what EAL would refuse with a page of usage."""
        if self.memory is not None and not 1 <= self.memory <= MOST_MEMORY:
            cause = f"{self.memory} MiB of memory"
            raise HostError("EAL", cause, f"1 to {MOST_MEMORY}")
        here = os.sched_getaffinity(0)
        if self.cpus is not None and not (self.cpus and set(self.cpus) <= here):
            cause = f"this process may not run on processors {list(self.cpus)}"
            raise HostError("EAL", cause, f"choose from {sorted(here)}")
        for address in self.pci:
            if not _PCI.fullmatch(address):
                raise HostError("EAL", f"PCI address {address!r}", "0000:03:00.0")


def free_hugepages(folder: Path = HUGEPAGES) -> int:
    """Mebibytes in huge pages that nobody holds."""
    total = 0
    for pages in folder.glob("hugepages-*kB"):
        try:
            count = int((pages / "free_hugepages").read_text())
        except (OSError, ValueError):
            continue
        total += count * int(pages.name[len("hugepages-") : -2]) // 1024
    return total


def has_hugepages(memory: int) -> bool:
    """Whether this process can have that many MiB in huge pages."""
    if free_hugepages() < memory or os.geteuid():
        return False
    with open("/proc/mounts", encoding="utf-8", errors="replace") as mounts:
        return any(line.split()[2] == "hugetlbfs" for line in mounts)


def arguments(options: Options, prefix: str) -> list[str]:
    """What rte_eal_init gets; ``prefix`` keeps this process apart from others."""
    cpus = sorted(options.cpus or os.sched_getaffinity(0))
    words = ["rumphyper", f"--lcores=0@({','.join(map(str, cpus))})"]
    words += [f"--file-prefix={prefix}", "--no-telemetry"]
    huge = options.hugepages
    if huge is None:
        huge = has_hugepages(options.memory or MEMORY)
    if huge:
        # Pages are gone with the process, and no file is left behind.
        words.append("--in-memory")
        if options.memory:
            words += ["-m", str(options.memory)]
    else:
        words += ["--no-huge", "--no-shconf", "-m", str(options.memory or MEMORY)]
    if options.pci:
        words += [word for address in options.pci for word in ("-a", address)]
    else:
        words += ["--no-pci", "--iova-mode=va"]
    return [*words, *options.arguments]
