"""The probes of this host, one per back end and part; each tries, none guesses.

A probe leaves nothing behind: what it opens it closes, what it makes is made
in a temporary folder.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from rumphyper.doctor.finding import (
    CAP_BPF,
    CAP_NET_RAW,
    Finding,
    capable,
    device,
    not_built,
)
from rumphyper.errors import RumphyperError
from rumphyper.host import thunks
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.probe import probe
from rumphyper.link import SCHEMES, open_link


def check_thunks() -> Finding:
    """Build, load and call one thunk: what hypercalls stand on."""
    if not thunks.supported():
        return Finding(
            "thunks",
            "unsupported",
            f"no machine-code templates for {os.uname().machine}",
            "frames work, kernels do not: use x86-64 or aarch64 for those",
        )
    try:
        builder = thunks.ThunkBuilder("librumphyper-doctor.so")
        builder.jump("rumphyper_doctor")
        builder.load().close()
    except RumphyperError as error:
        return Finding("thunks", "denied", error.cause, error.remedy)
    return Finding("thunks", "ready", f"{os.uname().machine}: built and loaded")


def check_shmif() -> Finding:
    """Make a bus in a temporary folder and send a frame across it."""
    frame = bytes(60)
    with tempfile.TemporaryDirectory(prefix="rumphyper-doctor-") as folder:
        linkstr = f"shmif:{Path(folder) / 'bus'}"
        try:
            with open_link(linkstr) as near, open_link(linkstr) as far:
                near.send([frame])
                arrived = far.recv(timeout=1.0) == [frame]
        except RumphyperError as error:
            return Finding("shmif", "unsupported", error.cause, error.remedy)
    if not arrived:
        return Finding(
            "shmif",
            "unsupported",
            "a frame did not cross the bus within 1 s",
            "put bus files on a local file system",
        )
    return Finding("shmif", "ready", "a frame crossed a new bus")


def check_tap() -> Finding:
    """Make a TAP interface of the kernel's choice of name and let it go."""
    if "tap" not in SCHEMES:
        return not_built("tap", "see /dev/net/tun")
    found = device(
        "tap",
        "/dev/net/tun",
        "load the module: modprobe tun",
        "ask for access to /dev/net/tun",
    )
    if found:
        return found
    try:
        open_link("tap:rhdoctor%d").close()
    except RumphyperError as error:
        return Finding("tap", "denied", error.cause, error.remedy)
    return Finding("tap", "ready", "made and released an interface")


def check_packet() -> Finding:
    """Open an AF_PACKET socket."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return Finding(
            "packet",
            "denied",
            "AF_PACKET sockets need CAP_NET_RAW",
            "run as root, grant the capability, or use unshare -Urn",
        )
    except OSError as error:
        return Finding(
            "packet", "unsupported", f"AF_PACKET: {error.strerror}", "use a TAP"
        )
    return not_built("packet", "the host allows AF_PACKET")


def check_xdp() -> Finding:
    """Open an AF_XDP socket and look for the right to load its program."""
    try:
        socket.socket(44, socket.SOCK_RAW).close()  # AF_XDP, linux/socket.h
    except PermissionError:
        return Finding(
            "xdp", "denied", "AF_XDP sockets need CAP_NET_RAW", "run as root"
        )
    except OSError as error:
        return Finding(
            "xdp",
            "unsupported",
            f"AF_XDP: {error.strerror}",
            "use a kernel with CONFIG_XDP_SOCKETS",
        )
    host = "the host allows AF_XDP"
    if not (capable(CAP_BPF) and capable(CAP_NET_RAW)):
        host += " to transmit only (no CAP_BPF)"
    return not_built("xdp", host)


def check_netmap() -> Finding:
    """Open /dev/netmap."""
    found = device(
        "netmap",
        "/dev/netmap",
        "build netmap for this kernel and load it: modprobe netmap",
        "ask for access to /dev/netmap",
    )
    return found or not_built("netmap", "/dev/netmap opens")


def check_dpdk() -> Finding:
    """Look for DPDK's environment library where the loader looks."""
    folders = [Path("/usr/lib"), Path("/usr/local/lib"), Path("/lib")]
    multiarch = f"{os.uname().machine}-linux-gnu"
    for folder in [*folders, *(f / multiarch for f in folders)]:
        for library in sorted(folder.glob("librte_eal.so.*")):
            return not_built("dpdk", f"the host has {library}")
    return Finding(
        "dpdk",
        "missing",
        "no librte_eal.so found",
        "install DPDK's libraries (Debian: apt-get install dpdk)",
    )


def check_xen() -> Finding:
    """Tell a Xen guest from dom0 from no Xen, and find its device nodes."""
    kind = _first_line("/sys/hypervisor/type")
    if kind != "xen":
        return Finding(
            "xen",
            "unsupported",
            "this host does not run on Xen",
            "boot it as a Xen guest, or as dom0",
        )
    for node, module in (
        ("evtchn", "xen-evtchn"),
        ("gntalloc", "xen-gntalloc"),
        ("xenbus", "xenfs"),
    ):
        found = device(
            "xen",
            f"/dev/xen/{node}",
            f"load the module: modprobe {module}",
            "run as root",
        )
        if found:
            return found
    return not_built("xen", "its device nodes open")


def check_vfio() -> Finding:
    """Look for vfio's container and for groups to put in it."""
    found = device(
        "vfio",
        "/dev/vfio/vfio",
        "load the module: modprobe vfio-pci",
        "run as root",
    )
    if found:
        return found
    groups = list(Path("/sys/kernel/iommu_groups").glob("*"))
    if not groups:
        return Finding(
            "vfio",
            "unsupported",
            "the host has no IOMMU in use",
            "switch it on (firmware; kernel argument intel_iommu=on) or use UIO",
        )
    return not_built("vfio", f"the host has {len(groups)} IOMMU groups")


def check_uio() -> Finding:
    """Look for the UIO class; its devices come when a device is bound."""
    if not Path("/sys/class/uio").is_dir():
        return Finding(
            "uio",
            "missing",
            "the UIO modules are not loaded",
            "load one: modprobe uio_pci_generic",
        )
    return not_built("uio", "its modules are loaded")


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
    if said.stock_agrees is None:
        kernel += "; no stock librumpuser"
    names = ", ".join(sorted(libraries.components))
    return Finding("rump", "ready", f"{kernel}: {names}")


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


PROBES: tuple[Callable[[], Finding], ...] = (
    check_thunks,
    check_shmif,
    check_tap,
    check_packet,
    check_xdp,
    check_netmap,
    check_dpdk,
    check_xen,
    check_vfio,
    check_uio,
    check_rump,
)


def check_all() -> list[Finding]:
    """Run every probe; the order is the table's."""
    return [check() for check in PROBES]
