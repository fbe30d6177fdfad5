"""Prepared batches of reads or writes of one descriptor, by io_uring.

Equally long slots of memory have one SQE each, filled in once.
What changes between two runs is how many of them go, and for writes how long
each is. Descriptor and memory are registered with the ring, which saves the
kernel looking them up for every frame; where the limit on locked memory
forbids that, the same reads and writes go without.

Every operation carries RWF_NOWAIT: O_NONBLOCK does not give EAGAIN in
io_uring, the operation would be parked instead. A run therefore never blocks.
"""

from __future__ import annotations

import errno
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from rumphyper.errors import HostError
from rumphyper.host import uring_abi as abi
from rumphyper.host.slots import IMAGES, SlotBatch
from rumphyper.host.uring import REMEDY, THING, Ring

CQE_SIZE = abi.CQE_SIZE


class Batch(SlotBatch):
    """A batch by io_uring; ``write`` says which way.

    Raises UnsupportedError and HostError as `rumphyper.host.uring.Ring` does.
    """

    thing = THING

    def __init__(
        self,
        fd: int,
        count: int,
        size: int,
        *,
        write: bool,
        share: SlotBatch | None = None,
    ) -> None:
        super().__init__(count, size, share)
        self._closed = False
        self._ring = Ring(self.count)
        try:
            self._prepare(fd, write)
        except BaseException:
            self._ring.close()
            raise

    def _prepare(self, fd: int, write: bool) -> None:
        ring, count, size = self._ring, self.count, self.size
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

    # -- before a run --------------------------------------------------------

    def set_alike(self, length: int) -> None:
        if length != self._alike:
            self.set_lengths([length] * self.count)
            self._alike = length

    def set_lengths(self, lengths: Sequence[int]) -> None:
        self._check_lengths(lengths)
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

    def run_alike(self, count: int, length: int) -> int:
        # Only where the CQEs are in order and without flags, too.
        first = self._first = self._ring.submit(count)
        if length != self._image_length or count != self._image_count:
            self._choose_image(count, length)
        if first + count <= self._entries:
            start = self._start + first * CQE_SIZE
            found = self._area[start : start + count * CQE_SIZE]
        else:
            found = self._completions(count)
        return count if found == self._image else -1

    def results(self, count: int) -> list[int]:
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
        """Close the ring, then let go of the slots. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._ring.close()
        super().close()
