"""EAL's log, as Python's logging gets it: the logger ``rumphyper.dpdk``.

EAL writes to a FILE, which is a pipe here. Its end is non-blocking: who writes may
hold the GIL, and lines that nobody has read yet are lost rather than waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import threading
from collections import deque

from rumphyper.dpdk.library import Dpdk
from rumphyper.host.libc import check_pointer, libc

LOGGER = logging.getLogger("rumphyper.dpdk")
KEPT = 8
"""Lines that are kept to explain a failure."""


class Log:
    """Reads what DPDK logs, on a thread of its own and whenever it is asked."""

    def __init__(self, dpdk: Dpdk) -> None:
        self._dpdk = dpdk
        self._lock = threading.RLock()
        self._rest = b""
        self._recent: deque[str] = deque(maxlen=KEPT)
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fdopen = libc().fdopen
        fdopen.restype, fdopen.argtypes = (
            ctypes.c_void_p,
            (ctypes.c_int, ctypes.c_char_p),
        )
        self._file = check_pointer(fdopen(writer, b"w"), "DPDK's log")
        dpdk.lib.rte_openlog_stream(self._file)
        self._thread = threading.Thread(
            target=self._follow, name="dpdk log", daemon=True
        )
        self._thread.start()

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            poll.poll()
            if not self.drain():
                return

    def drain(self) -> bool:
        """Log what has been written; false when the far end is closed."""
        with self._lock:
            if self._reader < 0:
                return False
            over = False
            with contextlib.suppress(BlockingIOError):
                while part := os.read(self._reader, 1 << 16):
                    self._rest += part
                over = True
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").strip()
                if text:
                    self._recent.append(text)
                    LOGGER.info("%s", text)
            return not over

    def forget(self) -> None:
        """Start anew with what is kept to explain a failure."""
        self.drain()
        with self._lock:
            self._recent.clear()

    def recent(self) -> str:
        """The last lines since `forget`, joined; empty if there were none."""
        self.drain()
        with self._lock:
            return "; ".join(self._recent)

    def close(self) -> None:
        """Give the log back to EAL's own default."""
        self._dpdk.lib.rte_openlog_stream(None)
        fclose = libc().fclose
        fclose.argtypes = (ctypes.c_void_p,)
        fclose(self._file)
        self._thread.join()
        with self._lock:
            os.close(self._reader)
            self._reader = -1
