"""Constants and structures of packet(7) and of sendmmsg(2).

Facts: Linux include/uapi/linux/if_packet.h, include/linux/socket.h.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, ClassVar

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_RX_RING = 5
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_VERSION = 10
PACKET_VNET_HDR = 15
PACKET_QDISC_BYPASS = 20
PACKET_IGNORE_OUTGOING = 23

PACKET_MR_PROMISC = 1
TPACKET_V3 = 2
ETH_P_ALL = 0x0003
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772

SO_RCVBUFFORCE = 33
MSG_DONTWAIT = 0x40

MEMBERSHIP = struct.Struct("=iHH8s")
"""struct packet_mreq: index, type, length and octets of the address."""

RING_REQUEST = struct.Struct("=7I")
"""struct tpacket_req3: octets and number of blocks, of frames; milliseconds until
a block that is not full is handed over; private octets; features."""

STATISTICS = struct.Struct("=III")
"""struct tpacket_stats_v3: packets, drops, times that the ring was full."""

AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, length, octets captured, offsets of link and
network header, VLAN's TCI and TPID."""

STATUS_VLAN_VALID = 0x10
STATUS_VLAN_TPID_VALID = 0x40


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("base", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
    ]


class Msghdr(ctypes.Structure):
    """The kernel's struct user_msghdr."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_int),
        ("iovecs", ctypes.c_void_p),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint),
    ]


class Mmsghdr(ctypes.Structure):
    """struct mmsghdr: a message, and the octets that came or went."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("header", Msghdr),
        ("length", ctypes.c_uint),
    ]


WORD = ctypes.sizeof(ctypes.c_size_t)
CONTROL_HEADER = WORD + 8
"""Octets of struct cmsghdr."""

CONTROL = CONTROL_HEADER + -(-AUXDATA.size // WORD) * WORD
"""Octets of a control message with struct tpacket_auxdata (CMSG_SPACE)."""
