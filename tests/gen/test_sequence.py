"""Loss, duplicates and reordering, against a look at all that arrived."""

from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.gen.sequence import MOST_GAPS, Gaps, Stream
from rumphyper.link.faulty_lane import Lane, Rates


def judge(numbers: list[int], total: int) -> tuple[list[int], list[int], list[int]]:
    """The lost, the doubled, the overtaken, by brute force."""
    lost = sorted(set(range(total)) - set(numbers))
    first: dict[int, int] = {}
    for place, number in enumerate(numbers):
        first.setdefault(number, place)
    doubled = sorted((Counter(numbers) - Counter(set(numbers))).elements())
    highest = [-1, *accumulate(numbers, max)]
    late = sorted(n for n, place in first.items() if highest[place] > n)
    return lost, doubled, late


def feed(numbers: list[int], seed: int) -> Stream:
    stream, chance, at = Stream(details=True), random.Random(seed), 0
    while at < len(numbers):
        size = chance.randint(1, 40)
        stream.add(tuple(numbers[at : at + size]))
        at += size
    return stream


def lost_of(stream: Stream) -> list[int]:
    return [n for low, high in stream.missing() for n in range(low, high + 1)]


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 2**32))
def test_a_thousand_frames_over_a_bad_wire(
    drop: float, duplicate: float, reorder: float, seed: int
) -> None:
    lane = Lane(Rates(drop=drop, duplicate=duplicate, reorder=reorder, seed=seed), "x")
    sent = [number.to_bytes(8, "big") for number in range(1000)]
    passed = [*lane.pass_on(sent, 0.0), *lane.due(float("inf"))]
    numbers = [int.from_bytes(bytes(one), "big") for one in passed]
    stream = feed(numbers, seed)
    stream.end(1000)
    lost, doubled, late = judge(numbers, 1000)
    assert lost_of(stream) == lost
    assert sorted(stream.doubled) == doubled
    assert sorted(stream.late) == late
    assert (stream.lost, stream.duplicates, stream.reordered) == (
        len(lost), len(doubled), len(late),
    )  # fmt: skip
    assert stream.lost == lane.tally.dropped
    assert stream.duplicates == lane.tally.duplicated


def test_the_end_tells_of_frames_lost_there() -> None:
    stream = Stream()
    stream.add((0, 1, 2))
    assert stream.lost == 0
    stream.end(10)
    assert (stream.lost, stream.missing()) == (7, [(3, 9)])
    stream.add((9,))
    assert (stream.lost, stream.missing()) == (6, [(3, 8)])


def test_hostile_numbers_take_no_memory() -> None:
    stream = Stream(details=True)
    stream.add((2**64 - 1,))
    assert stream.lost == 2**64 - 1
    stream.add((5, 5, 2**63))
    assert (stream.reordered, stream.duplicates) == (2, 1)
    gaps = Gaps()
    for number in range(2 * MOST_GAPS):
        gaps.append(2 * number, 2 * number + 1)
    assert len(gaps.runs()) <= MOST_GAPS
    assert gaps.count == 2 * MOST_GAPS
    assert not gaps.remove(0)
    assert gaps.remove(4 * MOST_GAPS - 2)
