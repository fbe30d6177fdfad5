"""The thread that hands a trace's records on while the kernel runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks at the ring."""

PATIENCE = 5.0
"""Seconds that the end waits for a sink that does not take what it is given."""


class Writer:
    """Calls ``work`` again and again until it is stopped."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="rumphyper-trace", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        # Signals are for threads that wait for them in the kernel.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._over.wait(INTERVAL):
            self._work()

    def stop(self) -> None:
        """End the thread, after what it is at."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(PATIENCE)
