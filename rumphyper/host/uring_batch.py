"""Prepared batches of reads or writes of one descriptor, by io_uring.

A batch owns equally long slots of memory and one SQE for each, filled in once.
What changes between two runs is how many of them go, and for writes how long
each is. Descriptor and memory are registered with the ring, which saves the
kernel looking them up for every frame; where the limit on locked memory
forbids that, the same reads and writes go without.

Every operation carries RWF_NOWAIT: O_NONBLOCK does not give EAGAIN in
io_uring, the operation would be parked instead. A run therefore never blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host import uring_abi as abi
from rumphyper.host.libc import pin
from rumphyper.host.uring import REMEDY, THING, Ring

CQE_SIZE = abi.CQE_SIZE

MOST_MEMORY = 1 << 23
"""Octets of slots at most; long slots are fewer."""

IMAGES = 32
"""Lengths for which the completions of a whole batch are kept."""


class Batch:
    """``count`` slots of ``size`` octets and one prepared operation for each.

    ``write`` says which way. ``memory`` is the slots, one behind the other;
    ``slots`` has a view of each. ``count`` may come out lower than asked for,
    so that the slots stay within `MOST_MEMORY`. With ``share`` the slots are
    those of another batch, as many and as long, which is closed after this one.
    For one thread at a time.

    Raises UnsupportedError and HostError as `rumphyper.host.uring.Ring` does.
    """

    def __init__(
        self,
        fd: int,
        count: int,
        size: int,
        *,
        write: bool,
        share: Batch | None = None,
    ) -> None:
        if share is not None:
            count, size = share.count, share.size
        if count < 1 or size < 1:
            cause = f"{count} slots of {size} octets"
            raise HostError(THING, cause, "ask for at least one", errno.EINVAL)
        self.count: int = max(1, min(count, MOST_MEMORY // size))
        self.size: int = size
        self._closed = False
        self._ring = Ring(self.count)
        try:
            self._prepare(fd, write, share)
        except BaseException:
            self._ring.close()
            raise

    def _prepare(self, fd: int, write: bool, share: Batch | None) -> None:
        ring, count, size = self._ring, self.count, self.size
        if share is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self.memory = mmap.mmap(-1, count * size, flags=flags)
        else:
            self.memory = share.memory
        self._pinned: ctypes.c_char | None = pin(self.memory)
        self.base = ctypes.addressof(self._pinned)
        self.fixed = True
        """Whether the kernel has the slots registered."""
        try:
            ring.register_buffer(self.base, count * size)
        except HostError as error:
            if error.errno not in (errno.ENOMEM, errno.EPERM):
                raise
            self.fixed = False
        ring.register_file(fd)
        if write:
            operation = abi.OP_WRITE_FIXED if self.fixed else abi.OP_WRITE
        else:
            operation = abi.OP_READ_FIXED if self.fixed else abi.OP_READ
        head = (operation, abi.IOSQE_FIXED_FILE, 0, 0, abi.CURRENT_POSITION)
        self._tags = [self.base + start for start in self.offsets]
        for index, tag in enumerate(self._tags):
            rest = (tag, size, abi.RWF_NOWAIT, tag, 0, 0, 0, 0, 0)
            abi.SQE.pack_into(ring.sqes, index * abi.SQE_SIZE, *head, *rest)
        self.slots = [
            memoryview(self.memory)[start : start + size] for start in self.offsets
        ]
        words = ring.keep(ring.sqes.cast("I"))
        self._lengths = ring.keep(words[abi.SQE_LENGTH_WORD :: abi.SQE_SIZE // 4])
        self._alike = size
        self._images: OrderedDict[int, bytes] = OrderedDict()
        self._image = b""
        self._image_count = self._image_length = 0
        self._area, self._start = ring.cq_area, ring.cqes_offset
        self._entries = ring.cq_entries
        self._expected = memoryview(array("Q", self._tags))
        self._first = 0

    @property
    def offsets(self) -> range:
        """Where each slot starts in ``memory``."""
        return range(0, self.count * self.size, self.size)

    # -- before a run --------------------------------------------------------

    def set_alike(self, length: int) -> None:
        """Make every operation one of ``length`` octets. Raises HostError."""
        if length != self._alike:
            self.set_lengths([length] * self.count)
            self._alike = length

    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Set how many octets the first slots' operations are for.

        Raises HostError when there are more lengths than slots, or one is
        negative or longer than a slot.
        """
        fit = len(lengths) <= self.count
        if not fit or not 0 <= min(lengths) <= max(lengths) <= self.size:
            cause = f"lengths beyond {self.count} slots of {self.size} octets"
            raise HostError(THING, cause, "send less at once", errno.EINVAL)
        self._alike = -1
        self._lengths[: len(lengths)] = memoryview(array("I", lengths))

    # -- a run ---------------------------------------------------------------

    def run(self, count: int) -> list[int]:
        """Do the first ``count`` operations; return the result of each.

        A result is the number of octets, or a negated errno: ``-EAGAIN`` when
        there was nothing to read or no room to write. A later operation can
        succeed where an earlier one did not, as frames come in meanwhile.
        Raises HostError.
        """
        self._first = self._ring.submit(count)
        return self.results(count)

    def run_alike(self, count: int, length: int) -> bool:
        """Like `run`, for when all results are likely ``length``.

        True when they are, and the CQEs are in order and without flags: that
        is found out by one comparison. False tells nothing, `results` does.
        """
        first = self._first = self._ring.submit(count)
        if length != self._image_length or count != self._image_count:
            self._choose_image(count, length)
        if first + count <= self._entries:
            start = self._start + first * CQE_SIZE
            found = self._area[start : start + count * CQE_SIZE]
        else:
            found = self._completions(count)
        return found == self._image

    def results(self, count: int) -> list[int]:
        """The results of the latest run's first ``count`` operations."""
        cqes = memoryview(self._completions(count))
        results: list[int] = cqes.cast("i")[abi.CQE_RESULT_WORD :: 4].tolist()
        in_order = cqes.cast("Q")[::2] == self._expected[:count]
        return results if in_order else self._sort(count)

    def _choose_image(self, count: int, length: int) -> None:
        """Let ``_image`` be the CQEs of so many results of this length."""
        image = self._images.get(length)
        if image is None:
            image = b"".join(abi.CQE.pack(tag, length, 0) for tag in self._tags)
            self._images[length] = image
            if len(self._images) > IMAGES:
                self._images.popitem(last=False)
        self._image = image[: count * CQE_SIZE]
        self._image_count, self._image_length = count, length

    def _completions(self, count: int) -> bytes:
        """The latest run's first CQEs."""
        start, size = self._first * CQE_SIZE, count * CQE_SIZE
        found = self._ring.cqes[start : start + size].tobytes()
        return found + self._ring.cqes[: size - len(found)].tobytes()

    def _sort(self, count: int) -> list[int]:
        """Put results in the order of the slots, by the address each carries."""
        places = {tag: slot for slot, tag in enumerate(self._tags[:count])}
        ordered = [0] * count
        for tag, result, _ in abi.CQE.iter_unpack(self._completions(count)):
            slot = places.pop(tag, None)
            if slot is None:
                cause = f"a completion of an operation that is not there: {tag:#x}"
                raise HostError(THING, cause, REMEDY, errno.EPROTO)
            ordered[slot] = result
        return ordered

    def close(self) -> None:
        """Close the ring and let go of descriptor and slots. Idempotent.

        Views of slots that others still hold stay readable; the memory goes
        with the last of them.
        """
        if self._closed:
            return
        self._closed = True
        self._ring.close()
        self._pinned = None
        self.slots = []
        with contextlib.suppress(BufferError):
            self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
