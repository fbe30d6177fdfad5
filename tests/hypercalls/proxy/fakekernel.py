"""A kernel of a few lines, to inject faults that a real one does not have.

Its upcalls keep count of lwps; its system calls are Python functions.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rumphyper.hypercalls.families.sysproxy import SysProxy
from rumphyper.hypercalls.proxy.limits import Limits
from rumphyper.hypercalls.upcalls import Upcalls

ENOSYS = 78


class _Here(threading.local):
    lwp = 0
    released = False


class FakeKernel:
    """Counts; ``fail`` maps an upcall's name to the errno that it fails with."""

    def __init__(self) -> None:
        self.upcalls = Upcalls(
            unschedule=self._end_released,
            lwproc_newlwp=self._newlwp,
            lwproc_curlwp=lambda: self._here.lwp,
            lwproc_switch=self._switch,
            lwproc_release=self._release,
            lwproc_rfork=self._rfork,
            backend_unschedule=self._unschedule,
            syscall=self._syscall,
            getpid=lambda: 7,
            loaded=True,
        )
        self.fail: dict[str, int] = {}
        self.lwps: set[int] = set()
        self.calls: dict[int, Callable[[bytes], int]] = {}
        """System calls: of the arguments' octets, with an errno."""

        self.clients: list[int] = []
        """The handles that processes were made for."""

        self._numbers = itertools.count(1)
        self._here = _Here()

    def _make(self) -> None:
        self._here.lwp = next(self._numbers)
        self.lwps.add(self._here.lwp)

    def _newlwp(self, pid: int) -> int:
        if "newlwp" not in self.fail:
            self._make()
        return self.fail.get("newlwp", 0)

    def _rfork(self, handle: int, flags: int, name: bytes | None) -> int:
        if "rfork" not in self.fail:
            self.clients.append(handle)
            self._make()
        return self.fail.get("rfork", 0)

    def _switch(self, lwp: int) -> None:
        self._end_released()
        self._here.lwp = lwp

    def _release(self) -> None:
        self._here.released = True

    def _end_released(self) -> None:
        if self._here.released:
            self.lwps.discard(self._here.lwp)
            self._here.released = False

    def _unschedule(self, locks: int, count: Any, interlock: int) -> None:
        assert self._here.lwp in self.lwps

    def _syscall(self, number: int, args: bytes, returned: Any) -> int:
        call = self.calls.get(number)
        return ENOSYS if call is None else call(args)


class Memory:
    """Memory of this process for the kernel to copy from and to."""

    def __init__(self, size: int) -> None:
        self.octets = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self.octets)


@contextmanager
def fake_served(
    folder: Path, kernel: FakeKernel, **limits: Any
) -> Iterator[tuple[SysProxy, str]]:
    """The family on the fake kernel, serving; its URL."""
    family = SysProxy(kernel.upcalls)
    family.limits = Limits(**limits)
    reports: list[str] = []
    family._say = reports.append
    url = f"unix://{folder}/socket"
    assert family.sp_init(url.encode(), b"NetBSD", b"7.99.34", b"amd64") == 0
    try:
        yield family, url
    finally:
        family.stop()


def eventually(true: Callable[[], bool]) -> bool:
    """Whether that comes true within some seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False
