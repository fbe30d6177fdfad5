"""Which calls of a hypercall are meant: the third, every tenth, one in a hundred."""

from __future__ import annotations

import random

import attrs

from rumphyper.units import Reader, count, probability, seed

READERS: dict[str, Reader] = {
    "nth": count,
    "every": count,
    "from": count,
    "p": probability,
    "seed": seed,
    "times": count,
}
"""The settings on the command line."""


@attrs.define(eq=False)
class When:
    """Says for one call after the other whether it is meant.

    All conditions that are given have to hold; without any, every call is
    meant. It is not for two threads at once.
    """

    nth: int | None = None
    """This call only, counted from 1."""

    every: int | None = None
    """Each call whose number is a multiple of it."""

    start: int = 1
    """This call and those behind it."""

    probability: float = 1.0
    seed: int = 0
    """The same seed gives the same decisions."""

    times: int | None = None
    """So many calls at most."""

    seen: int = 0
    hits: int = 0
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @classmethod
    def of(cls, values: dict[str, object]) -> When:
        """Take what is `READERS`' out of ``values``."""
        names = {"from": "start", "p": "probability"}
        mine = {
            names.get(key, key): values.pop(key) for key in READERS if key in values
        }
        return cls(**mine)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        """Whether the next call is meant."""
        self.seen += 1
        number = self.seen
        if (
            (self.nth is not None and number != self.nth)
            or (self.every is not None and number % self.every)
            or number < self.start
            or (self.times is not None and self.hits >= self.times)
            or (self.probability < 1 and self._random.random() >= self.probability)
        ):
            return False
        self.hits += 1
        return True
