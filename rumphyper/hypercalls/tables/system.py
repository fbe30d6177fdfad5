"""Clocks, parameters, errno, termination, console and random numbers.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, lib/librumpuser/rumpuser.c,
rumpuser_random.c, rumpuser_sigtrans.c.
"""

from rumphyper.hypercalls.ctype import (
    CHARACTER,
    CLOCK,
    ERRNO,
    ERRNO_VALUE,
    EXIT_STATUS,
    INT,
    INT64,
    LONG,
    OUT_INT64,
    OUT_LONG,
    OUT_SIZE,
    PID,
    POINTER,
    RANDOM_FLAGS,
    SIZE,
    STRING,
    STRING_BUFFER,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

CALLS = (
    Hypercall(
        "rumpuser_clock_gettime",
        ERRNO,
        (
            Argument("enum_rumpclock", CLOCK, "wall clock or monotonic clock"),
            Argument("sec", OUT_INT64, "gets the seconds"),
            Argument("nsec", OUT_LONG, "gets the nanoseconds, below 10 ** 9"),
        ),
        family="clock",
        summary="read a clock of the host",
        errors=(Failure(Errno.EINVAL, "a clock that the contract does not know"),),
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_clock_sleep",
        ERRNO,
        (
            Argument(
                "enum_rumpclock",
                CLOCK,
                "RELWALL: for so long; ABSMONO: until the monotonic clock says so",
            ),
            Argument("sec", INT64, "seconds"),
            Argument("nsec", LONG, "nanoseconds, below 10 ** 9"),
        ),
        family="clock",
        summary="sleep for a time or until a time",
        errors=(Failure(Errno.EINVAL, "unknown clock, or nanoseconds out of range"),),
        blocks=True,
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_getparam",
        ERRNO,
        (
            Argument("name", STRING, "_RUMPUSER_NCPU, _RUMPUSER_HOSTNAME or a name"),
            Argument("buf", STRING_BUFFER, "gets the value as a string"),
            Argument("buflen", SIZE, "octets of room, with the closing NUL"),
        ),
        family="param",
        summary="a setting of the host: environment variables and two more",
        errors=(
            Failure(Errno.ENOENT, "no such variable"),
            Failure(Errno.ERANGE, "the buffer is too small"),
            Failure(Errno.EINVAL, "an unknown name that begins with an underscore"),
        ),
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_seterrno",
        VOID,
        (Argument("errno", ERRNO_VALUE, "a NetBSD errno"),),
        family="errno",
        summary="store the errno of a system call in the calling thread's errno",
    ),
    Hypercall(
        "rumpuser_kill",
        ERRNO,
        (
            Argument("pid", PID, "the kernel's process for whom it is; a hint"),
            Argument("sig", INT, "a NetBSD signal number"),
        ),
        family="termination",
        summary="raise a signal in the process that holds the kernel",
        returns="always 0; the kernel does not look",
    ),
    Hypercall(
        "rumpuser_exit",
        VOID,
        (Argument("value", EXIT_STATUS, "exit status; -1: the kernel panicked"),),
        family="termination",
        summary="end the process; after a panic with a core dump",
        noreturn=True,
    ),
    Hypercall(
        "rumpuser_putchar",
        VOID,
        (Argument("ch", CHARACTER, "one character"),),
        family="console",
        summary="write a character to the console",
    ),
    Hypercall(
        "rumpuser_dprintf",
        VOID,
        (Argument("format", STRING, "as printf's; its arguments follow"),),
        family="console",
        summary="write a formatted text to the error output, for debugging",
        variadic=True,
    ),
    Hypercall(
        "rumpuser_getrandom",
        ERRNO,
        (
            Argument("buf", POINTER, "gets the random octets"),
            Argument("buflen", SIZE, "octets wanted"),
            Argument("flags", RANDOM_FLAGS, "true randomness, no waiting"),
            Argument("retp", OUT_SIZE, "gets the octets given, perhaps fewer"),
        ),
        family="random",
        summary="random octets from the host",
        errors=(Failure(Errno.EAGAIN, "NOWAIT, and the pool is not ready"),),
    ),
)
