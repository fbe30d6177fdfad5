"""What a learning bridge remembers, and for how long."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.bridge.table import SWEEP, AddressTable

ONE, TWO = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


def test_an_address_is_found_until_it_is_old() -> None:
    table = AddressTable(ageing=10)
    assert table.find(ONE, 0) is None
    table.learn(ONE, 3, 0)
    assert table.find(ONE, 10) == 3
    assert table.find(ONE, 10.1) is None
    table.learn(ONE, 3, 9)
    assert table.find(ONE, 19) == 3
    assert table.moves == 0


def test_an_address_moves() -> None:
    table = AddressTable(ageing=10)
    table.learn(ONE, 1, 0)
    table.learn(ONE, 2, 1)
    assert (table.find(ONE, 1), table.moves) == (2, 1)
    table.learn(ONE, 1, 100)  # it was forgotten meanwhile: that is no move
    assert table.moves == 1


def test_a_port_that_goes_takes_its_addresses_along() -> None:
    table = AddressTable()
    table.learn(ONE, 1, 0)
    table.learn(TWO, 2, 0)
    table.forget(1)
    assert (table.find(ONE, 0), table.find(TWO, 0), len(table)) == (None, 2, 1)


def test_a_full_table_learns_nothing_until_something_is_old() -> None:
    table = AddressTable(ageing=5, most=1)
    table.learn(ONE, 1, 0)
    table.learn(TWO, 2, 1)
    assert (table.find(TWO, 1), table.unlearnt, len(table)) == (None, 1, 1)
    table.learn(ONE, 2, 2)  # what is known is kept up to date
    assert table.find(ONE, 2) == 2
    table.learn(TWO, 2, 8 + SWEEP)
    assert (table.find(TWO, 9), len(table)) == (2, 1)


@given(st.integers(0, 2**32), st.floats(0.5, 20))
def test_against_a_list_of_all_that_was_seen(seed: int, ageing: float) -> None:
    """The oracle looks for the latest sighting in the whole history."""
    chance = random.Random(seed)
    table = AddressTable(ageing=ageing)
    seen: list[tuple[bytes, int, float]] = []
    now = 0.0
    for _ in range(60):
        now += chance.random()
        key, port = bytes([chance.randrange(5)]) * 6, chance.randrange(3)
        table.learn(key, port, now)
        seen.append((key, port, now))
        asked = bytes([chance.randrange(5)]) * 6
        sightings = [(p, t) for k, p, t in seen if k == asked]
        expected = None
        if sightings and now - sightings[-1][1] <= ageing:
            expected = sightings[-1][0]
        assert table.find(asked, now) == expected
