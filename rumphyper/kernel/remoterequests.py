"""What a server asks of its client: memory, pages and signals.

A server may be hostile. It reads and writes only what calls in flight have lent
(remotememory.py); reading anything else is refused, writing it ends the
connection. Signals are passed on only to handlers of this program's.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import threading
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls import signals
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import COPYDATA, RESP, Frame, pack
from rumphyper.kernel.interrupt import get_handler
from rumphyper.kernel.remotememory import Range, find

MAX_PAGES = 64 << 20
"""Octets that a server may have mapped here (ANONMMAP) as a whole."""

MAX_SIGNALS = 64
"""Signals that wait to be raised; more are lost, as in any Unix."""

_COPYOUTS = (frames.COPYOUT, frames.COPYOUTSTR)
_COPYINS = (frames.COPYIN, frames.COPYINSTR)


class Lender(Protocol):
    """A call in flight."""

    ranges: list[Range]
    abandoned: bool


class ServerRequests:
    """Answers one server; ``lenders`` are the calls in flight."""

    def __init__(self, lenders: Mapping[int, Lender]) -> None:
        self.lock = threading.Lock()
        """Held while memory is copied: who takes memory back needs it."""

        self.signals: deque[int] = deque()
        """NetBSD's numbers of those to be raised, once nobody reads."""

        self._lenders = lenders
        self._pages: list[mmap.mmap] = []
        self._page_ranges: list[Range] = []
        self._refused: deque[tuple[int, str]] = deque(maxlen=64)

    def serve(self, frame: Frame) -> bytes:
        """Do what a request asks for; the frame to send back, if any.

        Raises ProtocolError for a request that ends the connection.
        """
        kind = frame.type
        if kind in _COPYOUTS:
            self._copy_out(frame)
            return b""
        if kind in _COPYINS:
            return self._copy_in(frame)
        if kind == frames.ANONMMAP:
            start = self._map(*frames.SIZE.unpack(frame.body))
            return pack(frame.reqno, RESP, kind, 0, frames.ADDRESS.pack(start))
        if len(self.signals) < MAX_SIGNALS:
            self.signals.append(frame.word)
        return b""

    def unasked(self, frame: Frame) -> None:
        """An answer that no call waits for.

        The stock server understands no refusal: it answers that with an error,
        and the call that asked for the memory never ends. Raises ProtocolError
        then; calls that were given up are answered late, that is no fault.
        """
        for number, text in self._refused:
            if frame.cls == frames.ERROR and frame.reqno == number:
                raise ProtocolError(
                    text,
                    "no call has lent that memory",
                    "a pointer or size in the arguments of a call was wrong",
                )

    def _lent(self, start: int, size: int, writing: bool = False) -> Range | None:
        """The range that holds these octets, and that can be trusted to be there.

        A call whose caller has given up may still read what it keeps alive.
        """
        for lender in list(self._lenders.values()):
            found = find(lender.ranges, start, size, writing)
            if found is None:
                continue
            if not lender.abandoned or (found.owner is not None and not writing):
                return found
        return find(self._page_ranges, start, size, writing)

    def _given_up(self, start: int, size: int) -> bool:
        """Whether the octets were lent by a call whose caller has given up."""
        return any(
            lender.abandoned and find(lender.ranges, start, size, True) is not None
            for lender in list(self._lenders.values())
        )

    def _copy_out(self, frame: Frame) -> None:
        size, start = COPYDATA.unpack_from(frame.body)
        octets = frame.body[COPYDATA.size :]
        text = f"COPYOUT of {size} octets to {start:#x}"
        if len(octets) != size:
            raise ProtocolError(text, f"it brings {len(octets)}")
        with self.lock:
            if self._lent(start, size, writing=True) is not None:
                ctypes.memmove(start, octets, size)
            elif not self._given_up(start, size):
                raise ProtocolError(
                    text,
                    "no call has lent that memory for writing",
                    "a pointer or size in the arguments of a call was wrong",
                )

    def _copy_in(self, frame: Frame) -> bytes:
        size, start = COPYDATA.unpack(frame.body)
        string = frame.type == frames.COPYINSTR
        with self.lock:
            octets = self._string(start, size) if string else self._octets(start, size)
        if octets is None:
            text = f"{frames.TYPES[frame.type]} of {size} octets at {start:#x}"
            self._refused.append((frame.reqno, text))
            word = frames.ERR_MALFORMED_REQUEST
            return pack(frame.reqno, frames.ERROR, frame.type, word)
        return pack(frame.reqno, RESP, frames.COPYIN, 0, octets)

    def _octets(self, start: int, size: int) -> bytes | None:
        if size > frames.LIMIT or self._lent(start, size) is None:
            return None
        return ctypes.string_at(start, size)

    def _string(self, start: int, size: int) -> bytes | None:
        """A string up to its NUL, or ``size`` octets of it if it is longer."""
        found = self._lent(start, 1)
        if found is None or not size:
            return None
        room = min(size, found.end - start, frames.LIMIT)
        octets, nul, _ = ctypes.string_at(start, room).partition(b"\0")
        return octets + nul if nul or room == size else None

    def _map(self, size: int) -> int:
        """Map zeroed pages for the server; where, or 0 if that cannot be."""
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        total = sum(len(one) for one in self._pages)
        if not 0 < size <= MAX_PAGES - total:
            return 0
        try:
            pages = mmap.mmap(-1, size)
        except (OSError, ValueError):
            return 0
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self._pages.append(pages)
        self._page_ranges.append(Range(start, start + size, True))
        return start

    def raise_signals(self) -> None:
        """Raise the kernel's signals that this program has handlers for.

        Others would stop or end the program at the server's will. Raises what
        the handlers raise, on the main thread.
        """
        while self.signals:
            host = signals.to_host(self.signals.popleft())
            if host and callable(get_handler(host)):
                signal.raise_signal(host)
