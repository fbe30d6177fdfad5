"""Where frames go, by mode."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.bridge.modes import Hub, Learning, Mode, make_mode
from rumphyper.bridge.settings import Settings
from rumphyper.bridge.storm import Storm
from rumphyper.net.ethernet import Ethernet, VlanTag

ALL = b"\xff" * 6
PORTS = (0, 1, 2)


def station(number: int) -> bytes:
    return b"\2\0\0\0\0" + bytes([number])


def frame(target: bytes, source: bytes, text: bytes = b"", vlan: int = -1) -> bytes:
    tags = () if vlan < 0 else (VlanTag(vlan),)
    return Ethernet(target, source, 0x88B5, text, tags).build()


def sort(
    mode: Mode, port: int, *frames: bytes, now: float = 0
) -> dict[int, list[bytes]]:
    return {to: list(batch) for to, batch in mode.sort(port, frames, now) if batch}


def learning(**settings: Any) -> Learning:
    mode = make_mode(Settings(**settings))
    assert isinstance(mode, Learning)
    mode.use(PORTS)
    return mode


def test_a_hub_sends_everything_everywhere_else() -> None:
    both: list[Any] = ["hub", "patch"]
    for name in both:
        mode = make_mode(Settings(mode=name))
        assert isinstance(mode, Hub)
        mode.use(PORTS)
        one = frame(station(1), station(2))
        assert sort(mode, 1, one, one) == {0: [one, one], 2: [one, one]}
        mode.use((1, 2))
        assert sort(mode, 1, one) == {2: [one]}


def test_learning() -> None:
    mode = learning()
    hello = frame(ALL, station(1))
    assert sort(mode, 1, hello) == {0: [hello], 2: [hello]}
    answer = frame(station(1), station(2))
    assert sort(mode, 2, answer) == {1: [answer]}
    nobody = frame(station(9), station(1))
    assert sort(mode, 1, nobody) == {0: [nobody], 2: [nobody]}
    own = frame(station(2), station(3))
    assert sort(mode, 2, own) == {}
    assert sort(mode, 2, own, answer) == {1: [answer]}
    assert mode.as_dict()["filtered"] == 2
    assert sort(mode, 2, answer, now=1000) == {0: [answer], 1: [answer]}


def test_a_group_address_is_no_source() -> None:
    mode = learning()
    sort(mode, 1, frame(station(5), ALL))
    assert mode.as_dict()["addresses"] == 0


def test_a_port_that_goes_is_sent_nothing() -> None:
    mode = learning()
    sort(mode, 1, frame(ALL, station(1)))
    mode.use((0, 2))
    one = frame(station(1), station(2))
    assert sort(mode, 2, one) == {0: [one]}


def test_vlans_are_kept_apart_when_asked() -> None:
    for aware, to in ((False, {1}), (True, {0, 1})):
        mode = learning(vlan=aware)
        sort(mode, 1, frame(ALL, station(1), vlan=10))
        in_ten = frame(station(1), station(2), vlan=10 | 5 << 13)  # with a priority
        in_none = frame(station(1), station(2))
        in_two = frame(station(1), station(2), vlan=20)
        assert set(sort(mode, 2, in_ten)) == {1}
        assert set(sort(mode, 2, in_two)) == to
        assert set(sort(mode, 2, in_none)) == to


@given(st.integers(0, 2**32))
def test_batches_against_one_frame_at_a_time(seed: int) -> None:
    """A batch goes where its frames would go if all its sources were known."""
    chance = random.Random(seed)
    mode = learning()
    known: dict[bytes, int] = {}
    for _ in range(20):
        port = chance.choice(PORTS)
        batch = [
            frame(
                ALL if chance.random() < 0.2 else station(chance.randrange(6)),
                station(chance.randrange(6)),
                chance.randbytes(4),
            )
            for _ in range(chance.randint(1, 12))
        ]
        for one in batch:
            known[one[6:12]] = port
        expected: dict[int, list[bytes]] = {}
        for one in batch:
            place = known.get(one[:6])
            others = [to for to in PORTS if to != port]
            for to in others if place is None else {place} - {port}:
                expected.setdefault(to, []).append(one)
        assert sort(mode, port, *batch) == expected


def test_a_storm_is_calmed_and_does_not_harm_the_others() -> None:
    storm = Storm(10)
    loud, mine = frame(ALL, station(1)), frame(station(2), station(1))
    assert storm.calm(0, [loud, mine] * 8, 0.0).count(loud) == 8
    passed = storm.calm(0, [loud, mine] * 8, 0.5)
    assert (passed.count(loud), passed.count(mine)) == (2, 8)
    assert storm.stopped == 6
    assert storm.calm(1, [loud], 0.5) == [loud]  # each port has its own limit
    assert storm.calm(0, [loud] * 11, 1.1).count(loud) == 10
    mode = learning(storm=1)
    assert sort(mode, 0, loud, loud, mine)[1] == [loud, mine]
    assert mode.as_dict()["storm"] == 1
