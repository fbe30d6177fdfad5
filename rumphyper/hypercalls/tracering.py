"""What a trace has from recorded and timed thunks: octets, totals, losses."""

from __future__ import annotations

import time

from rumphyper.host.recordring import SIZE
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.taps import Tap, Taps, capacity_for
from rumphyper.hypercalls.tracejournal import WAITING
from rumphyper.hypercalls.tracerecord import Record, Total, from_words

PATIENCE = 100
"""Milliseconds that the end of a trace waits for a record to be finished."""


class RingSide:
    """One trace's part of the calls that C answers; not for several threads.

    Without ``keep`` there are no records, only totals. With it the newest are
    kept, as octets: to put them into words takes longer than the calls did. A
    ``prompt`` reader takes all, and those that it is too slow for are lost.
    """

    def __init__(self, keep: int, prompt: bool, slower_than: int) -> None:
        self._keep = keep
        self._prompt = prompt
        self._slower_than = slower_than
        self._taps: Taps | None = None
        self._tap: Tap | None = None
        self._octets: list[tuple[Tap, bytes]] = []
        self._skipped = 0
        self._lost = 0
        self._totals: dict[str, Total] = {}

    @property
    def attached(self) -> bool:
        """Whether a hypervisor is being recorded."""
        return self._taps is not None

    def attach(self, taps: Taps) -> None:
        """Record a hypervisor from now on."""
        self._taps = taps

    def aim(self, call: Hypercall, target: int) -> int:
        """The address of a thunk that records calls of C code at ``target``."""
        if self._tap is None:
            assert self._taps is not None
            self._tap = self._make_tap(self._taps)
        return self._tap.aim(call, target)

    def _make_tap(self, taps: Taps) -> Tap:
        if self._prompt:
            library = taps.recorded(WAITING)
            return Tap(library, overwriting=False, slower_than=self._slower_than)
        if self._keep:
            library = taps.recorded(capacity_for(self._keep))
            return Tap(library, slower_than=self._slower_than)
        return Tap(taps.timed())

    def detach(self) -> None:
        """The end of recording; what there is stays.

        A thread that was stopped in the middle of a record holds back those
        of others: it gets some time to finish.
        """
        self.gather()
        tap, self._tap, self._taps = self._tap, None, None
        if tap is not None:
            for _ in range(PATIENCE):
                if not tap.unfinished:
                    break
                time.sleep(0.001)
                self._gather(tap)
            self._lost += tap.lost + tap.unfinished
            add_totals(self._totals, tap.totals())

    def gather(self) -> None:
        """Take what the ring has; of what is not prompt, what is to be kept."""
        if self._tap is not None:
            self._gather(self._tap)

    def _gather(self, tap: Tap) -> None:
        pieces, skipped = tap.take(None if self._prompt else self._keep)
        self._skipped += skipped
        self._octets += [(tap, piece) for piece in pieces]
        if not self._prompt:
            self._drop(sum(len(one) for _, one in self._octets) // SIZE)

    def _drop(self, count: int) -> None:
        """Drop the oldest of ``count`` records, as many as are not to be kept."""
        while count > self._keep:
            tap, octets = self._octets.pop(0)
            here = len(octets) // SIZE
            dropped = min(here, count - self._keep)
            if dropped < here:
                self._octets.insert(0, (tap, octets[dropped * SIZE :]))
            self._skipped += dropped
            count -= dropped

    def collect(self, began: int) -> tuple[list[Record], int]:
        """What was gathered as records, times since ``began``.

        And how many more there were before them, which are not kept.
        """
        taken, self._octets = self._octets, []
        skipped, self._skipped = self._skipped, 0
        words = (one for tap, octets in taken for one in tap.decode(octets))
        return [from_words(one, began) for one in words], skipped

    @property
    def waiting(self) -> bool:
        """Whether there is something to `collect`."""
        return bool(self._octets)

    @property
    def lost(self) -> int:
        """Calls that have no record because there was no room."""
        return self._lost + (self._tap.lost if self._tap is not None else 0)

    def totals(self) -> dict[str, Total]:
        """Calls, errors and time by name: of all calls, recorded or not."""
        totals: dict[str, Total] = {}
        add_totals(totals, self._totals)
        if self._tap is not None:
            add_totals(totals, self._tap.totals())
        return totals


def add_totals(totals: dict[str, Total], more: dict[str, Total]) -> None:
    """Add the totals of other calls."""
    for name, total in more.items():
        totals.setdefault(name, Total()).add(total)
