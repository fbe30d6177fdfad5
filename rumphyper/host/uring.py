"""io_uring: a submission and a completion ring shared with the kernel.

Only what batches of prepared reads and writes need: set up, register one
descriptor and one buffer, submit a run of SQEs and wait for their CQEs. See
`rumphyper.host.uring_batch` for the batches.

The rings are read and written through memoryviews, which check every index,
and the indexes that the kernel wrote are checked besides. Order between this
thread and the kernel comes from io_uring_enter(2) itself: SQEs are written
before it, CQEs read after it, and there is no kernel thread (SQPOLL) that
would look in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
from array import array
from collections.abc import Callable

from typing_extensions import Self

from rumphyper.errors import HostError, RumphyperError, UnsupportedError
from rumphyper.host import uring_abi as abi
from rumphyper.host.libc import failure, from_oserror
from rumphyper.host.syscalls import number, syscall

THING = "io_uring"
REMEDY = "use plain reads and writes (io='plain')"
DISABLED = "/proc/sys/kernel/io_uring_disabled"
WORD = 0xFFFFFFFF
WAIT = abi.ENTER_GETEVENTS


@functools.cache
def _entry() -> Callable[..., int]:
    """syscall(2) without a prototype, for io_uring_enter(2).

    From a handle of its own, so that nobody gives it argument types: checking
    seven of them takes longer than the system call. Integers go as C ints,
    which all arguments of this one are but a null pointer.
    """
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


def refusal() -> str:
    """Why io_uring does not work here; an empty string when it does."""
    try:
        Ring(1).close()
    except RumphyperError as error:
        return error.cause
    return ""


def _refused(error: HostError) -> RumphyperError:
    """Say what a refused io_uring_setup(2) means."""
    code = error.errno
    if code == errno.ENOSYS:
        cause = "this kernel has no io_uring"
    elif code in (errno.EPERM, errno.EACCES):
        cause = _forbidden()
    elif code == errno.ENOMEM:
        remedy = f"raise the limit of locked memory (ulimit -l), or {REMEDY}"
        return HostError(THING, "not enough memory may be locked", remedy, code)
    else:
        return HostError(THING, error.cause, REMEDY, code)
    return UnsupportedError(THING, cause, REMEDY)


def _forbidden() -> str:
    """Who forbids io_uring: the sysctl, or else a filter of system calls."""
    try:
        with open(DISABLED, encoding="ascii") as file:
            setting = file.read().strip()
    except OSError:
        setting = ""
    if setting in ("1", "2"):
        return f"forbidden by kernel.io_uring_disabled={setting}"
    return "forbidden by a filter of system calls (seccomp), as containers have"


class Ring:
    """One io_uring of at least ``entries`` SQEs, for one thread at a time.

    The owner fills ``sqes`` (64 octets each) and calls `submit`. The SQ array
    maps places of the ring to SQEs, so that any run of prepared SQEs can be
    submitted at any place.

    Raises UnsupportedError when the kernel has none or forbids it, HostError
    when it fails otherwise.
    """

    def __init__(self, entries: int) -> None:
        if not 1 <= entries <= abi.MAX_ENTRIES:
            cause = f"{entries} entries, the kernel has 1 to {abi.MAX_ENTRIES}"
            raise HostError(THING, cause, "use fewer", errno.EINVAL)
        self.fd = -1
        self._files = self._buffers = False
        self._mapped_place = self._mapped_count = 0
        self._enter = _entry()
        self._number = number("io_uring_enter")
        self._views: list[memoryview] = []
        self._maps: list[mmap.mmap] = []
        params = abi.Params()
        try:
            self.fd = syscall("io_uring_setup", entries, ctypes.addressof(params))
        except HostError as error:
            raise _refused(error) from None
        try:
            self._open(params)
        except BaseException:
            self.close()
            raise

    def _open(self, params: abi.Params) -> None:
        if params.features & abi.FEATURES != abi.FEATURES:
            raise UnsupportedError(THING, "this kernel is older than 5.6", REMEDY)
        self.entries = params.sq_entries
        self.cq_entries = params.cq_entries
        sq, cq = params.sq_off, params.cq_off
        cqes_end = cq.cqes + abi.CQE_SIZE * self.cq_entries
        size = max(sq.array + 4 * self.entries, cqes_end)
        rings = self._view(size, abi.OFF_SQ_RING)
        self.sqes = self._view(abi.SQE_SIZE * self.entries, abi.OFF_SQES)
        self._words = self.keep(rings[: size // 4 * 4].cast("I"))
        self._places = self.keep(self._words[sq.array // 4 :][: self.entries])
        self._sq_head = sq.head // 4
        self._sq_tail = sq.tail // 4
        self._cq_head = cq.head // 4
        self._cq_tail = cq.tail // 4
        self.cqes = self.keep(rings[cq.cqes : cqes_end])
        self.cq_area, self.cqes_offset = self._maps[0], cq.cqes
        self._numbers = memoryview(array("I", range(self.entries)))

    def _view(self, size: int, offset: int) -> memoryview:
        try:
            area = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED, offset=offset)
        except OSError as error:
            raise from_oserror(error, "mmap of an io_uring", REMEDY) from None
        self._maps.append(area)
        return self.keep(memoryview(area))

    def keep(self, view: memoryview) -> memoryview:
        """Note a view of the ring's memory, to be released by `close`."""
        self._views.append(view)
        return view

    def register_file(self, fd: int) -> None:
        """Make ``fd`` the fixed file 0. Raises HostError."""
        descriptor = ctypes.c_int32(fd)
        self._register(abi.REGISTER_FILES, ctypes.addressof(descriptor))
        self._files = True

    def register_buffer(self, address: int, size: int) -> None:
        """Make ``size`` octets at ``address`` the fixed buffer 0; pins them.

        Raises HostError, ENOMEM when so much memory may not be locked. The
        caller keeps the memory until `close`.
        """
        iovec = abi.Iovec(address, size)
        self._register(abi.REGISTER_BUFFERS, ctypes.addressof(iovec))
        self._buffers = True

    def _register(self, operation: int, address: int) -> None:
        syscall("io_uring_register", self.fd, operation, address, 1)

    def submit(self, count: int) -> int:
        """Submit the first ``count`` SQEs and wait for as many CQEs.

        Returns the index in ``cqes`` of the first new CQE; the ``count`` CQEs
        from there on (modulo ``cq_entries``) are valid until the next submit.
        Meant for operations that never wait. Raises HostError.
        """
        if not 1 <= count <= self.entries or self.fd < 0:
            cause = f"{count} of {self.entries} SQEs, or the ring is closed"
            raise HostError(THING, cause, "submit from 1 to all", errno.EINVAL)
        words = self._words
        # The kernel's head, not our tail: what an interrupted call had put
        # there without handing it over is overwritten.
        start = words[self._sq_head]
        place = start % self.entries
        if place != self._mapped_place or count != self._mapped_count:
            self._map(place, count)
        head = words[self._cq_tail]
        words[self._cq_head] = head
        words[self._sq_tail] = (start + count) & WORD
        done = self._enter(self._number, self.fd, count, count, WAIT, None, 0)
        if done != count or words[self._cq_tail] != (head + count) & WORD:
            self._finish(count, done, head)
        return head % self.cq_entries

    def _map(self, place: int, count: int) -> None:
        """Let the SQ array's entries from ``place`` on name the first SQEs."""
        room = min(count, self.entries - place)
        self._places[place : place + room] = self._numbers[:room]
        if room < count:
            self._places[: count - room] = self._numbers[room:count]
        self._mapped_place, self._mapped_count = place, count

    def _finish(self, count: int, done: int, head: int) -> None:
        """Go on after a call that did less than it was to; a signal may do that."""
        while True:
            if done < 0:
                error = failure(THING, REMEDY)
                if error.errno != errno.EINTR:
                    raise error
            left = (self._words[self._sq_tail] - self._words[self._sq_head]) & WORD
            ended = (self._words[self._cq_tail] - head) & WORD
            if ended == count and not left:
                return
            if ended > count or left > count:
                cause = f"{ended} completions of {count} operations"
                raise HostError(THING, cause, REMEDY, errno.EPROTO)
            done = self._enter(self._number, self.fd, left, count, WAIT, None, 0)

    def close(self) -> None:
        """Give up what is registered, unmap and close. Idempotent.

        What is registered is given up first, at once: the kernel takes a
        closed ring apart later, and until then it would hold the file.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        for there, operation in (
            (self._files, abi.UNREGISTER_FILES),
            (self._buffers, abi.UNREGISTER_BUFFERS),
        ):
            if there:
                with contextlib.suppress(HostError):
                    syscall("io_uring_register", fd, operation, None, 0)
        for view in reversed(self._views):
            view.release()
        for area in self._maps:
            area.close()
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
