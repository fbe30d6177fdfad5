"""A busy kernel whose process ends, is pelted with signals, or runs short.

    python -m tests.real.ending_cases WAY|storm|short|small [ARGUMENT...]

A program of its own for test_endings.py and test_shortage.py: a process can end
once. The mode is that of the environment (tests.real.rump).
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rumphyper.errors import RumphyperError
from rumphyper.kernel.netbsd import Kernel
from tests.real.limits import LIMITS, limit
from tests.real.rump import boot
from tests.real.stress_cases import (
    FOLDER,
    LOOPBACK,
    interfaces,
    pipes,
    polls,
    tcp,
    tmpfs,
    udp,
)

STATUS = 3
"""The exit status of the ways to end that choose one."""

JOBS = (tcp, udp, pipes, polls, tmpfs)


def prepared(**options: Any) -> Kernel:
    """A kernel in which all of `JOBS` can work."""
    kernel = boot(**options)
    kernel.interface("lo0").add_address(f"{LOOPBACK}/8")
    kernel.fs.mkdir(FOLDER)
    kernel.fs.mount("tmpfs", FOLDER)
    return kernel


def work_on(kernel: Kernel, jobs: tuple[Callable[..., None], ...] = JOBS) -> None:
    """Threads that do the jobs for ever, each its own."""

    def repeat(job: Callable[..., None]) -> None:
        while True:
            try:
                job(kernel, random.Random())
            except Exception:  # the kernel is closed, perhaps
                time.sleep(0.001)

    for job in jobs:
        threading.Thread(target=repeat, args=(job,), daemon=True).start()


def falls(kernel: Kernel) -> None:
    """The main thread has no more to do."""


def closes(kernel: Kernel) -> None:
    """The kernel is closed before, under its threads."""
    kernel.close()


def exits(kernel: Kernel) -> None:
    """As programs end."""
    sys.exit(STATUS)


def raises(kernel: Kernel) -> None:
    """As programs fail."""
    raise RuntimeError("this is how it ends")


def interrupted(kernel: Kernel) -> None:
    """Control-C, while the main thread waits in the kernel."""
    threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
    left, _right = kernel.socketpair()
    left.recv(1)


def terminated(kernel: Kernel) -> None:
    """As kill(1) does."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def leaves(kernel: Kernel) -> None:
    """At once, without Python's end."""
    os._exit(STATUS)


def c_exits(kernel: Kernel) -> None:
    """By exit(3) on a thread, with Python still there."""
    libc = ctypes.CDLL(None)
    threading.Thread(target=libc.exit, args=(STATUS,)).start()
    time.sleep(60)


def forks(kernel: Kernel) -> None:
    """Children end each in its way while the threads work, then the parent."""
    for at_once in (True, False) * 2:
        child = os.fork()
        if not child and at_once:
            os._exit(STATUS)
        if not child:
            sys.exit(STATUS)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == STATUS
    sys.exit(STATUS)


def kernel_exits(kernel: Kernel) -> None:
    """The kernel ends the process: rumpuser_exit on a thread that is inside."""
    leave = kernel.hypervisor.function("rumpuser_exit")
    threading.Thread(target=leave, args=(STATUS,)).start()
    time.sleep(60)


WAYS: dict[Callable[[Kernel], None], int] = {
    falls: 0,
    closes: 0,
    exits: STATUS,
    raises: 1,
    interrupted: -signal.SIGINT,
    terminated: -signal.SIGTERM,
    leaves: STATUS,
    c_exits: STATUS,
    forks: STATUS,
    kernel_exits: STATUS,
}
"""Ways to end, and the exit status that subprocess tells of each."""


def end(way: Callable[[Kernel], None], seed: str) -> None:
    """Work, then end in that way at a moment that the seed decides."""
    chance = random.Random(seed)
    kernel = prepared(ncpu=chance.choice((1, 2, 4)))
    work_on(kernel, tuple(chance.sample(JOBS, chance.randrange(1, len(JOBS)))))
    time.sleep(chance.random() / 5)
    way(kernel)


def storm(seconds: str) -> None:
    """Signals to all threads and to the process while everything is checked."""
    kernel = prepared(ncpu=2)
    counts = dict.fromkeys((signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2), 0)

    def count(number: int, frame: object) -> None:
        counts[signal.Signals(number)] += 1

    for number in counts:
        signal.signal(number, count)
    over = time.monotonic() + float(seconds)
    rounds = dict.fromkeys((job.__name__ for job in JOBS), 0)
    errors: list[str] = []

    def repeat(job: Callable[..., None]) -> None:
        while time.monotonic() < over and not errors:
            try:
                job(kernel, random.Random())
            except BaseException as error:
                errors.append(f"{job.__name__}: {error!r}")
            rounds[job.__name__] += 1

    threads = [threading.Thread(target=repeat, args=(job,)) for job in JOBS[1:]]
    for thread in threads:
        thread.start()

    def pelt() -> None:
        chance = random.Random()
        while time.monotonic() < over:
            thread = chance.choice(threads)
            if thread.is_alive() and thread.ident:
                signal.pthread_kill(thread.ident, signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.002)

    pelting = threading.Thread(target=pelt)
    pelting.start()
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    repeat(JOBS[0])  # on the main thread, where Python's handlers run
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in (*threads, pelting):
        thread.join()
    kernel.close()
    assert not errors, errors
    assert min(rounds.values()) > 0, rounds
    assert min(counts.values()) > 20, counts


def short(what: str, more: str) -> None:
    """Boot with so much of something and no more; say what came of it."""
    limit(what, int(more))
    try:
        kernel = boot()
    except (RumphyperError, OSError, MemoryError) as error:
        print(f"refused: {type(error).__name__}: {error}", flush=True)
        sys.exit(STATUS)
    left, right = kernel.socketpair()
    left.sendall(b"works")
    assert right.recv(9) == b"works"
    kernel.close()
    print("works", flush=True)


def small(what: str, more: str, bus: str) -> None:
    """Work for a second with so much of something and no more, then with it."""
    kernel = prepared()
    busy = (udp, functools.partial(interfaces, bus=bus))
    for job in busy:
        job(kernel, random.Random())
    hard = resource.getrlimit(LIMITS[what])[1]
    # NetBSD waits where it has no memory, until there is some.
    relief = threading.Timer(1, resource.setrlimit, (LIMITS[what], (hard, hard)))
    relief.start()
    limit(what, int(more))
    failures = 0
    while relief.is_alive():
        for job in busy:
            try:
                job(kernel, random.Random())
            except (RumphyperError, OSError, MemoryError, RuntimeError):
                failures += 1
    for state in kernel.interfaces():
        if state.name != "lo0":
            kernel.interface(state.name).destroy()
    for job in busy:
        job(kernel, random.Random())
    kernel.close()
    print(failures, "failures", flush=True)


if __name__ == "__main__":
    # No dump_traceback_later: a forked child that ends waits for its thread.
    faulthandler.enable()
    case, *arguments = sys.argv[1:]
    cases: dict[str, Callable[..., None]] = {
        "storm": storm,
        "short": short,
        "small": small,
    }
    if case in cases:
        cases[case](*arguments)
    else:
        end(next(way for way in WAYS if way.__name__ == case), *arguments)
