"""The probe of DPDK: libraries, drivers, huge pages, devices that it could drive."""

from __future__ import annotations

import subprocess
import sys

from rumphyper.doctor.finding import Finding
from rumphyper.dpdk.arguments import free_hugepages
from rumphyper.dpdk.drivers import libraries
from rumphyper.dpdk.library import dpdk
from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.pci.container import is_vfio
from rumphyper.pci.sysfs import Sysfs
from rumphyper.pci.uio import DRIVERS as UIO_DRIVERS

TRIAL = """
from rumphyper.link import open_link
with open_link("dpdk:net_ring0") as link:
    link.send([bytes(60)])
    assert link.recv(timeout=1.0) == [bytes(60)], "a frame did not cross a ring"
"""
"""EAL can be started once in a process, so not in the doctor's own."""


def check_dpdk() -> Finding:
    """Open the libraries and send a frame across a ring, in another process."""
    try:
        found = dpdk()
    except UnsupportedError as error:
        return Finding("dpdk", "unsupported", error.cause, error.remedy)
    except RumphyperError as error:
        return Finding("dpdk", "missing", error.cause, error.remedy)
    tried = subprocess.run(
        [sys.executable, "-c", TRIAL],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if tried.returncode:
        silence = f"a trial ended with status {tried.returncode} and no word"
        last = (tried.stderr.strip().splitlines() or [silence])[-1]
        cause = f"{found.version}: {last}"
        return Finding("dpdk", "unsupported", cause, "see docs/dpdk.md")
    parts = [
        f"{found.version} ({found.path})",
        f"{len(libraries(found))} libraries of network drivers",
        f"{free_hugepages()} MiB of huge pages free",
        bound(),
    ]
    return Finding("dpdk", "ready", "; ".join(parts))


def bound() -> str:
    """The network cards that a driver for user space has."""
    try:
        devices = Sysfs().devices()
    except RumphyperError as error:
        return f"PCI devices: {error.cause}"
    cards = [
        f"dpdk:{info.address} ({info.driver})"
        for info in devices
        if info.class_code >> 16 == 2
        and (is_vfio(info.driver) or info.driver in UIO_DRIVERS)
    ]
    if cards:
        return f"bound: {', '.join(cards)}"
    return "no network card is bound for it (rumphyper pci bind)"
