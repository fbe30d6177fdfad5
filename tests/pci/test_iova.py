"""pci/iova against a model: each address is free or taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.pci.errors import DmaError
from rumphyper.pci.iova import FreeRanges, Need

END = 256
powers = st.integers(0, 6).map(lambda shift: 1 << shift)
needs = st.builds(
    lambda size, align, boundary, below: Need(
        size, align, max(boundary, 64) if boundary else 0, below
    ),
    size=st.integers(1, 64),
    align=powers,
    boundary=st.one_of(st.just(0), powers),
    below=st.one_of(st.just(0), st.integers(1, END)),
)


def lowest(free: set[int], need: Need) -> int | None:
    """Where the need fits first, found by trying every address."""
    for start in range(0, END, need.align):
        run = range(start, start + need.size)
        if need.below and run.stop > need.below:
            return None
        whole = not need.boundary or len({at // need.boundary for at in run}) == 1
        if whole and free.issuperset(run):
            return start
    return None


@given(st.data())
def test_allocation_is_the_models(data: st.DataObject) -> None:
    ranges = FreeRanges([(0, 100), (110, END)])
    free = {*range(100), *range(110, END)}
    taken: list[tuple[int, int]] = []
    freeing = st.booleans()
    for _ in range(data.draw(st.integers(0, 12))):
        if taken and bool(data.draw(freeing)):
            start, size = taken.pop(data.draw(st.integers(0, len(taken) - 1)))
            ranges.give(start, size)
            free.update(range(start, start + size))
        else:
            need = data.draw(needs)
            found = ranges.allocate(need)
            assert found == lowest(free, need)
            if found is not None:
                taken.append((found, need.size))
                free.difference_update(range(found, found + need.size))
        listed = [at for start, end in ranges.ranges for at in range(start, end)]
        assert listed == sorted(free)
        pairs = zip(ranges.ranges, ranges.ranges[1:], strict=False)
        assert all(before[1] < after[0] for before, after in pairs)  # joined


@given(st.integers(0, END), st.integers(1, END))
def test_taking_just_these(start: int, size: int) -> None:
    ranges = FreeRanges([(16, 64), (80, 200)])
    inside = any(low <= start and start + size <= high for low, high in ranges.ranges)
    before = ranges.ranges
    assert ranges.take(start, size) == inside
    if inside:
        assert not ranges.take(start, size)
        ranges.give(start, size)
    assert ranges.ranges == before


@pytest.mark.parametrize(("start", "size"), [(10, 8), (0, 30), (12, 1), (19, 5)])
def test_giving_what_is_free_is_a_bug(start: int, size: int) -> None:
    ranges = FreeRanges([(10, 20)])
    with pytest.raises(ValueError, match="free already"):
        ranges.give(start, size)
    assert ranges.ranges == ((10, 20),)


@pytest.mark.parametrize(
    ("need", "cause"),
    [
        ({"size": 0}, "not positive"),
        ({"size": -1}, "not positive"),
        ({"size": 8, "align": 3}, "align 0x3 is no power of two"),
        ({"size": 8, "align": 0}, "align 0x0 is no power of two"),
        ({"size": 8, "boundary": 12}, "boundary 0xc is no power of two"),
        ({"size": 9, "boundary": 8}, "cannot help crossing a boundary of 0x8"),
    ],
)
def test_needs_that_cannot_be(need: dict[str, int], cause: str) -> None:
    with pytest.raises(DmaError, match=cause):
        Need(**need)
