"""NetBSD's signal numbers and the host's.

Facts: NetBSD sys/sys/signal.h, lib/librumpuser/rumpuser_sigtrans.c.
"""

from __future__ import annotations

import signal
import threading

NETBSD_SIGNALS = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGEMT",
    "SIGFPE", "SIGKILL", "SIGBUS", "SIGSEGV", "SIGSYS", "SIGPIPE", "SIGALRM",
    "SIGTERM", "SIGURG", "SIGSTOP", "SIGTSTP", "SIGCONT", "SIGCHLD", "SIGTTIN",
    "SIGTTOU", "SIGIO", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
    "SIGWINCH", "SIGINFO", "SIGUSR1", "SIGUSR2", "SIGPWR",
)  # fmt: skip
"""Names by number, the first is 1."""

_HOST = {
    number: int(getattr(signal, name))
    for number, name in enumerate(NETBSD_SIGNALS, 1)
    if hasattr(signal, name)
}


def to_host(number: int) -> int:
    """The host's number of NetBSD's signal, 0 where the host has none."""
    return _HOST.get(number, 0)


def to_netbsd(number: int) -> int:
    """NetBSD's number of the host's signal, 0 where NetBSD has none."""
    return next((ours for ours, theirs in _HOST.items() if theirs == number), 0)


def raise_in_thread(number: int) -> None:
    """raise(3): send the signal to the calling thread."""
    signal.pthread_kill(threading.get_ident(), number)
