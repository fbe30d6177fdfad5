"""Mutexes, reader/writer locks and condition variables.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, rumpuser(3),
lib/librumpuser/rumpuser_pth.c.
"""

from rumphyper.hypercalls.ctype import (
    CONDVAR,
    ERRNO,
    INT64,
    MUTEX,
    MUTEX_FLAGS,
    OUT_CONDVAR,
    OUT_INT,
    OUT_LWP,
    OUT_MUTEX,
    OUT_RWLOCK,
    RW_KIND,
    RWLOCK,
    VOID,
    CType,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_BUSY = (Failure(Errno.EBUSY, "somebody holds it"),)
_MTX = Argument("mtx", MUTEX, "the mutex")
_RW = Argument("rw", RWLOCK, "the lock")
_KIND = Argument("enum_rumprwlock", RW_KIND, "as reader or as writer")
_CV = Argument("cv", CONDVAR, "the condition variable")
_INTERLOCK = Argument("mtx", MUTEX, "the mutex that the caller holds")


def _call(
    name: str,
    summary: str,
    *arguments: Argument,
    result: CType = VOID,
    errors: tuple[Failure, ...] = (),
    blocks: bool = False,
    failure: Errno = Errno.EBUSY,
) -> Hypercall:
    return Hypercall(
        f"rumpuser_{name}",
        result,
        arguments,
        "locks",
        summary,
        errors=errors,
        blocks=blocks,
        failure=failure,
    )


CALLS = (
    _call(
        "mutex_init",
        "make a mutex",
        Argument("mtxp", OUT_MUTEX, "gets the mutex"),
        Argument("flags", MUTEX_FLAGS, "SPIN: keep the CPU; KMUTEX: has an owner"),
    ),
    _call("mutex_enter", "take a mutex", _MTX, blocks=True),
    _call("mutex_enter_nowrap", "take a spin mutex and keep the virtual CPU", _MTX),
    _call(
        "mutex_tryenter",
        "take a mutex if it is free",
        _MTX,
        result=ERRNO,
        errors=_BUSY,
    ),
    _call("mutex_exit", "release a mutex", _MTX),
    _call("mutex_destroy", "free a mutex that nobody holds", _MTX),
    _call(
        "mutex_owner",
        "which lwp holds a mutex made with KMUTEX",
        _MTX,
        Argument("lp", OUT_LWP, "gets the lwp, NULL if nobody holds it"),
    ),
    _call(
        "rw_init",
        "make a reader/writer lock",
        Argument("rwp", OUT_RWLOCK, "gets the lock"),
    ),
    _call("rw_enter", "take a lock as reader or writer", _KIND, _RW, blocks=True),
    _call(
        "rw_tryenter",
        "take a lock as reader or writer if that is possible now",
        _KIND,
        _RW,
        result=ERRNO,
        errors=(*_BUSY, Failure(Errno.EINVAL, "neither reader nor writer")),
    ),
    _call(
        "rw_tryupgrade",
        "turn a reader into the writer if it is the only reader",
        _RW,
        result=ERRNO,
        errors=(Failure(Errno.EBUSY, "other readers, or not supported"),),
    ),
    _call(
        "rw_downgrade",
        "turn the writer into a reader; no writer gets in between",
        _RW,
        blocks=True,
    ),
    _call("rw_exit", "release a lock", _RW),
    _call("rw_destroy", "free a lock that nobody holds", _RW),
    _call(
        "rw_held",
        "whether a lock is held",
        _KIND,
        _RW,
        Argument(
            "heldp",
            OUT_INT,
            "gets 1 if the calling lwp is the writer, or the number of readers",
        ),
    ),
    _call(
        "cv_init",
        "make a condition variable",
        Argument("cvp", OUT_CONDVAR, "gets the condition variable"),
    ),
    _call("cv_destroy", "free a condition variable without waiters", _CV),
    _call(
        "cv_wait",
        "release the mutex, wait for a signal, take the mutex again",
        _CV,
        _INTERLOCK,
        blocks=True,
    ),
    _call(
        "cv_wait_nowrap",
        "like cv_wait, but keep the virtual CPU",
        _CV,
        _INTERLOCK,
    ),
    _call(
        "cv_timedwait",
        "like cv_wait, for a limited time",
        _CV,
        _INTERLOCK,
        Argument("sec", INT64, "seconds from now"),
        Argument("nsec", INT64, "nanoseconds on top"),
        result=ERRNO,
        errors=(Failure(Errno.ETIMEDOUT, "no signal came in time"),),
        blocks=True,
        failure=Errno.ETIMEDOUT,
    ),
    _call("cv_signal", "wake one waiter", _CV),
    _call("cv_broadcast", "wake all waiters", _CV),
    _call(
        "cv_has_waiters",
        "how many wait",
        _CV,
        Argument("waitersp", OUT_INT, "gets the number of waiters"),
    ),
)
