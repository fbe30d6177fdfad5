"""Batches of reads or writes of one descriptor, prepared in advance.

Two ways do them in one foreign call: `rumphyper.host.uring_batch` and
`rumphyper.host.walk_batch`. Here is what they share: the memory that frames lie in.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import errno
import mmap
from collections.abc import Sequence

from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host.libc import pin

MOST_MEMORY = 1 << 23
"""Octets of slots at most; long slots are fewer."""

IMAGES = 32
"""Lengths for which the results of a whole batch are kept."""


class SlotBatch(abc.ABC):
    """``count`` slots of ``size`` octets and one prepared operation for each.

    ``memory`` is the slots, one behind the other; ``slots`` has a view of each.
    ``count`` may come out lower than asked for, so that the slots stay within
    `MOST_MEMORY`. With ``share`` the slots are those of another batch, as many and
    as long, which is closed after this one. A run never blocks, if the descriptor
    does not. For one thread at a time. Raises HostError for no slots.
    """

    thing: str
    """What errors name."""

    def __init__(self, count: int, size: int, share: SlotBatch | None) -> None:
        if share is not None:
            count, size = share.count, share.size
        if count < 1 or size < 1:
            cause = f"{count} slots of {size} octets"
            raise HostError(self.thing, cause, "ask for at least one", errno.EINVAL)
        self.count: int = max(1, min(count, MOST_MEMORY // size))
        self.size: int = size
        if share is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self.memory = mmap.mmap(-1, self.count * size, flags=flags)
        else:
            self.memory = share.memory
        self._pinned: ctypes.c_char | None = pin(self.memory)
        self.base = ctypes.addressof(self._pinned)
        self.slots = [
            memoryview(self.memory)[start : start + size] for start in self.offsets
        ]

    @property
    def offsets(self) -> range:
        """Where each slot starts in ``memory``."""
        return range(0, self.count * self.size, self.size)

    # -- before a run --------------------------------------------------------

    @abc.abstractmethod
    def set_alike(self, length: int) -> None:
        """Make every operation one of ``length`` octets. Raises HostError."""

    @abc.abstractmethod
    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Set how many octets the first slots' operations are for.

        Raises HostError when there are more lengths than slots, or one is
        negative or longer than a slot.
        """

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        fit = len(lengths) <= self.count
        if not fit or not 0 <= min(lengths) <= max(lengths) <= self.size:
            cause = f"lengths beyond {self.count} slots of {self.size} octets"
            raise HostError(self.thing, cause, "send less at once", errno.EINVAL)

    # -- a run ---------------------------------------------------------------

    @abc.abstractmethod
    def run(self, count: int) -> list[int]:
        """Do the first ``count`` operations; return the result of each.

        A result is the number of octets, or a negated errno: ``-EAGAIN`` when
        there was nothing to read or no room to write. Raises HostError.
        """

    @abc.abstractmethod
    def run_alike(self, count: int, length: int) -> int:
        """Like `run`, for when all results are likely ``length``.

        Returns how many results are, when the others are ``-EAGAIN`` and behind them:
        that is found out by one comparison. Negative tells nothing, `results` does.
        """

    @abc.abstractmethod
    def results(self, count: int) -> list[int]:
        """The results of the latest run's first ``count`` operations."""

    def close(self) -> None:
        """Let go of the slots. Idempotent.

        Views of slots that others still hold stay readable; the memory goes
        with the last of them.
        """
        self._pinned = None
        self.slots = []
        with contextlib.suppress(BufferError):
            self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
