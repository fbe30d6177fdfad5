"""The probes of links that need nothing but the kernel's own interfaces."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from rumphyper.doctor.finding import (
    Finding,
    device,
)
from rumphyper.errors import HostError, RumphyperError, UnsupportedError
from rumphyper.link import open_link, xdp_program


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
    return Finding("packet", "ready", "opened a packet socket")


def check_xdp() -> Finding:
    """Open an AF_XDP socket and load its program."""
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
    try:
        xdp_program.probe()
    except UnsupportedError as error:
        return Finding("xdp", "unsupported", error.cause, error.remedy)
    except HostError as error:
        reason = f"it only sends, no program may be loaded: {error.cause}"
        return Finding("xdp", "denied", reason, error.remedy or "run as root")
    return Finding("xdp", "ready", "opened a socket and loaded its program")
