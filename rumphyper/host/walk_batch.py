"""Prepared batches of plain read(2) or write(2), by one foreign call.

libc's lfind(3) walks over an array of iovecs and calls a thunk for each, which does
the system call and leaves its result in the iovec; it ends where a call fails. Each
operation costs a system call and nothing of Python: less than by io_uring where
system calls are cheap, more where they are not.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import struct
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from rumphyper.errors import HostError
from rumphyper.host.libc import libc, pin
from rumphyper.host.library import ThunkLibrary
from rumphyper.host.slots import IMAGES, SlotBatch
from rumphyper.host.thunks import ThunkBuilder

IOVEC = struct.Struct("=QQ")
"""struct iovec where there are thunks: an address and a size."""

NOTHING = -errno.EAGAIN


@functools.cache
def _thunks() -> ThunkLibrary:
    """The calls for lfind(3), as (descriptor, iovec). Raises as `load` does."""
    builder = ThunkBuilder("librumphyper-walk.so")
    builder.kept("read_one")
    builder.kept("write_one")
    library = builder.load()
    library["read_one"].target = libc().read
    library["write_one"].target = libc().write
    return library


@functools.cache
def _walk() -> Callable[..., int | None]:
    """lfind(3) without argument types: its arguments are made only once."""
    return ctypes.CFUNCTYPE(ctypes.c_void_p, use_errno=True)(("lfind", libc()))


class WalkBatch(SlotBatch):
    """A batch by plain calls on ``fd``, which must not block.

    Raises UnsupportedError and HostError where thunks cannot be had.
    """

    thing = "batch of plain calls"

    def __init__(
        self,
        fd: int,
        count: int,
        size: int,
        *,
        write: bool,
        share: SlotBatch | None = None,
    ) -> None:
        thunk = _thunks().address("write_one" if write else "read_one")
        super().__init__(count, size, share)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._iovecs = mmap.mmap(-1, self.count * IOVEC.size, flags=flags)
        self._pin: ctypes.c_char | None = pin(self._iovecs)
        self._start = ctypes.addressof(self._pin)
        self._words = memoryview(self._iovecs).cast("q")
        self._sizes = self._words[1::2]
        self._images: OrderedDict[int, bytes] = OrderedDict()
        self._wanted = self._image(size)
        self._alike = size
        self._done = self._errno = 0
        self._call = _walk()
        self._number = ctypes.c_size_t()
        self._arguments = (
            ctypes.c_void_p(fd),
            ctypes.c_void_p(self._start),
            ctypes.byref(self._number),
            ctypes.c_size_t(IOVEC.size),
            ctypes.c_void_p(thunk),
        )

    def set_alike(self, length: int) -> None:
        if length != self._alike:
            self._check_lengths((length,))
            self._wanted, self._alike = self._image(length), length

    def set_lengths(self, lengths: Sequence[int]) -> None:
        self._check_lengths(lengths)
        words = array("Q", self._wanted)
        words[1 : 2 * len(lengths) : 2] = array("Q", lengths)
        self._wanted, self._alike = words.tobytes(), -1

    def _image(self, length: int) -> bytes:
        """The iovecs of operations that are all of ``length`` octets."""
        image = self._images.get(length)
        if image is None:
            places = (self.base + start for start in self.offsets)
            image = b"".join(IOVEC.pack(place, length) for place in places)
            self._images[length] = image
            if len(self._images) > IMAGES:
                self._images.popitem(last=False)
        return image

    def run(self, count: int) -> list[int]:
        # Those behind one that fails are not tried.
        self._run(count)
        return self.results(count)

    def run_alike(self, count: int, length: int) -> int:
        self._run(count)
        done = self._done
        if done < count and (self._errno != errno.EAGAIN or not self._sizes[done]):
            return -1
        end = done * IOVEC.size
        return done if self._iovecs[:end] == self._image(length)[:end] else -1

    def _run(self, count: int) -> None:
        if not 1 <= count <= self.count or self._pin is None:
            cause = f"{count} of {self.count} operations, or the batch is closed"
            raise HostError(self.thing, cause, "run from 1 to all", errno.EINVAL)
        end = count * IOVEC.size
        self._iovecs[:end] = self._wanted[:end]
        self._number.value = count
        ended = self._call(*self._arguments)
        if ended is None:
            self._done = count
        else:
            self._errno = ctypes.get_errno()
            self._done = (ended - self._start) // IOVEC.size

    def results(self, count: int) -> list[int]:
        done = self._done
        if count <= done:
            return self._sizes[:count].tolist()
        last = -self._errno if self._sizes[done] else 0
        rest = [NOTHING] * (count - done - 1)
        return [*self._sizes[:done].tolist(), last, *rest]

    def close(self) -> None:
        if self._pin is None:
            return
        self._pin = None
        self._sizes.release()
        self._words.release()
        self._iovecs.close()
        super().close()
