"""What the tests in Xen's dom0 share: a vif of dom0 to itself, by hand."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rumphyper.xen import Xenstore
from tests.vm.marker import BUSYBOX, KERNEL
from tests.vm.modules import Modules, contents

BACK, FRONT = "/local/domain/0/backend/vif/0", "/local/domain/0/device/vif"
MAC = "00:16:3e:00:00:01"
BACK_MAC = "fe:ff:ff:ff:ff:ff"


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
    """Take a module out of the kernel, where it is in it."""
    if loaded(module):
        run(os.environ[BUSYBOX], "rmmod", module.replace("-", "_"))


def load(module: str) -> None:
    """Put a module into the kernel again, without what it depends on."""
    if loaded(module):
        return
    (folder,) = Path(os.environ[KERNEL]).parents[1].glob("*/lib/modules/*") or [None]
    assert folder is not None
    path = Path(f"/tmp/{module}.ko")
    path.write_bytes(contents(Modules(folder).files[module.replace("-", "_")]))
    run(os.environ[BUSYBOX], "insmod", str(path))


@contextlib.contextmanager
def vif(handle: int = 0, *, mac: str = MAC, bare: bool = False) -> Iterator[int]:
    """The keys of a vif between dom0 and itself, as a toolstack writes them.

    The kernel's netback serves it, unless it is not loaded; ``bare`` makes the
    front end's keys only.
    """
    front, back = f"{FRONT}/{handle}", f"{BACK}/{handle}"
    with Xenstore() as store:
        store.remove(front)
        store.remove(back)
        if not bare:
            keys = {"frontend": front, "mac": mac, "script": "none", "state": "1"}
            keys |= {"frontend-id": "0", "online": "1", "handle": f"{handle}"}
            for key, value in {**keys, "hotplug-status": "connected"}.items():
                store.write(f"{back}/{key}", value)
        keys = {"backend": back, "backend-id": "0", "mac": mac, "state": "1"}
        for key, value in {**keys, "handle": f"{handle}"}.items():
            store.write(f"{front}/{key}", value)
        try:
            yield handle
        finally:
            with contextlib.suppress(Exception):
                store.write(f"{back}/online", 0)
                store.remove(front)
                store.remove(back)


def address(interface: str, cidr: str) -> None:
    """Give one of the kernel's interfaces an address and set it up."""
    eventually(lambda: Path(f"/sys/class/net/{interface}").exists())
    run("ip", "addr", "add", cidr, "dev", interface)
    run("ip", "link", "set", interface, "up")
