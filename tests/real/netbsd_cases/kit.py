"""What the cases share."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError
from rumphyper.kernel.interface import Interface
from rumphyper.kernel.netbsd import Kernel

LINUX4, NETBSD4 = "10.66.0.1", "10.66.0.2"
LINUX6, NETBSD6 = "fd66::1", "fd66::2"


def ip(*words: str) -> None:
    """iproute2 in this namespace."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def linux_up(name: str) -> None:
    """Give Linux's end of a TAP its addresses."""
    ip("addr", "add", f"{LINUX4}/24", "dev", name)
    ip("addr", "add", f"{LINUX6}/64", "dev", name, "nodad")
    ip("link", "set", name, "up")


def wired(kernel: Kernel, name: str = "tap0", **options: Any) -> Interface:
    """virt0 over a TAP that Linux has configured; addresses on both sides."""
    interface = kernel.create_interface("virt0", f"tap:{name}", **options)
    linux_up(name)
    interface.add_address(f"{NETBSD4}/24")
    interface.add_address(f"{NETBSD6}/64")
    interface.up()
    return interface


def taps() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex() if "tap" in name)


def failure(call: Callable[[], object]) -> list[str]:
    """The class and the text of the error that a call gives."""
    try:
        call()
    except RumphyperError as error:
        return [type(error).__name__, str(error)]
    return ["", "no error"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def settled(quiet: float = 0.3, patience: float = 5.0) -> tuple[int, int]:
    """Descriptors and threads, once neither number has changed for a while.

    Threads of the kernel come and go in their own time, after a boot too.
    """
    end = time.monotonic() + patience
    counts, since = (descriptors(), threads()), time.monotonic()
    while time.monotonic() - since < quiet and time.monotonic() < end:
        time.sleep(0.02)
        now = descriptors(), threads()
        if now != counts:
            counts, since = now, time.monotonic()
    return counts


def memory() -> int:
    """Resident octets of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
