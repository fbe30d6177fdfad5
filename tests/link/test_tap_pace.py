"""How many reads the TAP link posts at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.link.tap_pace import LEAST, Pace


def drain(pace: Pace, waiting: int) -> tuple[int, int]:
    """Take a burst of so many frames: how many calls, how many reads too many."""
    calls = idle = 0
    while True:
        calls += 1
        posted = pace.want
        assert posted >= 1
        if waiting < posted:
            pace.end(waiting)
            return calls, idle + posted - waiting
        waiting -= posted
        pace.full(posted)


def test_a_burst_like_the_last_one_takes_no_call_more_than_it_must() -> None:
    for burst in (0, 1, 2, 7, 63, 64, 200):
        pace = Pace(256)
        for _ in range(20):
            drain(pace, burst)
        assert drain(pace, burst) == (1, max(LEAST, burst + 1) - burst)
    pace = Pace(256)
    drain(pace, 700)
    assert drain(pace, 700) == (3, 1)


def test_a_longer_burst_is_met_by_doubling_and_a_shorter_one_once() -> None:
    pace = Pace(256)
    drain(pace, 1)
    calls, idle = drain(pace, 1000)
    assert calls <= 12
    assert idle <= 256
    assert drain(pace, 1) == (1, 255)
    assert drain(pace, 1) == (1, 1)


def test_looking_in_vain_costs_less_and_less() -> None:
    pace = Pace(256)
    drain(pace, 1000)
    costs = [drain(pace, 0)[1] for _ in range(10)]
    assert costs == [256, 128, 64, 32, 16, 8, 4, 2, 2, 2]


@given(
    st.integers(1, 300), st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)))
)
def test_the_number_stays_within_its_bounds(
    most: int, steps: list[tuple[int, int]]
) -> None:
    pace = Pace(most)
    for burst, limit in steps:
        while True:
            assert min(LEAST, most) <= pace.want <= most
            posted = min(pace.want, limit)
            if burst < posted:
                pace.end(burst)
                break
            burst -= posted
            pace.full(posted)
