"""Frames that the kernel sends and the wire does not carry as they are.

What arrives is no hypercall: for that, and for frames that are late, there is
the link ``faulty:`` (rumphyper/link/faulty.py).
"""

from __future__ import annotations

import ctypes

from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.families.virtif import MOST_PARTS, SEND, SendIovec
from rumphyper.hypercalls.faults.base import Fault
from rumphyper.link.faulty_lane import Dice
from rumphyper.units import Reader, probability, seed

READERS: dict[str, Reader] = {
    **dict.fromkeys(("drop", "corrupt", "duplicate"), probability),
    "seed": seed,
}
"""The settings on the command line."""


class BadSend(Fault):
    """Frames of all virt interfaces are dropped, corrupted and doubled.

    The three are probabilities from 0 to 1.
    """

    def __init__(
        self,
        drop: float = 0.0,
        corrupt: float = 0.0,
        duplicate: float = 0.0,
        seed: int = 0,
        text: str = "virt_send",
    ) -> None:
        self.drop, self.corrupt, self.duplicate = drop, corrupt, duplicate
        self._dice = Dice(seed, "send")
        super().__init__(text, {SEND: Around(self._send)})

    def _send(self, original: Function, user: int, iov: int, iovlen: int) -> None:
        roll = self._dice.roll
        with self.lock:
            self.calls += 1
            number = self.calls
            dropped = roll(self.drop)
            corrupted = not dropped and roll(self.corrupt)
            doubled = not dropped and roll(self.duplicate)
        if dropped:
            self.strike(f"frame {number} is dropped")
            return
        if corrupted and iovlen <= MOST_PARTS:
            self.strike(f"frame {number} has a wrong bit")
            parts = (SendIovec * iovlen).from_address(iov)
            frame = b"".join(ctypes.string_at(p.base, p.length) for p in parts)
            with self.lock:
                frame = self._dice.damage(frame)
            memory = ctypes.create_string_buffer(frame, len(frame))
            one = SendIovec(ctypes.addressof(memory), len(frame))
            iov, iovlen = ctypes.addressof(one), 1
        original(user, iov, iovlen)
        if doubled:
            self.strike(f"frame {number} is sent twice")
            original(user, iov, iovlen)
