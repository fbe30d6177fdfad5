"""pci/memory and pci/pagemap on this host's own memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import subprocess
import sys

import pytest

from rumphyper.pci.errors import DeniedError, DmaError
from rumphyper.pci.memory import FREE_HUGEPAGES, HUGEPAGE, Pages, free_hugepages
from rumphyper.pci.pagemap import physical

FIXED = 0x10_0000_0000


def mapped_at(address: int) -> bool:
    """Whether something is mapped at an address, by the kernel's word."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            start, end = (int(each, 16) for each in line.split()[0].split("-"))
            if start <= address < end:
                return True
    return False


def test_memory_is_zeroed_whole_pages_and_the_devices() -> None:
    pages = Pages(5000)
    assert pages.size == 2 * mmap.PAGESIZE
    assert pages.address % mmap.PAGESIZE == 0
    assert bytes(pages.view) == bytes(pages.size)
    pages.view[4097] = 7
    assert ctypes.c_ubyte.from_address(pages.address + 4097).value == 7
    pages.close()
    pages.close()


def test_memory_lives_as_long_as_a_slice_of_it() -> None:
    pages = Pages(4096)
    address = pages.address
    part = pages.view[100:200]
    part[0] = 9
    pages.close()
    del pages
    gc.collect()
    assert part[0] == 9
    assert mapped_at(address)
    del part
    gc.collect()
    assert not mapped_at(address)


def test_memory_at_a_fixed_address_moves_nothing() -> None:
    pages = Pages(1 << 20, address=FIXED)
    assert pages.address == FIXED
    pages.view[0] = 1
    with pytest.raises(DmaError, match="something else is mapped at 0x1000000000"):
        Pages(4096, address=FIXED)
    assert pages.view[0] == 1
    pages.close()
    gc.collect()
    again = Pages(4096, address=FIXED)
    assert again.view[0] == 0
    again.close()


def test_a_child_shares_the_memory() -> None:
    """What a device writes must reach this process whatever it has forked."""
    pages = Pages(4096)
    child = os.fork()
    if child == 0:
        pages.view[0] = 42
        os._exit(0)
    os.waitpid(child, 0)
    assert pages.view[0] == 42
    pages.close()


@pytest.mark.parametrize(("size", "address"), [(0, 0), (-1, 0), (4096, FIXED + 1)])
def test_memory_that_cannot_be(size: int, address: int) -> None:
    with pytest.raises(DmaError, match="no run of whole pages"):
        Pages(size, address=address)


def test_too_much_memory() -> None:
    with pytest.raises(DmaError, match="Cannot allocate memory"):
        Pages(1 << 46)


def test_the_interpreters_end_leaves_memory_to_other_threads() -> None:
    """They may still run in it while Python shuts down."""
    code = """
import ctypes, sys, weakref
from rumphyper.pci.memory import Pages
pages = Pages(4096)
address = pages.address
class Last:
    def __del__(self):
        ctypes.c_ubyte.from_address(address).value = 1
        print("alive", flush=True)
keep = Last()
weakref.finalize(keep, print, "exit")
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "exit\nalive\n"), said.stderr


def test_huge_pages_or_how_many_are_missing() -> None:
    if not os.path.exists(FREE_HUGEPAGES):
        pytest.skip("this kernel has no huge pages of 2 MiB")
    free = free_hugepages()
    with pytest.raises(DmaError) as caught:
        Pages((free + 1) * HUGEPAGE, huge=True)
    text = f"needs {free + 1} free huge pages of 2 MiB, there are {free}"
    assert text in str(caught.value)
    assert "/proc/sys/vm/nr_hugepages" in caught.value.remedy


def test_frames_of_memory() -> None:
    """One page mapped twice has one frame; another page has another."""
    if os.geteuid() != 0:
        pytest.skip("only root sees frame numbers")
    size = mmap.PAGESIZE
    fd = os.memfd_create("frames")
    os.truncate(fd, 2 * size)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        places = []
        for offset in (0, 0, size):
            area = mmap.mmap(fd, size, offset=offset)
            stack.callback(area.close)
            area[0] = 1
            place = ctypes.addressof(ctypes.c_char.from_buffer(area))
            (frame,) = physical(place, size)
            assert physical(place + 100, 1) == [frame + 100]
            places.append(frame)
    assert places[0] == places[1] != places[2]
    assert all(place and place % size == 0 for place in places)


def test_memory_that_is_not_there_has_no_frame() -> None:
    area = mmap.mmap(-1, mmap.PAGESIZE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(area))
    with pytest.raises(DmaError, match="no memory is present"):
        physical(place, 1)


def test_frames_are_for_the_privileged() -> None:
    """The kernel then shows frame 0 (Documentation/admin-guide/mm/pagemap.rst)."""
    code = """
import os, sys
from rumphyper.pci.memory import Pages
from rumphyper.pci.pagemap import physical
from rumphyper.pci.errors import DeniedError
pages = Pages(4096)
os.geteuid() or os.setuid(65534)
try:
    physical(pages.address, 4096)
except DeniedError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("/proc/self/pagemap: ")
    assert issubclass(DeniedError, Exception)
