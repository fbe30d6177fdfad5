"""Lwps, NetBSD's threads of execution, in memory of the kernel's own.

A host thread carries at most one lwp at a time; rumpuser_curlwpop tells the
host which. Facts: sys/rump/librump/rumpkern/lwproc.c.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import ExitStack

from rumphyper.kernel.mini.abi import LWP_CLEAR, LWP_CREATE, LWP_DESTROY, LWP_SET
from rumphyper.kernel.mini.calls import Calls
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.locks import Condvar, SpinMutex
from rumphyper.kernel.mini.memory import Memory

SLAB = 16
"""How many lwps are allocated at a time."""


class LwpMemory(ctypes.Structure):
    """struct lwp: what the pointer given to the host points to."""

    _fields_ = [
        ("pid", ctypes.c_int32),
        ("lid", ctypes.c_int32),
        ("exiting", ctypes.c_int32),
        ("leaving", ctypes.c_int32),
        ("name", ctypes.c_char * 24),
        ("scheduled", ctypes.c_uint64),
        ("spare", ctypes.c_uint64 * 2),
    ]


class Lwp:
    """One lwp: its memory, and what the kernel notes of it.

    ``handovers`` counts how often it gave up the virtual CPU. ``inside`` is the
    hypercall it is in that may give it up, ``away`` the kernel locks it held
    when that happened (None: it did not), ``visitor`` whether the host's own
    code brought it in (rumpuser_component_schedule).
    """

    def __init__(self, address: int) -> None:
        self.address = address
        self.memory = LwpMemory.from_address(address)
        self.handovers = 0
        self.inside = ""
        self.away: int | None = None
        self.visitor = False

    def __repr__(self) -> str:
        name = self.memory.name.decode(errors="replace")
        return f"lwp {self.memory.pid}.{self.memory.lid} ({name})"


class Lwps:
    """All lwps of the kernel, in slabs of `SLAB`; the first is there from the boot."""

    def __init__(
        self,
        calls: Calls,
        memory: Memory,
        report: Callable[[str], None],
        undo: ExitStack,
    ) -> None:
        self._calls = calls
        self._memory = memory
        self._report = report
        self._slabs: list[int] = []
        self._free: list[int] = []
        self._by_address: dict[int, Lwp] = {}
        self._by_thread: dict[int, Lwp] = {}
        self._next = 1
        undo.callback(self._close)
        self._grow()
        self._lock = SpinMutex(calls, undo, owned=False)
        self._freed = Condvar(calls, undo)

    def _grow(self) -> None:
        size = ctypes.sizeof(LwpMemory)
        slab = self._memory.allocate(SLAB * size, "lwps", 64)
        self._slabs.append(slab)
        self._free.extend(slab + number * size for number in range(SLAB))

    def create(self, pid: int, name: str) -> Lwp:
        """A new lwp of process ``pid``; MiniKernelError without memory for it."""
        with self._lock.nowrap():
            if not self._free:
                self._grow()
            return self._make(pid, name)

    def create_waiting(self, pid: int, name: str) -> Lwp:
        """The same for who may wait until there is one: without the virtual CPU."""
        with self._lock.nowrap():
            while not self._free:
                try:
                    self._grow()
                except MiniKernelError:
                    self._freed.wait_nowrap(self._lock)
            return self._make(pid, name)

    def _make(self, pid: int, name: str) -> Lwp:
        lwp = Lwp(self._free.pop())
        ctypes.memset(lwp.address, 0, ctypes.sizeof(LwpMemory))
        lwp.memory.pid, lwp.memory.lid = pid, self._next
        lwp.memory.name = name.encode()[:23]
        self._next += 1
        self._by_address[lwp.address] = lwp
        self._calls.curlwpop(LWP_CREATE, lwp.address)
        return lwp

    def destroy(self, lwp: Lwp) -> None:
        """Forget an lwp that no host thread carries any more."""
        self._calls.curlwpop(LWP_DESTROY, lwp.address)
        with self._lock.nowrap():
            del self._by_address[lwp.address]
            self._free.append(lwp.address)
            self._freed.signal()

    def set(self, lwp: Lwp) -> None:
        """Let the calling host thread carry ``lwp``."""
        self._calls.curlwpop(LWP_SET, lwp.address)
        self._by_thread[threading.get_ident()] = lwp

    def clear(self, lwp: Lwp) -> None:
        """Let the calling host thread carry none."""
        self._calls.curlwpop(LWP_CLEAR, lwp.address)
        self._by_thread.pop(threading.get_ident(), None)

    def current(self) -> Lwp | None:
        """The lwp of the calling host thread, as the host says."""
        address = self._calls.curlwp() or 0
        expected = self._by_thread.get(threading.get_ident())
        if address != (expected.address if expected else 0):
            self._report(
                f"rumpuser_curlwp gave {address:#x} in a thread that carries "
                f"{expected or 'no lwp'}"
            )
        return expected

    def carried_here(self) -> Lwp | None:
        """The lwp of the calling host thread, as the kernel remembers it."""
        return self._by_thread.get(threading.get_ident())

    def at(self, address: int) -> Lwp | None:
        """The lwp whose memory is at ``address``."""
        return self._by_address.get(address)

    def carried(self, lwp: Lwp) -> bool:
        """Whether some host thread carries ``lwp``."""
        return lwp in self._by_thread.values()

    def __len__(self) -> int:
        return len(self._by_address)

    def _close(self) -> None:
        """Free the slabs; lwps that are still there are reported."""
        for lwp in self._by_address.values():
            self._report(f"{lwp} is left over")
        for slab in self._slabs:
            self._memory.free(slab)
