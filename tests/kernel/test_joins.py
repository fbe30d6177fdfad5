"""Threads that are to be joined keep their lwp until then."""

from __future__ import annotations

import threading

import pytest

from rumphyper.kernel import joins
from rumphyper.kernel.joins import Joins
from tests.hypercalls.support import Setup

CREATE, DESTROY = 0, 1
LWP, COOKIE = 0x5000, 0x6000


class Host:
    """The hypercalls behind `Joins`, which note in what order they come."""

    def __init__(self, error: int = 0) -> None:
        self.joins = Joins()
        self.error = error
        self.order: list[str] = []

    def curlwpop(self, operation: int) -> None:
        self.joins.curlwpop(lambda *_: self.order.append("op"), operation, LWP)

    def create(self, mustjoin: int) -> int:
        def answer(*arguments: object) -> int:
            if not self.error:
                cookie[0] = COOKIE
            return self.error

        cookie = [0]
        self.curlwpop(CREATE)
        return self.joins.create(answer, 1, 2, b"name", mustjoin, 0, -1, cookie)

    def join(self) -> int:
        def answer(cookie: int) -> int:
            self.order.append("join")
            return 0

        return self.joins.join(answer, COOKIE)


def test_the_joiner_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "PATIENCE", 30.0)
    host = Host()
    host.create(1)
    host.order.clear()
    ending = threading.Thread(target=host.curlwpop, args=(DESTROY,))
    ending.start()
    ending.join(0.05)
    assert host.order == []
    assert host.join() == 0
    ending.join(10)
    assert sorted(host.order) == ["join", "op"]


@pytest.mark.parametrize(("mustjoin", "error"), [(0, 0), (1, 35), (0, 35)])
def test_others_do_not_wait(
    mustjoin: int, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody joins, one that was never made: both in this thread."""
    monkeypatch.setattr(joins, "PATIENCE", 1e6)
    host = Host(error)
    assert host.create(mustjoin) == error
    host.curlwpop(DESTROY)
    assert host.order == ["op", "op"]


def test_nobody_waits_for_ever() -> None:
    host = Host()
    host.create(1)
    host.curlwpop(DESTROY)
    assert host.order == ["op", "op"]
    assert host.join() == 0


def test_installed_once() -> None:
    setup, made = Setup(), Joins()
    made.install(setup.hv)
    before = dict(setup.hv.bindings)
    made.install(setup.hv)
    assert setup.hv.bindings == before
    setup.call("curlwpop", 2, LWP)
    assert setup.call("curlwp") == LWP
    setup.call("curlwpop", 3, LWP)
    assert setup.reports == []
    setup.hv.close()
