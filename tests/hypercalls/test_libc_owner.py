"""Owners of libc's mutexes: told by notes where those hold, by Python else."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from ctypes import byref, c_void_p

import pytest

from rumphyper.host.thunks import supported
from rumphyper.hypercalls.families import libc_locks, libc_owner
from rumphyper.hypercalls.families.libc_locks import LibcLocks
from rumphyper.hypercalls.families.libc_owner import works
from rumphyper.kernel.providers import LIBC
from tests.hypercalls.support import Setup

KMUTEX = 2
LWP = 0x7F00_0000_1230

pytestmark = pytest.mark.skipif(
    not supported(), reason="libc's locks need thunks, which are not to be had here"
)


@pytest.fixture(params=["notes", "python"])
def setup(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setup]:
    """Libc's locks, once without notes as on a libc that is not glibc."""
    if request.param == "python":
        monkeypatch.setattr(libc_locks, "works", lambda: False)
    elif not works():
        pytest.skip("this libc is no glibc: owners are told by Python")
    made = Setup(python={"replace": LIBC})
    made.call("curlwpop", 2, LWP)
    yield made
    made.call("curlwpop", 3, LWP)
    made.hv.close()


def owner(setup: Setup, mtx: int) -> int | None:
    lwp = c_void_p(1)
    setup.call("mutex_owner", mtx, byref(lwp))
    return lwp.value


def elsewhere(setup: Setup, lwp: int, mtx: int) -> int | None:
    """What another thread with an lwp of its own hears."""
    found: list[int | None] = []

    def ask() -> None:
        setup.call("curlwpop", 2, lwp)
        found.append(owner(setup, mtx))
        setup.call("curlwpop", 3, lwp)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def test_every_holder_in_turn(setup: Setup) -> None:
    """Each question has the holder of that moment, however often it is asked."""
    mtx = setup.made("mutex_init", KMUTEX)
    for _ in range(3):
        assert owner(setup, mtx) is None
        setup.call("mutex_enter", mtx)
        assert [owner(setup, mtx) for _ in range(3)] == [LWP] * 3
        assert elsewhere(setup, 0x2000, mtx) == LWP
        setup.call("mutex_exit", mtx)
        assert owner(setup, mtx) is None
        assert elsewhere(setup, 0x3000, mtx) is None

    def hold(lwp: int) -> None:
        setup.call("curlwpop", 2, lwp)
        setup.call("mutex_enter", mtx)
        seen.append(owner(setup, mtx))
        held.set()
        go_on.wait(20)
        setup.call("mutex_exit", mtx)
        setup.call("curlwpop", 3, lwp)

    for lwp in (0x2000, 0x3000):
        seen: list[int | None] = []
        held, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=hold, args=(lwp,))
        thread.start()
        assert held.wait(20)
        seen.append(owner(setup, mtx))
        go_on.set()
        thread.join(20)
        assert seen == [lwp, lwp]
    assert owner(setup, mtx) is None
    setup.call("mutex_destroy", mtx)
    assert setup.reports == []


def test_a_wait_gives_the_mutex_away(setup: Setup) -> None:
    """While its holder sleeps on a condition variable the mutex is another's."""
    mtx, cv = setup.made("mutex_init", KMUTEX), setup.made("cv_init")
    setup.call("mutex_enter", mtx)
    assert owner(setup, mtx) == LWP
    heard: list[int | None] = []

    def wake() -> None:
        setup.call("curlwpop", 2, 0x2000)
        setup.call("mutex_enter", mtx)
        heard.extend((owner(setup, mtx), owner(setup, mtx)))
        setup.call("cv_signal", cv)
        setup.call("mutex_exit", mtx)
        setup.call("curlwpop", 3, 0x2000)

    thread = threading.Thread(target=wake)
    thread.start()
    setup.call("cv_wait", cv, mtx)
    assert owner(setup, mtx) == LWP
    thread.join(20)
    assert heard == [0x2000, 0x2000]
    setup.call("mutex_exit", mtx)
    assert setup.reports == []


def test_python_is_asked_once_a_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes do answer: of a holder's questions Python hears the first."""
    if not works():
        pytest.skip("this libc is no glibc: owners are told by Python")
    noted: list[int] = []

    def note(mutex: int, lwp: int) -> None:
        noted.append(lwp)
        libc_owner.note(mutex, lwp)

    monkeypatch.setattr(libc_locks, "note", note)
    setup = Setup(python={"replace": LIBC})
    setup.call("curlwpop", 2, LWP)
    mtx = setup.made("mutex_init", KMUTEX)
    for turn in range(1, 4):
        setup.call("mutex_enter", mtx)
        assert {owner(setup, mtx) for _ in range(10)} == {LWP}
        setup.call("mutex_exit", mtx)
        assert noted == [LWP] * turn
    setup.call("curlwpop", 3, LWP)
    setup.hv.close()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="notes are for glibc, and this is none"
)
def test_glibc_is_as_the_notes_want_it() -> None:
    """What the offsets are facts of."""
    assert works()
    assert isinstance(Setup(python={"replace": LIBC}).family("locks"), LibcLocks)
