"""Requests to /dev/netmap: numbers and layouts.

Facts: netmap sys/net/netmap.h (API 14 and 15) and netmap_legacy.h (API 11 to 13
know NIOCREGIF instead of NIOCCTRL, later ones answer both). The structs are
in the host's byte order and the same on Linux and FreeBSD.
"""

from __future__ import annotations

import enum
import struct

from rumphyper.host.ioctl import IO, IOWR

DEVICE = "/dev/netmap"
API = 14
NAME_SIZE = 64

HEADER = struct.Struct("=HHI64sQQ")
"""version, request, reserved, name, address of options, address of body."""
REGISTER = struct.Struct("=QQIIHHHHHHIIxxxxQ")
"""offset, memory size, tx and rx slots, tx, rx, host tx and host rx rings, memory
id, ring, mode, extra buffers, flags."""
ATTACH = struct.Struct("=56sI4x")
"""A register request, port index."""
DETACH = struct.Struct("=I4x")
PORT_INFO = struct.Struct("=QIIHHHHH6x")
"""memory size, tx and rx slots, tx, rx, host tx and host rx rings, memory id."""
LIST = struct.Struct("=H2xI")
"""switch index, port index."""
PORT_HEADER = struct.Struct("=I4x")
NEWIF = struct.Struct("=IIHHH2x")
"""tx and rx slots, tx and rx rings, memory id."""
POLLING = struct.Struct("=III4x")
"""mode, first CPU, number of CPUs."""
POOLS_INFO = struct.Struct("=QH6xQIIQIIQII")
"""memory size, memory id, then offset, objects and object size of each of the
pools of interfaces, rings and buffers."""
KLOOP_START = struct.Struct("=I4x")
"""microseconds to sleep."""

OPTION = struct.Struct("=QIIQ")
"""address of the next option, type, status (an errno), size."""
OPT_EXTMEM = struct.Struct("=24sQ64s")
"""An option, address, pools info."""
OPT_CSB = struct.Struct("=24sQQ")
"""An option, addresses of nm_csb_atok and nm_csb_ktoa."""

LEGACY = struct.Struct("=16sIIIIIHHHHHHIII")
"""struct nmreq: name, version, offset, memory size, tx and rx slots, tx and rx
rings, ring, command, arg1, arg2 (memory id), arg3 (extra buffers), flags, spare."""

NIOCREGIF = IOWR("i", 146, LEGACY.size)
NIOCTXSYNC = IO("i", 148)
NIOCRXSYNC = IO("i", 149)
NIOCCTRL = IOWR("i", 151, HEADER.size)


class Request(enum.IntEnum):
    """NETMAP_REQ_*."""

    REGISTER = 1
    PORT_INFO_GET = 2
    VALE_ATTACH = 3
    VALE_DETACH = 4
    VALE_LIST = 5
    PORT_HDR_SET = 6
    PORT_HDR_GET = 7
    VALE_NEWIF = 8
    VALE_DELIF = 9
    VALE_POLLING_ENABLE = 10
    VALE_POLLING_DISABLE = 11
    POOLS_INFO_GET = 12
    SYNC_KLOOP_START = 13
    SYNC_KLOOP_STOP = 14
    CSB_ENABLE = 15


class Option(enum.IntEnum):
    """NETMAP_REQ_OPT_*."""

    EXTMEM = 1
    SYNC_KLOOP_EVENTFDS = 2
    CSB = 3
    SYNC_KLOOP_MODE = 4
    OFFSETS = 5


class Mode(enum.IntEnum):
    """NR_REG_*: which rings a registration binds."""

    ALL_NIC = 1
    SW = 2
    NIC_SW = 3
    ONE_NIC = 4
    PIPE_MASTER = 5
    PIPE_SLAVE = 6
    NULL = 7
    ONE_SW = 8


class RegisterFlag(enum.IntFlag):
    """Flags of a registration."""

    MONITOR_TX = 0x100
    MONITOR_RX = 0x200
    ZCOPY_MON = 0x400
    EXCLUSIVE = 0x800
    RX_RINGS_ONLY = 0x2000
    TX_RINGS_ONLY = 0x4000
    ACCEPT_VNET_HDR = 0x8000
    DO_RX_POLL = 0x10000
    NO_TX_POLL = 0x20000


LEGACY_FLAGS = 0xFFF0
"""The flags that a legacy request has in the same places."""

POLLING_SINGLE_CPU, POLLING_MULTI_CPU = 1, 2
