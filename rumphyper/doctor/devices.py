"""The probes of back ends that need modules, devices or libraries."""

from __future__ import annotations

import os

from rumphyper.doctor.finding import Finding, device
from rumphyper.errors import RumphyperError
from rumphyper.link import open_link
from rumphyper.xen import Xenstore, nodes, xen_version
from rumphyper.xen.bus import number


def check_netmap() -> Finding:
    """Send a frame through a pipe of a port that is made and gone again."""
    found = device(
        "netmap",
        "/dev/netmap",
        "build netmap for this kernel and load it: modprobe netmap",
        "ask for access to /dev/netmap",
    )
    if found:
        return found
    frame = bytes(60)
    name = f"netmap:rhdoctor{os.getpid()}"
    try:
        with open_link(f"{name}{{1") as near, open_link(f"{name}}}1") as far:
            near.send([frame])
            arrived = far.recv(timeout=1.0) == [frame]
    except RumphyperError as error:
        return Finding("netmap", "unsupported", error.cause, error.remedy)
    if not arrived:
        return Finding(
            "netmap",
            "unsupported",
            "a frame did not pass a pipe within 1 s",
            "see the kernel's log (dmesg)",
        )
    return Finding("netmap", "ready", "a frame passed a new pipe")


def check_xen() -> Finding:
    """Tell a Xen guest from dom0 from no Xen, open its nodes, ask xenstore."""
    kind = nodes.domain_kind()
    if kind == "none":
        return Finding(
            "xen",
            "unsupported",
            "this host does not run on Xen",
            "boot it as a Xen guest, or as dom0",
        )
    for node, module in nodes.MODULES.items():
        found = device(
            "xen",
            node,
            f"{kind}: load the module: modprobe {module}",
            "run as root",
        )
        if found:
            return found
    try:
        with Xenstore() as store:
            folder = f"{store.domain_path(number(store, 'domid'))}/device/vif"
            vifs = store.list(folder) if store.get(folder) is not None else []
        major, minor = xen_version()
    except RumphyperError as error:
        return Finding("xen", "missing", f"{error.thing}: {error.cause}", error.remedy)
    names = f"vif {', '.join(vifs)}" if vifs else "no vif"
    return Finding("xen", "ready", f"{kind} on Xen {major}.{minor}; {names}")
