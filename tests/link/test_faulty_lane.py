"""What a bad wire does to frames, without a wire."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rumphyper.link.faulty_lane import HOLD, Lane, Rates

FATES = ("drop", "corrupt", "duplicate", "reorder", "delay")


def frames(count: int, start: int = 0) -> list[bytes]:
    """Frames that differ."""
    return [n.to_bytes(4, "big") * 15 for n in range(start, start + count)]


@pytest.mark.parametrize("fate", FATES)
def test_lanes_are_seeded(fate: str) -> None:
    """The same frames meet the same fate; others do with another seed."""

    def run(seed: int, name: str = "in") -> tuple[list[bytes], dict[str, int]]:
        lane = Lane(Rates(**{fate: 0.2}, seed=seed), name)
        out: list[bytes] = []
        for now, frame in enumerate(frames(500)):
            out += map(bytes, lane.pass_on([frame], now / 1000))
            out += map(bytes, lane.due(now / 1000))
        out += map(bytes, lane.due(1e9))
        assert lane.next_due() is None
        return out, lane.tally.as_dict()

    first, tally = run(1)
    assert run(1) == (first, tally)
    assert run(2)[0] != first
    assert run(1, "out")[0] != first
    struck = {name: number for name, number in tally.items() if number}
    assert struck.pop("frames") == 500
    (number,) = struck.values()  # nothing else happened
    assert 60 <= number <= 145


def test_what_each_fate_does() -> None:
    sent = frames(2000)

    def run(**rates: float) -> tuple[list[bytes], Lane]:
        lane = Lane(Rates(**rates), "x")  # type: ignore[arg-type]
        return [bytes(frame) for frame in lane.pass_on(sent, 0.0)], lane

    out, lane = run(drop=0.01)
    assert out == [frame for frame in sent if frame in set(out)]
    assert len(out) == 2000 - lane.tally.dropped
    assert 5 <= lane.tally.dropped <= 45

    out, lane = run(duplicate=0.01)
    assert list(dict.fromkeys(out)) == sent
    assert len(out) == 2000 + lane.tally.duplicated
    twice = [one for one, two in pairwise(out) if one == two]
    assert len(twice) == lane.tally.duplicated > 0

    out, lane = run(corrupt=0.01)
    bits = [
        (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()
        for one, two in zip(out, sent, strict=True)
    ]
    assert sorted(set(bits)) == [0, 1]
    assert sum(bits) == lane.tally.corrupted

    out, lane = run(reorder=0.01)
    assert sorted(out + [bytes(f) for f in lane.due(HOLD)]) == sent
    moved = [one for one, two in pairwise(out) if one > two]
    assert 5 <= len(moved) <= lane.tally.reordered

    out, lane = run(delay=0.01, by=0.5)
    assert lane.due(0.49) == []
    assert lane.next_due() == 0.5
    late = [bytes(frame) for frame in lane.due(0.5)]
    assert len(late) == lane.tally.delayed > 0
    assert late == [frame for frame in sent if frame not in set(out)]
