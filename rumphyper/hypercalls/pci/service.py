"""Serving a device's interrupt: the kernel's handlers, on a thread with an lwp."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.receiver import Component
from rumphyper.hypercalls.report import Reporter
from rumphyper.pci.errors import DeviceClosedError
from rumphyper.pci.irq import Interrupt

HANDLER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t)


class Service:
    """One thread for one interrupt; it ends when the interrupt is closed.

    A line is opened again when the handlers have run: they have told the device
    by then, or it would fire on.
    """

    def __init__(
        self, interrupt: Interrupt, component: Component, reporter: Reporter
    ) -> None:
        self.interrupt = interrupt
        self.served = 0
        self._component = component
        self._reporter = reporter
        self._handlers: list[tuple[Callable[[int], Any], int]] = []

    def add(self, handler: int, data: int) -> None:
        """Call the C code at ``handler`` with ``data`` from now on, too."""
        self._handlers.append((HANDLER(handler), data))

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where there can be none."""
        name = f"pci {self.interrupt.kind}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        component = self._component
        component.kthread()
        try:
            while True:
                self.interrupt.wait()
                self._serve()
                self.interrupt.unmask()
        except DeviceClosedError:
            pass
        except BaseException as error:
            self._reporter.exception(f"thread of the {self.interrupt.thing}", error)
        finally:
            component.kthread_release()

    def _serve(self) -> None:
        component = self._component
        component.schedule(None)
        try:
            for handler, data in self._handlers:
                handler(data)
            self.served += 1
        finally:
            component.unschedule()
