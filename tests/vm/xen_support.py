"""What the tests in Xen's dom0 share: a vif of dom0 to itself, by hand."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError
from rumphyper.link import Link, open_link
from rumphyper.link.xen import XenBack, XenFront
from rumphyper.net.stack import Stack
from rumphyper.xen import Xenstore
from rumphyper.xen.operations import Operations
from tests.vm.marker import BUSYBOX, KERNEL
from tests.vm.modules import contents

BACK, FRONT = "/local/domain/0/backend/vif/0", "/local/domain/0/device/vif"
MAC = "00:16:3e:00:00:01"


def run(*command: str) -> str:
    """A program's output."""
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def loaded(module: str) -> bool:
    return Path(f"/sys/module/{module.replace('-', '_')}").exists()


def unload(module: str) -> None:
    """Take a module out of the kernel, where it is in it, and from its devices."""
    if loaded(module):
        bus = "xen-backend" if module == "xen-netback" else "xen"
        driver = Path(f"/sys/bus/{bus}/drivers/vif")
        for device in driver.glob("vif-*"):
            (driver / "unbind").write_text(device.name)
        # Frames on their way may still be in pages of the module's.
        rmmod = (os.environ[BUSYBOX], "rmmod", module.replace("-", "_"))
        eventually(lambda: subprocess.run(rmmod, check=False).returncode == 0)


def load(module: str) -> None:
    """Put a module into the kernel again, without what it depends on."""
    if loaded(module):
        return
    path = Path(f"/tmp/{module}.ko")
    if not path.exists():
        root = Path(os.environ[KERNEL]).parents[1]
        folders = (*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*"))
        drivers = folders[0] / "kernel/drivers"
        places = ("xen", "net", f"net/{module}")
        (packed,) = (
            path for place in places for path in (drivers / place).glob(f"{module}.ko*")
        )
        path.write_bytes(contents(packed))
    run(os.environ[BUSYBOX], "insmod", str(path))


@contextlib.contextmanager
def vif(handle: int = 0, *, mac: str = MAC) -> Iterator[int]:
    """The keys of a vif between dom0 and itself, as a toolstack writes them.

    The kernel's netback serves it, unless it is not loaded.
    """
    front, back = f"{FRONT}/{handle}", f"{BACK}/{handle}"
    both = {"mac": mac, "handle": f"{handle}", "state": "1"}
    ours = {"frontend": front, "frontend-id": "0", "online": "1", "script": "none"}
    ours["hotplug-status"] = "connected"
    theirs = {"backend": back, "backend-id": "0"}

    def write(inside: Operations) -> None:
        """All at once: a driver that finds one end without the other gives up."""
        for folder, keys in ((back, ours), (front, theirs)):
            inside.remove(folder)
            for key, value in {**keys, **both}.items():
                inside.write(f"{folder}/{key}", value)

    with Xenstore() as store:
        store.transact(write)
        try:
            yield handle
        finally:
            with contextlib.suppress(Exception):
                store.write(f"{back}/online", 0)
                store.remove(front)
                store.remove(back)


LINUX, PYTHON = "10.9.0.1", "10.9.0.2"


def tables() -> tuple[int, int]:
    """How many grants and event channels Xen itself knows of dom0."""
    run("xl", "dmesg", "-c")
    run("xl", "debug-keys", "g")
    run("xl", "debug-keys", "e")
    said = run("xl", "dmesg")
    grants = re.findall(r"^\(XEN\) \[0x[0-9a-f]+\]", said, re.MULTILINE)
    ports = re.findall(r"^\(XEN\) +\d+ \[", said, re.MULTILINE)
    assert "gnttab_usage_print_all" in said
    assert ports
    return len(grants), len(ports)


@contextlib.contextmanager
def answering(link: Link) -> Iterator[None]:
    """A thread in which the link's station answers ARP and pings."""
    stack = Stack(link.mac, [IPv4Interface(f"{PYTHON}/24")], [])
    over: list[BaseException] = []

    def answer() -> None:
        try:
            for frame in link:
                link.send(stack.input(frame))
        except BaseException as error:
            over.append(error)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        link.close()
        thread.join(30)
    assert not over, over


def linux_pings(count: int, size: int = 56) -> bool:
    """Whether all pings of Linux are answered."""
    said = subprocess.run(
        ["ping", "-c", f"{count}", "-i", "0.02", "-W", "5", "-s", f"{size}", PYTHON],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{count} received" in said.stdout


def error_of(link: Link) -> None:
    """Receive until there is an error, which is let through."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        link.recv(timeout=1)


@contextlib.contextmanager
def pair(handle: int = 5, **options: Any) -> Iterator[tuple[XenFront, XenBack]]:
    """A front end and a back end, both Python's, connected."""
    mtu = options.get("mtu", 1500)
    back = open_link(f"xen:back/0/{handle}", mtu=mtu)
    assert isinstance(back, XenBack)
    with back, serving(back), open_link(f"xen:vif/{handle}", **options) as front:
        assert isinstance(front, XenFront)
        eventually(lambda: back.connected)
        yield front, back
        part(front, back)


def part(front: XenFront, back: XenBack) -> None:
    """Close a front end while its back end looks after that."""
    closing = threading.Thread(target=front.close)
    closing.start()
    with contextlib.suppress(RumphyperError):
        while closing.is_alive():
            back.recv(timeout=0.05)
    closing.join(20)


@contextlib.contextmanager
def serving(back: XenBack) -> Iterator[None]:
    """A thread that lets a back end connect, once."""
    thread = threading.Thread(target=back.start, args=(30,))
    thread.start()
    try:
        yield
    finally:
        thread.join(35)


def address(interface: str, cidr: str) -> None:
    """Give one of the kernel's interfaces an address and set it up, without IPv6."""
    quiet = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    eventually(quiet.exists)
    quiet.write_text("1")
    run("ip", "addr", "add", cidr, "dev", interface)
    run("ip", "link", "set", interface, "up")
