"""What two threads close at once, or one while the other is at it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumphyper.pci import vfio_abi
from rumphyper.pci.bar import Bar, FileBar
from rumphyper.pci.config import Config
from rumphyper.pci.container import Container
from rumphyper.pci.device import Device
from rumphyper.pci.errors import DeviceClosedError
from rumphyper.pci.irq import EventInterrupt, Interrupt, Kind, unsupported
from rumphyper.pci.resource import open_bar
from rumphyper.pci.sysfs import BarInfo
from tests.pci.tree import E1000E_ADDRESS, make_tree


def together(*calls: Callable[[], object]) -> None:
    """Make calls at the same time, each in a thread; raise what they raise."""
    raised: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(9)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


class Stopped(Device):
    """A device that takes its time to stop, and notes each step of its end."""

    driver = "sysfs"

    def __init__(self, root: Path, steps: list[str]) -> None:
        sysfs = make_tree(root)
        self.steps = steps
        self.stopping = threading.Event()
        self.go_on = threading.Event()
        cleanup = contextlib.ExitStack()
        cleanup.callback(steps.append, "memory")
        info = sysfs.info(sysfs.resolve(E1000E_ADDRESS))
        fd = os.open(sysfs.path(info.address) / "config", os.O_RDWR)
        cleanup.callback(os.close, fd)
        config = Config(fd, 0, 4096, "device", writable=True)
        super().__init__(info, config, cleanup)

    def _open_bar(self, info: BarInfo) -> Bar:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def interrupt_counts(self) -> dict[str, int]:
        return {}

    def interrupts(self, kind: Kind, count: int = 1) -> tuple[Interrupt, ...]:
        raise unsupported("device", kind, {})

    def disable_interrupts(self) -> None:
        self.stopping.set()
        self.go_on.wait(9)
        self.steps.append("stopped")


def test_a_device_is_stopped_before_anybody_takes_its_memory(tmp_path: Path) -> None:
    steps: list[str] = []
    device = Stopped(tmp_path, steps)
    device.bus_master = True
    config = tmp_path / "bus/pci/devices" / E1000E_ADDRESS / "config"
    assert config.read_bytes()[4] & 4

    def second() -> None:
        device.stopping.wait(9)
        threading.Timer(0.2, device.go_on.set).start()
        device.close()
        assert steps == ["stopped", "memory"]

    together(device.close, second)
    assert steps == ["stopped", "memory"]
    assert not config.read_bytes()[4] & 4, "it may still write to memory"


def test_ports_that_two_threads_close_are_closed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs = make_tree(tmp_path)
    address = sysfs.resolve(E1000E_ADDRESS)
    (sysfs.path(address) / "resource2").write_bytes(bytes(32))
    bar = open_bar(sysfs, address, BarInfo(2, "io", 0, 32), writable=True)
    closed: list[int] = []
    close, forget = os.close, FileBar.close
    both = threading.Barrier(2)

    def recorded(fd: int) -> None:
        closed.append(fd)
        with contextlib.suppress(OSError):
            close(fd)

    def late(bar: FileBar) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        forget(bar)

    monkeypatch.setattr("rumphyper.pci.resource.os.close", recorded)
    monkeypatch.setattr(FileBar, "close", late)
    together(bar.close, bar.close)
    monkeypatch.undo()
    assert len(closed) == 1


class Groups(dict[int, tuple[int, int]]):
    """Gives the other thread its turn after each look."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = threading.Barrier(2)

    def pop(self, *arguments: Any) -> Any:
        found = super().pop(*arguments)
        self._yield()
        return found

    def __getitem__(self, group: int) -> tuple[int, int]:
        found = super().__getitem__(group)
        self._yield()
        return found

    def _yield(self) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            self.turn.wait(0.2)


def test_a_group_lasts_until_both_its_devices_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without vfio: only how it counts is looked at."""
    (tmp_path / "5").touch()
    monkeypatch.setattr(vfio_abi, "GROUPS", str(tmp_path))
    monkeypatch.setattr(vfio_abi, "CONTAINER", os.devnull)
    monkeypatch.setattr(Container, "_check", lambda self: None)
    monkeypatch.setattr(Container, "_join", lambda self, fd, group: None)
    with Container() as container:
        fd = container.attach(5)
        assert container.attach(5) == fd
        groups = Groups()
        groups.update(container._groups)
        container._groups = groups
        together(lambda: container.detach(5), lambda: container.detach(5))
        assert not groups
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class Slow(EventInterrupt):
    """Is closed while it is being read."""

    def _count(self, fd: int) -> int:
        threads = threading.Thread(target=self.close)
        threads.start()
        threads.join(9)
        self.number_is_ours = os.readlink(f"/proc/self/fd/{fd}")
        return super()._count(fd)


def test_an_interrupt_is_not_closed_under_who_reads_it() -> None:
    before = set(os.listdir("/proc/self/fd"))
    interrupt = Slow("x", "msi", 0, os.eventfd(3, os.EFD_NONBLOCK))
    assert interrupt.read() == 3
    assert "eventfd" in interrupt.number_is_ours
    with pytest.raises(DeviceClosedError):
        interrupt.read()
    assert set(os.listdir("/proc/self/fd")) == before
