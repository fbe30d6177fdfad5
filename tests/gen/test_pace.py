"""Rates: how many frames are due when."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.gen.latency import Latency
from rumphyper.gen.pace import DEBT, Pace


def test_without_a_rate_it_is_always_a_burst() -> None:
    assert Pace(None, None).due(0) == 256
    assert Pace(None, 7).due(0) == 7


@given(st.floats(1, 1e6), st.integers(1, 300), st.integers(0, 2**32))
def test_a_rate_is_kept_by_whole_bursts(rate: float, burst: int, seed: int) -> None:
    pace, chance = Pace(rate, burst), random.Random(seed)
    now, sent = 0.0, 0
    for _ in range(200):
        due = pace.due(now)
        assert due in (0, burst)
        assert sent + due <= rate * now + burst + 1e-3  # never ahead
        if due:
            pace.spend(due)
            sent += due
        else:
            now += pace.wait() + chance.random() * 0.1 * burst / rate
    assert sent >= rate * now - max(DEBT * rate, 2 * burst)


def test_a_long_stop_is_not_made_up_for_in_a_rush() -> None:
    pace = Pace(1000, 1)
    sent = pace.due(0)
    pace.spend(sent)
    while due := pace.due(10.0):
        pace.spend(due)
        sent += due
    assert 99 <= sent <= 1 + DEBT * 1000


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=500))
def test_percentiles_by_the_nearest_rank(times: list[int]) -> None:
    latency = Latency()
    for each in times:
        latency.add(each)
    figures = latency.as_dict()
    assert figures is not None
    assert figures["min"] == round(min(times) / 1000, 3)
    assert figures["max"] == round(max(times) / 1000, 3)
    for percent in (50, 90, 99):
        value = figures[f"p{percent}"]
        below = sum(round(each / 1000, 3) <= value for each in times)
        assert below >= percent / 100 * len(times)
        above = sum(round(each / 1000, 3) >= value for each in times)
        assert above >= (1 - percent / 100) * len(times)
    assert abs(figures["mean"] * 1000 - sum(times) / len(times)) < 2


def test_a_sample_of_many_times() -> None:
    latency = Latency(kept=1000)
    for each in range(100_000):
        latency.add(each)
    figures = latency.as_dict()
    assert figures is not None
    assert figures["max"] == 99.999
    assert 40 < figures["p50"] < 60
    assert Latency().as_dict() is None
