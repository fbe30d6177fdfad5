"""Numbers and layouts of io_uring, as data.

Source: the kernel's include/uapi/linux/io_uring.h, io_uring_setup(2),
io_uring_enter(2) and io_uring_register(2). Sizes are in octets, offsets from
the start of their structure.
"""

from __future__ import annotations

import ctypes
import struct

# Offsets that tell mmap(2) which of a ring's areas is meant.
OFF_SQ_RING = 0
OFF_SQES = 0x10000000

# struct io_uring_params, `features`.
FEAT_SINGLE_MMAP = 1 << 0
FEAT_NODROP = 1 << 1
FEAT_SUBMIT_STABLE = 1 << 2
FEAT_RW_CUR_POS = 1 << 3
FEATURES = FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_SUBMIT_STABLE | FEAT_RW_CUR_POS
"""What this package relies on: everything that Linux 5.6 has."""

# io_uring_enter(2), `flags`.
ENTER_GETEVENTS = 1 << 0

# io_uring_register(2), `opcode`.
REGISTER_BUFFERS = 0
UNREGISTER_BUFFERS = 1
REGISTER_FILES = 2
UNREGISTER_FILES = 3

# struct io_uring_sqe, `opcode` and `flags`.
OP_READ_FIXED = 4
OP_WRITE_FIXED = 5
OP_READ = 22
OP_WRITE = 23
IOSQE_FIXED_FILE = 1 << 0

# preadv2(2), `flags`; `rw_flags` of an SQE.
RWF_NOWAIT = 0x00000008

MAX_ENTRIES = 32768
"""IORING_MAX_ENTRIES: the most entries of a submission queue."""

SQE = struct.Struct("=BBHiQQIIQHHiQQ")
"""struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, rw_flags,
user_data, buf_index, personality, file_index, addr3, pad."""

SQE_SIZE = 64
SQE_LENGTH_WORD = 6
"""The 32-bit word of an SQE that holds `len`."""

CQE = struct.Struct("=QiI")
"""struct io_uring_cqe: user_data, res, flags."""

CQE_SIZE = 16
CQE_RESULT_WORD = 2

CURRENT_POSITION = 0xFFFFFFFFFFFFFFFF
"""`off` of a file that has no position, such as a character device."""


class SqOffsets(ctypes.Structure):
    """struct io_sqring_offsets: where the submission ring's words lie."""

    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    flags: int
    dropped: int
    array: int

    _fields_ = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("ring_mask", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("dropped", ctypes.c_uint32),
        ("array", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("user_addr", ctypes.c_uint64),
    ]


class CqOffsets(ctypes.Structure):
    """struct io_cqring_offsets: where the completion ring's words lie."""

    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    overflow: int
    cqes: int
    flags: int

    _fields_ = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("ring_mask", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32),
        ("overflow", ctypes.c_uint32),
        ("cqes", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("user_addr", ctypes.c_uint64),
    ]


class Params(ctypes.Structure):
    """struct io_uring_params: 120 octets, filled in by io_uring_setup(2)."""

    sq_entries: int
    cq_entries: int
    flags: int
    features: int
    sq_off: SqOffsets
    cq_off: CqOffsets

    _fields_ = [
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("sq_thread_cpu", ctypes.c_uint32),
        ("sq_thread_idle", ctypes.c_uint32),
        ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
        ("sq_off", SqOffsets),
        ("cq_off", CqOffsets),
    ]


class Iovec(ctypes.Structure):
    """struct iovec: an address and a size."""

    base: int
    size: int

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
