"""Nothing that Python raises may cross into C.

ctypes leaves a callback's result undefined when the callback raises. So every
Python function that answers a hypercall runs inside a guard: the exception is
reported once and becomes the errno that the hypercall defines for failure.
"""

from __future__ import annotations

import ctypes
import operator
import signal
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any

from rumphyper.errors import HostError
from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import Errno, from_oserror, to_netbsd
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import HypercallError, Reporter

Function = Callable[..., Any]

INTERRUPT_DELAY = 0.02
"""Seconds after which a Ctrl-C that hit a hypercall comes again."""


def failure_errno(call: Hypercall, error: BaseException) -> int:
    """The NetBSD errno that stands for an exception in ``call``."""
    if isinstance(error, HypercallError):
        return error.errno
    if isinstance(error, OSError):
        return from_oserror(error)
    if isinstance(error, HostError) and error.errno:
        return to_netbsd(error.errno)
    if isinstance(error, MemoryError):
        return Errno.ENOMEM
    return call.failure


def guard(call: Hypercall, function: Function, reporter: Reporter) -> Function:
    """``function`` such that it never raises; the result then tells of failure.

    A hypercall that must not return (rumpuser_exit) aborts the process when
    its function raises or returns.
    """

    def failed(error: BaseException) -> int | None:
        if isinstance(error, KeyboardInterrupt):
            error = _interrupted(error)
        reporter.exception(call.name, error)
        if call.noreturn:
            libc().abort()
        if call.fails_with_errno:
            return int(failure_errno(call, error))
        if call.result.ctype is None:
            return None
        return int(Errno.EINVAL) if call.result.ctype is ctypes.c_int else 0

    if call.noreturn:
        return _never_returns(call, function, failed, reporter)
    if call.variadic:
        return _by_count[-1](function, failed)
    return _by_count[len(call.arguments)](function, failed)


def _interrupted(error: BaseException) -> BaseException:
    """Ctrl-C hit a hypercall: say so, and let it hit again outside.

    It should not come to this: who enters a kernel on the main thread has to
    hold signals back meanwhile (kernel/interrupt.py does). But it shall not
    get lost.
    """
    main = threading.main_thread().ident
    again = (main or threading.get_ident(), signal.SIGINT)
    timer = threading.Timer(INTERRUPT_DELAY, signal.pthread_kill, again)
    timer.daemon = True
    timer.start()
    return HypercallError(
        "Ctrl-C",
        "a signal handler raised inside a hypercall, which is left half done",
        "hold signals back while the main thread is in the kernel",
        errno=Errno.EINTR,
    ).with_traceback(error.__traceback__)


def checked(call: Hypercall, function: Function) -> Function:
    """``function`` such that its result is a number that C can have.

    For functions of users: ctypes would hand C a random word in place of a
    result that is no integer, and cut off one that is too large.
    """
    if call.result.ctype is None:
        return function
    bits = 8 * ctypes.sizeof(call.result.ctype)
    signed = call.result.ctype is ctypes.c_int
    lowest = -(1 << bits - 1) if signed else 0
    highest = (1 << bits - signed) - 1

    def call_checked(*values: Any) -> int:
        result = function(*values)
        try:
            number = operator.index(result)
        except TypeError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise HypercallError(
                f"{getattr(function, '__qualname__', 'its function')} returned "
                f"{result!r}",
                f"C wants a {call.result.spelling.strip()}",
                "return 0 for success" if call.fails_with_errno else "",
                errno=call.failure,
            )
        return number

    return call_checked


def _never_returns(
    call: Hypercall, function: Function, failed: Function, reporter: Reporter
) -> Function:
    def call_noreturn(*values: Any) -> Any:
        try:
            function(*values)
        except BaseException as error:
            return failed(error)
        reporter.say(f"{call.name}: its function returned, which C does not expect")
        return libc().abort()

    return call_noreturn


# One guard for each number of arguments: CPython calls a function whose
# argument count it sees several times faster than one through *arguments, and
# this code runs for every lock operation of the kernel.


def _guard0(f: Function, failed: Function) -> Function:
    def call0() -> Any:
        try:
            return f()
        except BaseException as error:
            return failed(error)

    return call0


def _guard1(f: Function, failed: Function) -> Function:
    def call1(a: Any) -> Any:
        try:
            return f(a)
        except BaseException as error:
            return failed(error)

    return call1


def _guard2(f: Function, failed: Function) -> Function:
    def call2(a: Any, b: Any) -> Any:
        try:
            return f(a, b)
        except BaseException as error:
            return failed(error)

    return call2


def _guard3(f: Function, failed: Function) -> Function:
    def call3(a: Any, b: Any, c: Any) -> Any:
        try:
            return f(a, b, c)
        except BaseException as error:
            return failed(error)

    return call3


def _guard4(f: Function, failed: Function) -> Function:
    def call4(a: Any, b: Any, c: Any, d: Any) -> Any:
        try:
            return f(a, b, c, d)
        except BaseException as error:
            return failed(error)

    return call4


def _guard_any(f: Function, failed: Function) -> Function:
    def call_any(*values: Any) -> Any:
        try:
            return f(*values)
        except BaseException as error:
            return failed(error)

    return call_any


_by_count = (
    _guard0,
    _guard1,
    _guard2,
    _guard3,
    _guard4,
    _guard_any,
    _guard_any,
    _guard_any,
)


def _codes() -> frozenset[CodeType]:
    made = [make(print, print) for make in _by_count]
    return frozenset(function.__code__ for function in made)


CODES = _codes()
"""The guards' code objects: a frame with one of them is inside a hypercall."""
