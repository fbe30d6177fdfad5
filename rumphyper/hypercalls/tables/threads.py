"""Host threads, the lwp that each carries, the loader and daemons.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, lib/librumpuser/rumpuser_pth.c,
rumpuser_dl.c, rumpuser_daemonize.c.
"""

from rumphyper.hypercalls.ctype import (
    COMPLOAD,
    ERRNO,
    ERRNO_VALUE,
    INT,
    LWP,
    LWP_OPERATION,
    MODINIT,
    OUT_POINTER,
    POINTER,
    STRING,
    SYMLOAD,
    THREAD_FUNCTION,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

CALLS = (
    Hypercall(
        "rumpuser_thread_create",
        ERRNO,
        (
            Argument("f", THREAD_FUNCTION, "what the thread runs"),
            Argument("arg", POINTER, "its argument"),
            Argument("thrname", STRING, "name of the thread; may be NULL"),
            Argument("mustjoin", INT, "non-zero: rumpuser_thread_join will wait"),
            Argument("priority", INT, "the kernel's wish, higher is more urgent"),
            Argument("cpuidx", INT, "virtual CPU it is bound to; -1: none"),
            Argument("cookie", OUT_POINTER, "gets what join wants, if mustjoin"),
        ),
        family="threads",
        summary="start a host thread for a thread of the kernel",
        errors=(Failure(Errno.EAGAIN, "the host gives no further thread"),),
        failure=Errno.EAGAIN,
    ),
    Hypercall(
        "rumpuser_thread_exit",
        VOID,
        (),
        family="threads",
        summary="end the calling thread",
        noreturn=True,
    ),
    Hypercall(
        "rumpuser_thread_join",
        ERRNO,
        (Argument("cookie", POINTER, "from rumpuser_thread_create"),),
        family="threads",
        summary="wait until a thread has ended",
        errors=(Failure(Errno.EINVAL, "not a cookie, or joined already"),),
        blocks=True,
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_curlwpop",
        VOID,
        (
            Argument("enum_rumplwpop", LWP_OPERATION, "which operation"),
            Argument("l", LWP, "the lwp it is about"),
        ),
        family="lwp",
        summary="tell the host of an lwp, or bind it to the calling thread",
    ),
    Hypercall(
        "rumpuser_curlwp",
        LWP,
        (),
        family="lwp",
        summary="the lwp of the calling thread",
        returns="the lwp of the last SET in this thread, NULL without one",
    ),
    Hypercall(
        "rumpuser_dl_bootstrap",
        VOID,
        (
            Argument("domodinit", MODINIT, "upcall that takes kernel modules"),
            Argument("symload", SYMLOAD, "upcall that takes a symbol table"),
            Argument("compload", COMPLOAD, "upcall that takes a component"),
        ),
        family="dl",
        summary="find the components and symbols of all loaded libraries",
    ),
    Hypercall(
        "rumpuser_daemonize_begin",
        ERRNO,
        (),
        family="daemonize",
        summary="fork before booting; the parent waits for the outcome",
        errors=(
            Failure(Errno.EINPROGRESS, "called before"),
            Failure(Errno.EINVAL, "there are threads, which a fork would lose"),
            Failure(Errno.EAGAIN, "the host gives no further process"),
        ),
    ),
    Hypercall(
        "rumpuser_daemonize_done",
        ERRNO,
        (Argument("error", ERRNO_VALUE, "how booting went; 0: well"),),
        family="daemonize",
        summary="tell the waiting parent how booting went and detach",
        errors=(
            Failure(Errno.ENOENT, "rumpuser_daemonize_begin was not called"),
            Failure(Errno.EPIPE, "the parent has gone"),
        ),
    ),
)
