"""EAL's arguments: from options, with defaults that fit the host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

MEMORY = 256
"""Mebibytes for mempools where there are no huge pages; only what is used counts."""

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
