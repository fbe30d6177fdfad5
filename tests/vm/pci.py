"""What the tests of PCI share: the guest's devices by what they are."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rumphyper.pci import Address, Device, Sysfs, open_device, regs

EDU = (0x1234, 0x11E8)
E1000 = (0x8086, 0x100E)
E1000E = (0x8086, 0x10D3)
VIRTIO_NET = (0x1AF4, 0x1041)
VIRTIO_RNG = (0x1AF4, 0x1044)

SYSFS = Sysfs()
NOBODY = 65534


def address(identity: tuple[int, int]) -> Address:
    """The address of the one device with that vendor and device id."""
    (found,) = (
        info.address
        for info in SYSFS.devices()
        if (info.vendor, info.device) == identity
    )
    return found


def vfio(identity: tuple[int, int]) -> Device:
    """The device by vfio; closing it gives it back to its driver."""
    return open_device(address(identity), bind="vfio-pci", restore=True)


def uio(identity: tuple[int, int]) -> Device:
    """The device by UIO; closing it gives it back to its driver."""
    return open_device(address(identity), bind="uio_pci_generic", restore=True)


def master(place: Address) -> bool:
    """Whether a device's bus mastering is on, by its registers in sysfs."""
    with open(SYSFS.path(place) / "config", "rb", buffering=0) as config:
        octets = os.pread(config.fileno(), 2, regs.COMMAND)
    return bool(int.from_bytes(octets, "little") & regs.COMMAND_MASTER)


def eventually(true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


@contextlib.contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process that is killed in the end.

    It finds the project's modules, and ``arguments`` in sys.argv[1:].
    """
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a child prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")
