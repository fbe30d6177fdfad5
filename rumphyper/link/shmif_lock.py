"""The lock of a shmif bus, and what becomes of it when its holder dies.

The lock is NetBSD's (sys/rump/net/lib/libshmif/if_shmem.c): shm_lock goes from
0 to 1 by compare-and-swap and back by exchange. The C driver spins 1,001 times,
then sleeps 1 ms, for ever; it never looks at the word behind, shm_spare.

Our holders write their process token (`rumphyper.host.process`) into shm_spare
once they have the lock, and 0 before they give it back. So there are three
kinds of a lock that stays held:

* Its mark names a process that is dead. Only a holder writes its own mark, and
  none leaves it behind alive, so the holder died holding the lock. The waiter
  takes it over, by compare-and-swap of the *mark* from the dead one's to its
  own. shm_lock stays 1 all the time: no C driver can slip in, and of several
  waiters one wins, since the mark that the others expect is gone. The bus is
  whole, because our writers store in an order that leaves it so.
* Its mark names a living process, perhaps a stopped one. Nobody may take that
  lock. A waiter gives up after `HOLDER_TIMEOUT` with an error that names it.
* It has no mark, or one that cannot be judged from here: the holder is a C
  driver, or died in the few instructions between lock and mark, or lives in
  another pid namespace. Holders need microseconds. One that has changed
  nothing for `STRANGER_TIMEOUT`, counted in the waiter's own sleeps so that a
  suspended machine does not count, is given up, unless a process that maps the
  bus is stopped, traced or stuck in the kernel: that may be the holder. The
  mark is swapped as above. A C driver that died may have left half a packet,
  so the bus is emptied (`Bus.renew`) unless this end knows all of it.

What remains: a C driver that is neither stopped nor dead and still sleeps in
the middle of its copy for longer than that loses the lock, and what it then
writes may tear a frame. And a process id that is used again between a waiter's
look and its swap, by another holder of this very bus, is mistaken for the dead
one; ids would have to go round within microseconds for that.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TypeVar

from rumphyper.errors import LinkError
from rumphyper.host.atomic import Word
from rumphyper.host.process import is_gone, own_token, pid_of, state_of, users_of
from rumphyper.link.shmif_file import BusFile
from rumphyper.ring.shmif import LOCK_WORD, SPARE_WORD, Bus

T = TypeVar("T")

SPINS = 200
"""Tries before the first sleep: about 20 us, ten times what a holder needs."""
FIRST_PAUSE, LONGEST_PAUSE = 50e-6, 1e-3
DEAD_TIMEOUT = 0.005
"""Seconds a lock must stand still before its mark is looked at."""
STRANGER_TIMEOUT = 2.0
"""Seconds until a holder that cannot be judged is given up."""
HOLDER_TIMEOUT = 10.0
"""Seconds until a waiter gives up on a holder that lives."""


class BusLock:
    """Runs functions with the bus's lock held.

    ``check`` is called before each sleep and may raise, to end the wait (the
    link was closed). ``taken_over`` counts recoveries from dead holders.
    """

    def __init__(self, file: BusFile, bus: Bus, check: Callable[[], None]) -> None:
        self._file = file
        self._bus = bus
        self._check = check
        self._word = Word(file.memory, 4 * LOCK_WORD)
        self._words = bus.words
        self.tries: Iterator[int] = iter(self._word.acquire, -1)
        """Endless; each value is one try for the lock, true when we have it."""
        self.release: Callable[[], object] = self._word.release
        self.mark = own_token()
        self.taken_over = 0
        self.known_end: Callable[[], int] = lambda: -1
        """Tells up to which position this end has read the bus."""
        _all.add(self)

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        # The word's functions may serve another word from now on.
        self.tries = iter(())
        self.release = self._word.close
        self._word.close()

    def run(self, body: Callable[..., T], *args: object) -> T:
        """Call ``body(*args)`` with the lock held and return its result.

        Raises what the body and ``check`` raise; CorruptError for a lock that
        is neither 0 nor 1; LinkError when its holder does not let go.
        """
        held: object = 0
        try:
            # An exception out of nowhere (Ctrl-C) must not leave the lock held.
            # None can come between the try in ``for`` and its store in ``held``.
            for held in self.tries:  # noqa: B007
                break
            if not held:
                waited: list[int] = []
                held = waited
                self.wait(waited)
            self._words[SPARE_WORD] = self.mark
            return body(*args)
        finally:
            if held:
                self._words[SPARE_WORD] = 0
                self.release()

    def wait(self, held: list[int]) -> None:
        """Return once the lock is ours and ``held`` is not empty."""
        # extend() tries until a try fails: at once when somebody else has the
        # lock, the second time when we got it. No exception can come inside.
        for _ in range(SPINS):
            held.extend(iter(self._word.acquire, 0))
            if held:
                return
        pause, still, look_at = FIRST_PAUSE, 0.0, DEAD_TIMEOUT
        before: object = None
        while not held:
            self._check()
            self._file.check_size()
            value, mark = self._bus.lock_value, self._words[SPARE_WORD]
            if value not in (0, 1):
                raise self._bus.corrupt("lock", value, "it is 0 or 1")
            now = value, mark, self._bus.state
            if now != before:
                before, still, look_at = now, 0.0, DEAD_TIMEOUT
            elif value and still >= look_at:
                if self._may_take(mark, still):
                    self._take_over(mark, held)
                    continue
                look_at = still * 1.25 + DEAD_TIMEOUT
            time.sleep(pause)
            still += pause
            pause = min(pause * 2, LONGEST_PAUSE)
            held.extend(iter(self._word.acquire, 0))

    def _may_take(self, mark: int, still: float) -> bool:
        """Whether the holder with this mark, unmoved for so long, has gone."""
        gone = is_gone(mark)
        if gone is not None:
            if not gone and still >= HOLDER_TIMEOUT:
                raise self._stuck(pid_of(mark))
            return gone
        if still < STRANGER_TIMEOUT:
            return False
        frozen = [p for p, s in users_of(self._file.inode).items() if s in "TtD"]
        if frozen and still >= HOLDER_TIMEOUT:
            raise self._stuck(frozen[0])
        return not frozen

    def _stuck(self, pid: int) -> LinkError:
        state = state_of(pid)
        return LinkError(
            self._bus.name,
            f"the lock is held by process {pid}, in state "
            f"{state.letter if state else '?'}, for {HOLDER_TIMEOUT:.0f} s",
            "let that process go on, or end it",
        )

    def _take_over(self, mark: int, held: list[int]) -> None:
        """Swap the mark of a holder that is gone for ours; ours is the lock then."""
        own = self.mark
        if not own:
            # Without /proc there is no mark to own the lock by.
            raise LinkError(
                self._bus.name,
                "the lock's holder is gone and /proc is not there to take over",
                "mount /proc, or end all users of the bus and remove the file",
            )
        word = Word(self._file.memory, 4 * SPARE_WORD)
        try:
            if not word.compare_and_swap(mark, own):
                return
        finally:
            word.close()
        if not self._bus.lock_value:
            # A holder without a mark has let go after all, just now.
            self._words[SPARE_WORD] = 0
            return
        held.append(1)
        self.taken_over += 1
        self._bus.check_kind()
        if not self._bus.is_sound() or (
            is_gone(mark) is None and self._bus.end() != self.known_end()
        ):
            self._bus.renew()


_all: weakref.WeakSet[BusLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in _all:
        lock.mark = own_token()


os.register_at_fork(after_in_child=_after_fork)
