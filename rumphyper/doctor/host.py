"""The probes of this host, one per back end and part; each tries, none guesses.

A probe leaves nothing behind: what it opens it closes, what it makes is made
in a temporary folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rumphyper.doctor import devices, dpdk, links, pci
from rumphyper.doctor.finding import Finding
from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.host import thunks
from rumphyper.hypercalls.modes import MODES, needs_stock
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.probe import probe
from rumphyper.kernel.providers import default_mode


def check_thunks() -> Finding:
    """Build, load and call one thunk: what hypercalls stand on."""
    try:
        thunks.probe()
    except UnsupportedError as error:
        less = "links and the mini kernel work without, NetBSD does not"
        return Finding("thunks", "unsupported", f"{error.cause}; {less}", error.remedy)
    except RumphyperError as error:
        return Finding("thunks", "denied", error.cause, error.remedy)
    return Finding("thunks", "ready", f"{os.uname().machine}: built and loaded")


def check_rump() -> Finding:
    """Find the rump kernel's libraries and ask them whether they fit."""
    try:
        libraries = Libraries()
    except RumphyperError as error:
        return Finding("rump", "missing", f"{error.thing}: {error.cause}", error.remedy)
    folders = ", ".join(libraries.folders)
    try:
        said = probe(libraries)
    except RumphyperError as error:
        return Finding("rump", "unsupported", str(error), f"look into {folders}")
    kernel = (
        f"NetBSD {said.netbsd} in {folders}, RUMPUSER_VERSION {said.rumpuser}, "
        f"{len(libraries.components)} components"
    )
    if not said.agrees:
        return Finding(
            "rump",
            "unsupported",
            f"{kernel}; the hypercalls are version {RUMPUSER_VERSION}",
            "install librump and librumpuser of one NetBSD version with that number",
        )
    modes = list(MODES)
    if said.stock_agrees is None:
        kernel += "; no stock librumpuser"
        modes = [mode for mode in MODES if not needs_stock(mode)]
    kernel += (
        f"; hypercalls by {', '.join(modes)} ({default_mode(libraries)} if not said)"
    )
    names = ", ".join(sorted(libraries.components))
    return Finding("rump", "ready", f"{kernel}: {names}")


PROBES: tuple[Callable[[], Finding], ...] = (
    check_thunks,
    links.check_shmif,
    links.check_tap,
    links.check_packet,
    links.check_xdp,
    devices.check_netmap,
    dpdk.check_dpdk,
    devices.check_xen,
    pci.check_pci,
    pci.check_vfio,
    pci.check_uio,
    check_rump,
)


def check_all() -> list[Finding]:
    """Run every probe; the order is the table's."""
    return [check() for check in PROBES]
