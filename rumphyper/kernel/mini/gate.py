"""Where C enters the mini kernel: its upcalls, its deliver function, threads.

C code keeps the addresses that it was given, and a thread of the host may
call one when the kernel has already stopped. So the C functions belong to the
process and are never freed, as those of librump are; they pass on to the
kernel that runs now, and do nothing while none does.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.host.thunks import ThunkBuilder, supported
from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.errors import MiniKernelError

SONAME = "librumpmini.so.0"

Handlers = dict[str, Callable[..., Any]]

START = "thread_start"
"""The name of the handler that a new thread of the kernel runs."""


class Gate:
    """The C functions of the process's mini kernel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: Handlers | None = None
        self._report: Callable[[str], None] = print
        self._functions = {
            name: self._function(name, prototype)
            for name, prototype in abi.UPCALLS.items()
        }
        self._start = self._function(START, abi.THREAD_TYPE)
        self._deliver = self._function(abi.DELIVER, abi.DELIVER_TYPE)
        self.library: ctypes.CDLL | None = None
        """The generated library that exports `abi.DELIVER`; None where none can."""

        self._slots: object = None

    def _function(self, name: str, prototype: Any) -> Any:
        # An upcall without a kernel fails, or does nothing where it cannot.
        nothing = abi.ENXIO if prototype._restype_ is ctypes.c_int else None

        def enter(*arguments: Any) -> Any:
            handlers = self._handlers
            if not handlers or name not in handlers:
                return nothing
            try:
                return handlers[name](*arguments)
            except BaseException as error:  # nothing that Python raises enters C
                self._report(f"{name}: {type(error).__name__}: {error}")
                return nothing

        return prototype(enter)

    def open(self, handlers: Handlers, report: Callable[[str], None]) -> None:
        """Pass on to ``handlers`` from now on; one kernel at a time.

        Functions may be added to ``handlers`` later.

        Raises MiniKernelError while another runs, HostError when the host lets
        no code be loaded.
        """
        with self._lock:
            if self._handlers is not None:
                raise MiniKernelError(
                    "mini kernel",
                    "another one runs in this process",
                    "shut it down first",
                    netbsd_errno=abi.EBUSY,
                )
            self._export()
            self._report = report
            self._handlers = handlers

    def close(self) -> None:
        """Do nothing from now on."""
        with self._lock:
            self._handlers = None

    def _export(self) -> None:
        """Let the host find the deliver function by its name, once."""
        if self.library is not None or not supported():
            return
        builder = ThunkBuilder(SONAME)
        builder.jump(abi.DELIVER)
        slots = builder.load(ctypes.RTLD_GLOBAL)
        slots[abi.DELIVER].target = _address(self._deliver)
        self._slots = slots
        self.library = slots.handle

    def hyperup(self) -> abi.Hyperup:
        """The table for rumpuser_init."""
        table = abi.Hyperup()
        for name, function in self._functions.items():
            setattr(table, name, _address(function))
        return table

    @property
    def deliver(self) -> int:
        """The address of the function that takes a received frame."""
        return _address(self._deliver)

    @property
    def thread_start(self) -> int:
        """The address of the function for rumpuser_thread_create."""
        return _address(self._start)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@functools.cache
def gate() -> Gate:
    """The gate of this process."""
    return Gate()
