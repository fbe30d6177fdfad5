"""Mutexes and reader/writer locks, side by side."""

from __future__ import annotations

import threading
from ctypes import byref, c_int, c_void_p
from typing import Any

import pytest

from tests.hypercalls.stock.sides import Second, Side, both, differ

pytestmark = pytest.mark.rump


@pytest.mark.parametrize("flags", [2, 3])
def test_mutexes(sides: tuple[Side, Side], lwp: int, flags: int) -> None:
    """Owner and results through a mutex's life."""

    def work(side: Side) -> Any:
        mtx, owner = side.made("mutex_init", flags), c_void_p(1)
        out: list[Any] = []
        enter = ["mutex_enter", "mutex_tryenter"]
        if flags & 1:
            enter.append("mutex_enter_nowrap")
        for name in enter:
            out.append(side.call(name, mtx))
            side.call("mutex_owner", mtx, byref(owner))
            out.append(owner.value)
            out.append(side.call("mutex_tryenter", mtx))
            out.append(side.call("mutex_exit", mtx))
            side.call("mutex_owner", mtx, byref(owner))
            out.append(owner.value)
        side.call("mutex_destroy", mtx)
        return out

    both(sides, work)


def test_rwlocks(sides: tuple[Side, Side], lwp: int) -> None:
    """What is held and what can be had, in every state that both reach."""

    def work(side: Side) -> Any:
        rw, answer = side.made("rw_init"), c_int(-1)
        out: list[Any] = []

        def look() -> None:
            for kind in (0, 1):
                side.call("rw_held", kind, rw, byref(answer))
                out.append(bool(answer.value) if kind else answer.value)

        def other() -> None:
            for kind in (0, 1):
                result = side.call("rw_tryenter", kind, rw)
                out.append(result)
                if result == 0 and kind == 0:
                    side.call("rw_exit", rw)

        look()
        side.call("rw_enter", 0, rw)
        side.call("rw_enter", 0, rw)
        look()
        out.append(side.call("rw_tryenter", 1, rw))
        out.append(side.call("rw_tryupgrade", rw))  # two readers: never possible
        side.call("rw_exit", rw)
        side.call("rw_exit", rw)
        side.call("rw_enter", 1, rw)
        look()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        side.kernel.events.clear()  # the stock one gives up the CPU to downgrade
        side.call("rw_downgrade", rw)
        side.kernel.events.clear()
        look()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        side.call("rw_exit", rw)
        out.append(side.call("rw_tryenter", 9, rw))
        out.append(side.call("rw_tryenter", 1, rw))
        side.call("rw_exit", rw)
        look()
        side.call("rw_destroy", rw)
        return out

    both(sides, work)


def test_contended_mutex(sides: tuple[Side, Side], lwp: int) -> None:
    """Who waits goes without the CPU, and owns the mutex then."""

    def work(side: Side) -> Any:
        mtx, owner = side.made("mutex_init", 2), c_void_p()
        side.call("mutex_enter", mtx)
        second = Second(
            side,
            lambda: side.call("mutex_enter", mtx),
            lambda: side.call("mutex_owner", mtx, byref(owner)),
            lambda: side.call("mutex_exit", mtx),
        )
        second.until_away()
        side.call("mutex_exit", mtx)
        second.join()
        side.call("mutex_destroy", mtx)
        return owner.value

    assert both(sides, work) == 0x2000


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 1)])
def test_contended_rwlock(
    sides: tuple[Side, Side], lwp: int, first: int, second: int
) -> None:
    """A writer waits for a reader, a reader and a writer for a writer."""

    def work(side: Side) -> Any:
        rw, held = side.made("rw_init"), c_int()
        side.call("rw_enter", first, rw)
        waiting = Second(
            side,
            lambda: side.call("rw_enter", second, rw),
            lambda: side.call("rw_held", second, rw, byref(held)),
            lambda: side.call("rw_exit", rw),
        )
        waiting.until_away()
        side.call("rw_exit", rw)
        waiting.join()
        free = side.call("rw_tryenter", 1, rw)
        side.call("rw_exit", rw)
        side.call("rw_destroy", rw)
        return held.value, free

    assert both(sides, work) == (1, 0)


def test_upgrade(sides: tuple[Side, Side], lwp: int) -> None:
    def work(side: Side) -> Any:
        rw, held = side.made("rw_init"), c_int()
        side.call("rw_enter", 0, rw)
        result = side.call("rw_tryupgrade", rw)
        side.call("rw_held", 1, rw, byref(held))
        side.call("rw_exit", rw)
        side.call("rw_destroy", rw)
        return result, held.value

    assert differ(sides, "rumpuser_rw_tryupgrade", work) == ((16, 0), (0, 1))


def test_downgrade(sides: tuple[Side, Side], lwp: int) -> None:
    """A reader that waits comes in beside the one that was the writer."""

    def work(side: Side) -> Any:
        rw, held = side.made("rw_init"), c_int()
        side.kernel.events.clear()
        side.call("rw_enter", 1, rw)
        reader = Second(side, lambda: side.call("rw_enter", 0, rw))
        reader.until_away()
        before = len(side.kernel.events)
        side.call("rw_downgrade", rw)
        reader.join()
        me = threading.get_ident()
        mine = [name for name, who, _ in side.kernel.events[before:] if who == me]
        side.call("rw_held", 0, rw, byref(held))
        both_kinds = [side.call("rw_tryenter", 1, rw), held.value]
        side.call("rw_exit", rw)
        side.call("rw_exit", rw)
        side.call("rw_destroy", rw)
        return both_kinds, mine

    stock, ours = differ(sides, "rumpuser_rw_downgrade", work)
    assert stock[0] == ours[0] == [16, 2]
    assert stock[1] == ["hyp_backend_unschedule", "hyp_backend_schedule"]
    assert ours[1] == []
