"""Locks and threads under C threads: what they protect must stay whole."""

from __future__ import annotations

import ctypes

import pytest

from tests.hypercalls import judge_c
from tests.hypercalls.judge_c import KMUTEX, SPIN
from tests.hypercalls.support import Setup, shared_object

THREADS = 6


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The C judge, compiled."""
    return shared_object(tmp_path_factory.mktemp("judge"), judge_c.SOURCE)


class Judge:
    """The C judge with the addresses of a hypervisor's hypercalls."""

    def __init__(self, library: ctypes.CDLL, setup: Setup) -> None:
        addresses = [setup.hv.symbol(name) for name in judge_c.NAMES]
        library.take((ctypes.c_void_p * len(addresses))(*addresses))
        library.run.restype = ctypes.c_long
        library.get.restype = ctypes.c_long
        self.library = library

    def run(self, first: int, second: int, n: int, flags: int, hyper: bool) -> None:
        """Run the threads; fails the test when they found errors."""
        found = self.library.run(
            first, second, THREADS, ctypes.c_long(n), flags, int(hyper)
        )
        assert found == 0

    def values(self) -> list[int]:
        """counter, first, second, wanted, given."""
        return [self.library.get(which) for which in range(5)]


@pytest.fixture
def setup(locking: Setup) -> Setup:
    """Python's locks and libc's."""
    return locking


@pytest.fixture
def judge(library: ctypes.CDLL, setup: Setup) -> Judge:
    """The judge over a kernel's hypercalls."""
    return Judge(library, setup)


@pytest.mark.parametrize("hyper", [False, True], ids=["pthreads", "hypercalls"])
@pytest.mark.parametrize("flags", [KMUTEX, SPIN | KMUTEX])
def test_mutex_excludes(judge: Judge, setup: Setup, flags: int, hyper: bool) -> None:
    """A counter that is raised under a mutex loses no step."""
    judge.run(judge_c.COUNT, judge_c.COUNT, 300, flags, hyper)
    assert judge.values()[0] == 300 * THREADS
    assert setup.reports == []
    if flags == KMUTEX:  # somebody waited, without the virtual CPU
        away = setup.kernel.names().count("hyp_backend_unschedule")
        assert away == setup.kernel.names().count("hyp_backend_schedule")


def test_rwlock_keeps_writers_apart(judge: Judge, setup: Setup) -> None:
    """Readers see both words equal; upgrades and downgrades keep others out."""
    judge.run(judge_c.READWRITE, judge_c.READWRITE, 400, KMUTEX, True)
    _, first, second, _, _ = judge.values()
    assert first == second > 0
    assert setup.reports == []


@pytest.mark.parametrize("flags", [KMUTEX, SPIN | KMUTEX])
def test_condvars_hand_over(judge: Judge, setup: Setup, flags: int) -> None:
    """Producers and consumers end with as much taken as given."""
    judge.run(judge_c.PRODUCE, judge_c.CONSUME, 200, flags, True)
    assert judge.values()[3:] == [200 * THREADS // 2] * 2
    assert setup.reports == []


@pytest.mark.parametrize("flags", [KMUTEX, SPIN | KMUTEX])
def test_broadcast_wakes_all(judge: Judge, setup: Setup, flags: int) -> None:
    """Threads that meet at a barrier all get past it, every time."""
    judge.run(judge_c.MEET, judge_c.MEET, 100, flags, False)
    assert judge.values()[0] == 100
    assert setup.reports == []


def test_memory_from_many_threads(judge: Judge, setup: Setup) -> None:
    """Allocations are aligned, and nobody else's."""
    judge.run(judge_c.ALLOCATE, judge_c.ALLOCATE, 60, KMUTEX, True)
    assert setup.reports == []


def thread_states() -> int:
    """How many threads CPython keeps a state for."""
    api = ctypes.pythonapi
    for name in ("PyInterpreterState_Get", "PyInterpreterState_ThreadHead"):
        getattr(api, name).restype = ctypes.c_void_p
    api.PyThreadState_Next.restype = ctypes.c_void_p
    state = api.PyInterpreterState_ThreadHead(
        ctypes.c_void_p(api.PyInterpreterState_Get())
    )
    count = 0
    while state:
        count += 1
        state = api.PyThreadState_Next(ctypes.c_void_p(state))
    return count


def test_threads_leave_nothing(judge: Judge, setup: Setup) -> None:
    """Threads that end, in order or by thread_exit, take their state along."""
    before = thread_states()
    assert judge.library.serial(300) == 0
    assert judge.library.detached(50) == 0
    judge.run(judge_c.COUNT, judge_c.COUNT, 20, KMUTEX, False)
    assert setup.reports == []
    assert thread_states() <= before + 1  # a detached one may be on its last steps
