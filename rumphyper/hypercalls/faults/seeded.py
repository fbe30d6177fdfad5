"""Random octets that are the same in every run."""

from __future__ import annotations

import ctypes
import random
from typing import Any

from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.families.random import MOST
from rumphyper.hypercalls.faults.base import Fault


class Seeded(Fault):
    """``getrandom`` gives the octets of a generator with a seed.

    The n-th call gets the same octets in every run, if it asks for as many.
    """

    def __init__(self, seed: int, text: str = "") -> None:
        self.seed = seed
        super().__init__(
            text or f"getrandom:seed={seed}", {"getrandom": Around(self._give)}
        )

    def _give(
        self, original: Function, buf: int, buflen: int, flags: int, retp: Any
    ) -> Any:
        with self.lock:
            self.calls += 1
            number = self.calls
        count = min(buflen, MOST)
        octets = random.Random(f"{self.seed} {number}").randbytes(count)
        self.strike(f"call {number} of rumpuser_getrandom gets {octets[:8].hex()}...")
        ctypes.memmove(buf, octets, count)
        retp[0] = count
        return 0
