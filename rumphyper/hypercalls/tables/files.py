"""Files and block devices of the host.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, lib/librumpuser/rumpuser_file.c
and rumpuser_bio.c.
"""

from rumphyper.hypercalls.ctype import (
    BIO_OPERATION,
    BIODONE,
    CONST_IOVEC,
    ERRNO,
    FILE_OFFSET,
    INT,
    INT64,
    IOVEC,
    OPEN_FLAGS,
    OUT_FILE_TYPE,
    OUT_INT,
    OUT_SIZE,
    OUT_UINT64,
    POINTER,
    SIZE,
    STRING,
    SYNC_FLAGS,
    UINT64,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_FD = Argument("fd", INT, "a descriptor of rumpuser_open")
_COUNT = Argument("iovlen", SIZE, "elements of the array")
_OFFSET = Argument("off", FILE_OFFSET, "octets from the start; -1: where it stands")
_BAD_FD = Failure(Errno.EBADF, "the descriptor is not open")
_IO_ERROR = Failure(Errno.EIO, "the device failed")

CALLS = (
    Hypercall(
        "rumpuser_open",
        ERRNO,
        (
            Argument("name", STRING, "path on the host"),
            Argument("mode", OPEN_FLAGS, "how to open it, and whether to create it"),
            Argument("fdp", OUT_INT, "gets the descriptor"),
        ),
        family="files",
        summary="open a file or device of the host",
        errors=(
            Failure(Errno.ENOENT, "there is no such file"),
            Failure(Errno.EACCES, "the host does not permit it"),
            Failure(Errno.EEXIST, "RUMPUSER_OPEN_EXCL and the file is there"),
            Failure(Errno.EINVAL, "access mode 3"),
        ),
        blocks=True,
    ),
    Hypercall(
        "rumpuser_close",
        ERRNO,
        (_FD,),
        family="files",
        summary="write out what is cached, then close the descriptor",
        returns="always 0",
        blocks=True,
        failure=Errno.EBADF,
    ),
    Hypercall(
        "rumpuser_getfileinfo",
        ERRNO,
        (
            Argument("name", STRING, "path on the host"),
            Argument("size", OUT_UINT64, "gets the octets; may be NULL"),
            Argument("type", OUT_FILE_TYPE, "gets the kind of file; may be NULL"),
        ),
        family="files",
        summary="size and kind of a file of the host",
        errors=(
            Failure(Errno.ENOENT, "there is no such file"),
            Failure(Errno.EOPNOTSUPP, "a device whose size cannot be found out"),
        ),
    ),
    Hypercall(
        "rumpuser_bio",
        VOID,
        (
            _FD,
            Argument("op", BIO_OPERATION, "read or write, and whether to sync"),
            Argument("data", POINTER, "the memory to read into or write from"),
            Argument("dlen", SIZE, "octets, a multiple of 512"),
            Argument("off", INT64, "octets from the start of the file"),
            Argument("biodone", BIODONE, "called when done: (donearg, octets, errno)"),
            Argument("donearg", POINTER, "passed to biodone"),
        ),
        family="files",
        summary="start a block transfer and return; biodone tells the end",
        blocks=True,
    ),
    Hypercall(
        "rumpuser_iovread",
        ERRNO,
        (
            _FD,
            Argument("ruiov", IOVEC, "where to: array of address and length"),
            _COUNT,
            _OFFSET,
            Argument("retv", OUT_SIZE, "gets the octets read"),
        ),
        family="files",
        summary="read from a file into several buffers",
        errors=(_BAD_FD, _IO_ERROR),
        blocks=True,
    ),
    Hypercall(
        "rumpuser_iovwrite",
        ERRNO,
        (
            _FD,
            Argument("ruiov", CONST_IOVEC, "where from: array of address and length"),
            _COUNT,
            _OFFSET,
            Argument("retv", OUT_SIZE, "gets the octets written"),
        ),
        family="files",
        summary="write to a file from several buffers",
        errors=(
            _BAD_FD,
            Failure(Errno.ENOSPC, "the device is full"),
            _IO_ERROR,
        ),
        blocks=True,
    ),
    Hypercall(
        "rumpuser_syncfd",
        ERRNO,
        (
            _FD,
            Argument("flags", SYNC_FLAGS, "which direction, barrier, wait"),
            Argument("start", UINT64, "octets from the start of the file"),
            Argument("len", UINT64, "octets; 0: to the end"),
        ),
        family="files",
        summary="bring a file and its device into agreement",
        errors=(
            Failure(Errno.EINVAL, "neither READ nor WRITE is set"),
            _BAD_FD,
            _IO_ERROR,
        ),
        blocks=True,
    ),
)
