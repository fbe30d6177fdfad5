"""Arguments as slots and lent memory."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.kernel.filelayouts import Stat
from rumphyper.kernel.message import Iovec, Msghdr
from rumphyper.kernel.mountargs import arguments
from rumphyper.kernel.remotecalls import CHUNK, pack
from rumphyper.kernel.remotememory import Range, address, find, lend_object
from rumphyper.kernel.syscallnumbers import SYSCALLS, TRANSFERS
from rumphyper.kernel.syscalls import LONG, VERSIONS

SIZE = ctypes.c_size_t


def slots(name: str, *args: Any) -> tuple[list[int], list[Range]]:
    """What a call sends, and what it lends."""
    ranges: list[Range] = []
    letters = SYSCALLS[VERSIONS.get(name, name)][1].replace("-", "")
    words, _ = pack(letters, args, ranges, name in TRANSFERS)
    return words, ranges


def spans(ranges: list[Range]) -> list[tuple[int, int, bool]]:
    return [(one.start, one.end - one.start, one.writable) for one in ranges]


def test_numbers_fill_their_slots() -> None:
    assert slots("socket", 2, -1, 0)[0] == [2, 0xFFFFFFFF, 0]
    assert slots("lseek", 3, ctypes.c_int64(-2), 1)[0] == [3, (1 << 64) - 2, 1]
    assert slots("fchown", 3, ctypes.c_uint(0xFFFFFFFF), True)[0] == [3, 0xFFFFFFFF, 1]
    assert slots("fcntl", 3, 4, 5) == ([3, 4, 5], [])
    assert slots("setsockopt", 3, 1, 2, None, 4) == ([3, 1, 2, 0, 4], [])


def test_octets_are_lent_for_reading() -> None:
    data = b"some data"
    words, ranges = slots("write", 3, data, SIZE(4))
    assert words == [3, address(data), 4]
    assert spans(ranges) == [(address(data), 4, False)]
    assert ctypes.string_at(words[1], 4) == b"some"
    words, ranges = slots("write", 3, data, SIZE(400))  # a size that is not true
    assert words[2] == 400
    assert spans(ranges) == [(address(data), len(data) + 1, False)]


def test_strings_are_lent_with_their_end() -> None:
    words, ranges = slots("open", b"/a", 0, 0)
    assert spans(ranges) == [(words[0], 3, False)]
    assert ctypes.string_at(words[0], 3) == b"/a\0"


def test_memory_is_lent_by_the_size_that_is_told() -> None:
    room = ctypes.create_string_buffer(64)
    start = ctypes.addressof(room)
    words, ranges = slots("recvfrom", 3, room, SIZE(10), 0, None, None)
    assert words == [3, start, 10, 0, 0, 0]
    assert spans(ranges) == [(start, 10, True)]
    bare = ctypes.c_void_p(start + 8)
    assert spans(slots("read", 3, bare, SIZE(8))[1]) == [(start + 8, 8, True)]
    assert spans(slots("read", 3, bare, SIZE(0))[1]) == []


def test_a_transfer_is_cut_to_what_a_frame_carries() -> None:
    room = ctypes.create_string_buffer(1)
    words, ranges = slots("pread", 3, room, SIZE(CHUNK * 9), ctypes.c_int64(CHUNK * 9))
    assert words[2:] == [CHUNK, CHUNK * 9]
    assert spans(ranges) == [(ctypes.addressof(room), CHUNK, True)]


def test_an_address_as_a_number_lends_nothing() -> None:
    room = ctypes.create_string_buffer(8)
    start = ctypes.addressof(room)
    assert slots("write", 3, start, SIZE(8)) == ([3, start, 8], [])
    assert slots("stat", b"/", start)[1][1:] == []
    assert slots("ioctl", 3, ctypes.c_ulong(0x80206931), start)[1] == []


def test_objects_are_as_large_as_they_say() -> None:
    found = Stat()
    words, ranges = slots("fstat", 3, ctypes.byref(found))
    assert words[1] == ctypes.addressof(found)
    assert spans(ranges) == [(words[1], ctypes.sizeof(Stat), True)]
    inner = ctypes.byref(found, 8)
    words, ranges = slots("fstat", 3, inner)
    assert words[1] == ctypes.addressof(found) + 8
    assert find(ranges, words[1], ctypes.sizeof(Stat) - 8, writing=True)
    assert not find(ranges, words[1], ctypes.sizeof(Stat))


def test_an_ioctl_says_how_large_its_data_is() -> None:
    room = ctypes.create_string_buffer(64)
    request = ctypes.c_ulong(0xC0206921)  # _IOWR('i', 33, 32 octets)
    assert spans(slots("ioctl", 3, request, room)[1]) == [
        (ctypes.addressof(room), 32, True)
    ]
    assert slots("ioctl", 3, ctypes.c_ulong(0x20006601), None)[1] == []


def test_what_structures_point_to_is_lent() -> None:
    given = arguments("ffs", b"/dev/image", {})
    words, ranges = slots(
        "mount", b"ffs", b"/mnt", 0, ctypes.byref(given), SIZE(ctypes.sizeof(given))
    )
    (source,) = struct.unpack("=Q", ctypes.string_at(words[3], 8))
    found = find(ranges, source, len(b"/dev/image\0"))
    assert found is not None
    assert not found.writable
    assert ctypes.string_at(source, 11) == b"/dev/image\0"

    class Node(ctypes.Structure):
        pass

    Node._fields_ = [("next", ctypes.POINTER(Node)), ("name", ctypes.c_char_p)]
    last = Node(None, b"last")
    first = Node(ctypes.pointer(last), b"first")
    ranges = []
    lend_object(ranges, ctypes.byref(first))
    for node in (first, last):
        assert find(ranges, ctypes.addressof(node), ctypes.sizeof(Node), writing=True)
        name = ctypes.c_void_p.from_buffer(node, 8).value
        assert name is not None
        assert find(ranges, name, len(node.name) + 1)


@pytest.mark.parametrize(("name", "writing"), [("sendmsg", False), ("recvmsg", True)])
def test_all_parts_of_a_message_are_lent(name: str, writing: bool) -> None:
    parts = [ctypes.create_string_buffer(size) for size in (5, 1, 70)]
    iov = (Iovec * 4)(*(Iovec(ctypes.addressof(p), len(p)) for p in parts), Iovec())
    sender, control = (ctypes.create_string_buffer(size) for size in (16, 24))
    header = Msghdr(
        *(ctypes.addressof(sender), 16, ctypes.addressof(iov), 4),
        *(ctypes.addressof(control), 24, 0),
    )
    words, ranges = slots(name, 3, ctypes.byref(header), 0)
    assert words[1] == ctypes.addressof(header)
    for one in (*parts, sender, control, header):
        place = ctypes.addressof(one), ctypes.sizeof(one)
        assert find(ranges, *place)
        assert bool(find(ranges, *place, writing=True)) == writing
    assert find(ranges, ctypes.addressof(iov), ctypes.sizeof(iov))
    assert not find(ranges, ctypes.addressof(iov), 1, writing=True)
    vector = {"sendmsg": "writev", "recvmsg": "readv"}[name]
    assert spans(slots(vector, 3, iov, 4)[1])[1:] == [
        (ctypes.addressof(part), len(part), writing) for part in parts
    ]
    for count in (0, -1, 1025):
        assert slots(vector, 3, iov, count)[1] == []


@given(
    data=st.binary(max_size=50),
    place=st.integers(-70, 70),
    size=st.integers(0, 1 << 33),
)
def test_nothing_beside_the_object_is_ever_found(
    data: bytes, place: int, size: int
) -> None:
    ranges: list[Range] = []
    start = lend_object(ranges, data)
    inside = place >= 0 and place + size <= len(data) + 1
    assert (find(ranges, start + place, size) is not None) == inside
    assert find(ranges, start + place, size, writing=True) is None


@given(st.lists(st.one_of(st.none(), st.integers(), st.binary(), st.floats())))
def test_odd_arguments_are_taken_or_refused(args: list[Any]) -> None:
    for name in ("write", "sendto", "ioctl", "open", "pollts", "kevent"):
        letters = SYSCALLS[VERSIONS.get(name, name)][1]
        given = (args + [None] * len(letters))[: len(letters)]
        try:
            words, ranges = slots(name, *given)
        except TypeError:
            continue
        assert all(0 <= word < 1 << 64 for word in words)
        assert all(one.owner is not None for one in ranges)


def test_the_tables_agree() -> None:
    assert set(VERSIONS.values()) <= {*SYSCALLS, "getfh30"}
    assert set(LONG) <= set(SYSCALLS)
    assert set(TRANSFERS) <= set(SYSCALLS)


_ENTRY = re.compile(
    r"^(\d+)\s+([^{}\n]*?)\{\s*([^|{}]+)\|(\w+)\|(\d*)\|(\w+)\((.*?)\);\s*\}",
    re.M | re.S,
)
_WIDE = ("*", "size_t", "ssize_t", "off_t", "u_long", "long", "dev_t", "intptr_t")


def test_the_table_is_netbsds() -> None:
    """Numbers, and which slots there are and how wide, of syscalls.master."""
    folder = os.environ.get("RUMPHYPER_NETBSD_SRC", "")
    if not folder:
        pytest.skip("RUMPHYPER_NETBSD_SRC does not name a NetBSD source tree")
    text = (Path(folder) / "sys/kern/syscalls.master").read_text()
    text = text.replace("\\\n", " ").replace("...", "")
    seen = {}
    for number, kind, _, prefix, version, name, args in _ENTRY.findall(text):
        if "RUMP" not in kind or "COMPAT" in kind or prefix != "sys":
            continue
        name = name.partition("_with_")[0]  # getpid_with_ppid is getpid for C
        shape = ""
        for arg in [] if args.strip() == "void" else args.split(","):
            words = arg.replace("*", " * ").split()
            wide = any(word in _WIDE for word in words)
            shape += "-" if words[-1] == "PAD" else "L" if wide else "i"
        seen[name + version] = int(number), shape
    del seen["pipe"]  # its result takes two registers; pipe2 does the same
    ours = {
        name: (number, re.sub("[^i-]", "L", letters))
        for name, (number, letters) in SYSCALLS.items()
    }
    assert ours == seen
