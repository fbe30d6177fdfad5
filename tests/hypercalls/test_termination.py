"""The end of the process, and signals."""

from __future__ import annotations

import subprocess

from tests.hypercalls.support import Setup, run_python

EXIT = """
import atexit, sys
from tests.hypercalls.support import Setup
setup = Setup({options})
atexit.register(lambda: print("atexit"))
sys.stdout.write("unflushed ")
{before}
setup.call("rumpuser_exit", {status})
print("not reached")
"""


def run_exit(
    status: int, options: str = "", before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Call rumpuser_exit in a process of its own."""
    source = EXIT.format(status=status, options=options, before=before)
    return run_python(source)


def test_exit_is_orderly() -> None:
    """What was written comes out, atexit functions run, the status arrives."""
    done = run_exit(7)
    assert done.returncode == 7
    assert done.stdout.startswith("unflushed ")
    assert "atexit" in done.stdout
    assert "not reached" not in done.stdout
    hook = "python={'on_exit': lambda status: print('status', status) or 1/0}"
    done = run_exit(0, hook)
    assert done.returncode == 0
    assert "status 0" in done.stdout


def test_exit_from_a_kernel_thread() -> None:
    """It ends the process from there too, while the main thread waits."""
    before = """
import ctypes, threading
t = ctypes.c_void_p()
exit_ = ctypes.c_void_p(setup.hv.symbol("rumpuser_exit"))
setup.call("thread_create", exit_, 5, b"ender", 0, 0, -1, ctypes.byref(t))
threading.Event().wait(30)
"""
    done = run_exit(0, before=before)
    assert (done.returncode, done.stderr) == (5, "")


def test_exit_while_another_thread_works() -> None:
    """From inside block I/O, with requests waiting and a thread in a hypercall."""
    before = """
import ctypes, os, threading
from rumphyper.hypercalls.families.bio import BIODONE
exit_ = setup.hv.function("rumpuser_exit")
biodone = BIODONE(lambda donearg, octets, error: exit_(donearg))
threading.Thread(target=setup.call, args=("clock_sleep", 0, 30, 0)).start()
data, fd = ctypes.create_string_buffer(512), os.open("/dev/zero", os.O_RDWR)
for status in (9, 10, 11):
    setup.call("bio", fd, 1, data, 512, 0, biodone, status)
threading.Event().wait(30)
"""
    done = run_exit(0, before=before)
    assert (done.returncode, done.stderr) == (9, "")


def test_panic_aborts() -> None:
    """A panic ends with SIGABRT, and what was written is not lost."""
    done = run_exit(-1)
    assert done.returncode == -6
    assert "unflushed" in done.stdout
    assert "not reached" not in done.stdout


def test_kill_translates(setup: Setup) -> None:
    """NetBSD's SIGUSR1 (30) is the host's; signals it lacks are ignored."""
    import signal

    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        assert setup.call("kill", -1, 30) == 0
        assert setup.call("kill", -1, 29) == 0  # SIGINFO
        assert setup.call("kill", -1, 4711) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert setup.reports == []
