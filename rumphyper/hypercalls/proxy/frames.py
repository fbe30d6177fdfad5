"""The frames of the syscall proxy: numbers, layouts and what lengths are right.

Both ends share one ABI, so integers are in the host's order and structures are
C's of LP64. A frame is a header (struct rsp_hdr) and a body that depends on the
class and the type of the frame:

====================  ==========  =======================================
frame                 to          body
====================  ==========  =======================================
HANDSHAKE, GUEST      server      the program's name, NUL at its end
HANDSHAKE, FORK       server      `FORK`: four words of AUTH, cancel
HANDSHAKE, EXEC       server      the program's name, NUL at its end
HANDSHAKE response    client      `INT`: an errno
SYSCALL               server      the arguments, 8 octets each
SYSCALL response      client      `SYSRESP`: errno, two registers
PREFORK               server      nothing
PREFORK response      client      `AUTH`
COPYIN, COPYINSTR     client      `COPYDATA`: length, address
COPYIN response       server      the memory; up to its NUL for a string
COPYOUT, COPYOUTSTR   client      `COPYDATA`, then the memory; no response
ANONMMAP              client      `SIZE`
ANONMMAP response     server      `ADDRESS`: 0 if it failed
RAISE                 client      nothing; no response
an error              either      nothing: a response to any request
====================  ==========  =======================================

Each side numbers its own requests; a response carries the number of its request.

Source: NetBSD lib/librumpuser/sp_common.c (PROTOMAJOR 0, PROTOMINOR 4 of
rumpuser_sp.c), lib/librumpclient/rumpclient.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from rumphyper.hypercalls.errno import Errno

REQ, RESP, ERROR = range(3)
CLASSES = ("request", "response", "error")

HANDSHAKE, SYSCALL, COPYIN, COPYINSTR, COPYOUT, COPYOUTSTR = range(6)
ANONMMAP, PREFORK, RAISE = range(6, 9)
TYPES = (
    *("HANDSHAKE", "SYSCALL", "COPYIN", "COPYINSTR", "COPYOUT", "COPYOUTSTR"),
    *("ANONMMAP", "PREFORK", "RAISE"),
)

GUEST, AUTHENTICATE, FORK_OF, EXEC = range(4)
"""What a HANDSHAKE's word says: HANDSHAKE_GUEST, _AUTH, _FORK and _EXEC."""

ERR_NONE, ERR_TRYAGAIN, ERR_AUTH, ERR_INVALID_PREFORK = range(4)
ERR_RFORK_FAILED, ERR_INEXEC, ERR_NOMEM, ERR_MALFORMED_REQUEST = range(4, 8)
ERRORS: tuple[int, ...] = (
    *(Errno.EINVAL, Errno.EAGAIN, Errno.EPERM, Errno.ESRCH),
    *(Errno.EIO, Errno.EBUSY, Errno.ENOMEM, Errno.EINVAL),
)
"""NetBSD's errno for the word of an error frame. ERR_NONE is no error to send."""

HEADER = struct.Struct("=QQHHI")
"""rsp_len (header and body), rsp_reqno, rsp_class, rsp_type, and one word:
sysnum, error, handshake or signo."""

COPYDATA = struct.Struct("=QQ")
"""struct rsp_copydata: rcp_len, rcp_addr; rcp_data follows."""

SYSRESP = struct.Struct("=i4xqq")
"""struct rsp_sysresp: rsys_error, rsys_retval[2]."""

FORK = struct.Struct("=16si")
"""struct handshake_fork: rf_auth, rf_cancel."""

AUTH = struct.Struct("=16s")
"""What PREFORK answers, and a FORK handshake brings along (AUTHLEN)."""

INT = struct.Struct("=i")
SIZE = struct.Struct("=Q")
ADDRESS = struct.Struct("=Q")

MAX_ARGS = 8 * 8
"""Octets of a call's arguments: SYS_MAXSYSARGS registers (sys/sys/syscall.h)."""

MAX_NAME = 1024
"""Octets of a program's name: far above the 128 of the stock client."""

LIMIT = 64 << 20
"""Octets of any body. The protocol itself knows no limit; a copy from or to a
buffer may be as long as the buffer."""

Bounds = Mapping[tuple[int, int], tuple[int, int]]
"""Class and type of a frame: the shortest and longest body."""

TO_SERVER: Bounds = {
    (REQ, HANDSHAKE): (1, MAX_NAME),
    (REQ, SYSCALL): (0, MAX_ARGS),
    (REQ, PREFORK): (0, 0),
    (RESP, COPYIN): (0, LIMIT),
    (RESP, COPYINSTR): (0, LIMIT),
    (RESP, ANONMMAP): (ADDRESS.size, ADDRESS.size),
    **{(ERROR, kind): (0, 0) for kind in range(len(TYPES))},
}

TO_CLIENT: Bounds = {
    (RESP, HANDSHAKE): (INT.size, INT.size),
    (RESP, SYSCALL): (SYSRESP.size, SYSRESP.size),
    (RESP, PREFORK): (AUTH.size, AUTH.size),
    (REQ, COPYIN): (COPYDATA.size, COPYDATA.size),
    (REQ, COPYINSTR): (COPYDATA.size, COPYDATA.size),
    (REQ, COPYOUT): (COPYDATA.size, LIMIT),
    (REQ, COPYOUTSTR): (COPYDATA.size, LIMIT),
    (REQ, ANONMMAP): (SIZE.size, SIZE.size),
    (REQ, RAISE): (0, 0),
    **{(ERROR, kind): (0, 0) for kind in range(len(TYPES))},
}


class Frame(NamedTuple):
    """One frame, its length and kind checked; what the body says is not."""

    reqno: int
    cls: int
    """`REQ`, `RESP` or `ERROR`."""

    type: int
    word: int
    """sysnum, error, handshake or signo, as the type has it."""

    body: bytes


def pack(reqno: int, cls: int, type: int, word: int = 0, body: bytes = b"") -> bytes:
    """A frame as octets; ``word`` is sysnum, error, handshake or signo."""
    return HEADER.pack(HEADER.size + len(body), reqno, cls, type, word) + body


def errno_of(word: int) -> int:
    """NetBSD's errno of an error frame; EINVAL for a word that is unknown."""
    return ERRORS[word] if word < len(ERRORS) else int(Errno.EINVAL)


def describe(cls: int, type: int) -> str:
    """What a message calls a frame, whatever the numbers are: "COPYIN request"."""
    kind = TYPES[type] if type < len(TYPES) else f"type {type}"
    return f"{kind} {CLASSES[cls] if cls < len(CLASSES) else f'of class {cls}'}"


def is_exec(frame: Frame) -> bool:
    """Whether the client says that it has become another program."""
    return (frame.cls, frame.type, frame.word) == (REQ, HANDSHAKE, EXEC)
