"""host/ioctl: request numbers against the kernel's headers and published values."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from rumphyper.errors import HostError
from rumphyper.host import arch, ioctl
from tests.debian import KERNELS, kernel_headers
from tests.judges import tool

# TUNSETIFF is _IOW('T', 202, int), TUNGETFEATURES _IOR('T', 207, int) and
# KVM_GET_MSR_INDEX_LIST _IOWR(0xae, 2, 4); values as strace prints them there.
PUBLISHED = [
    ("x86_64", 0x400454CA, 0x800454CF, 0xC004AE02, 0x3B64),
    ("aarch64", 0x400454CA, 0x800454CF, 0xC004AE02, 0x3B64),
    ("ppc64le", 0x800454CA, 0x400454CF, 0xC004AE02, 0x20003B64),
    ("mips64", 0x800454CA, 0x400454CF, 0xC004AE02, 0x20003B64),
    ("sparc", 0x800454CA, 0x400454CF, 0xC004AE02, 0x20003B64),
    ("alpha", 0x800454CA, 0x400454CF, 0xC004AE02, 0x20003B64),
    ("parisc", 0x800454CA, 0x400454CF, 0xC004AE02, 0x3B64),
]


@pytest.mark.parametrize(("name", "write", "read", "both", "none"), PUBLISHED)
def test_requests_per_architecture(
    name: str,
    write: int,
    read: int,
    both: int,
    none: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ioctl, "abi", lambda: name)
    assert ioctl.IOW("T", 202, 4) == write
    assert ioctl.IOR("T", 207, 4) == read
    assert ioctl.IOWR(0xAE, 2, 4) == both
    assert ioctl.IO(";", 100) == none
    assert ioctl.layout().size(write) == 4


PROGRAM = """
#include <stdio.h>
#include <asm/ioctl.h>
int main(void) {
    printf("%u %u %u %u\\n", _IO(9, 8), (unsigned)_IOR(9, 7, char[500]),
           (unsigned)_IOW(9, 6, char[77]), (unsigned)_IOWR(9, 5, char[1]));
    return 0;
}
"""


@pytest.mark.parametrize("name", KERNELS)
def test_requests_are_those_of_the_kernels_headers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That architecture's asm/ioctl.h in a program for this machine.
    source, program = tmp_path / "requests.c", tmp_path / "requests"
    source.write_text(PROGRAM)
    options = ["-I", str(kernel_headers(name)), "-o", str(program), str(source)]
    subprocess.run([tool("gcc"), *options], check=True, timeout=60)
    printed = subprocess.run([program], check=True, capture_output=True, timeout=60)
    monkeypatch.setattr(ioctl, "abi", lambda: name)
    assert [int(word) for word in printed.stdout.split()] == [
        ioctl.IO(9, 8),
        ioctl.IOR(9, 7, 500),
        ioctl.IOW(9, 6, 77),
        ioctl.IOWR(9, 5, 1),
    ]


@pytest.mark.parametrize(("kind", "number"), [(256, 0), (0, 256), (-1, 0), (0, -1)])
def test_parts_that_do_not_fit(kind: int, number: int) -> None:
    with pytest.raises(HostError, match="8 bits"):
        ioctl.IO(kind, number)


@pytest.mark.parametrize("size", [-1, 1 << 14])
def test_sizes_that_do_not_fit(size: int) -> None:
    with pytest.raises(HostError, match="bits"):
        ioctl.IOW(1, 1, size)


def test_call_fills_a_buffer_and_returns() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"12345")
        waiting = bytearray(4)
        assert ioctl.ioctl(reader, termios.FIONREAD, waiting) == 0
        assert struct.unpack("=i", waiting) == (5,)
    finally:
        os.close(reader)
        os.close(writer)


def test_call_raises_with_errno() -> None:
    with pytest.raises(HostError) as caught:
        ioctl.ioctl(-1, termios.FIONREAD, bytearray(4), "bytes waiting", "open it")
    assert caught.value.errno == errno.EBADF
    assert caught.value.thing == "bytes waiting"


def test_call_refuses_a_buffer_shorter_than_the_request() -> None:
    with pytest.raises(HostError):
        ioctl.ioctl(0, ioctl.IOR("T", 207, 8), bytearray(4))


@pytest.mark.parametrize(
    ("machine", "pointer", "order", "expected"),
    [
        ("x86_64", 8, "little", "x86_64"),
        ("x86_64", 4, "little", "i386"),
        ("i686", 4, "little", "i386"),
        ("aarch64", 8, "little", "aarch64"),
        ("aarch64", 4, "little", "arm"),
        ("aarch64_be", 8, "big", "aarch64_be"),
        ("armv7l", 4, "little", "arm"),
        ("ppc64le", 8, "little", "ppc64le"),
        ("ppc64", 8, "big", "ppc64"),
        ("ppc", 4, "big", "powerpc"),
        ("mips64", 8, "big", "mips64"),
        ("mips", 4, "big", "mips"),
        ("s390x", 8, "big", "s390x"),
        ("riscv64", 8, "little", "riscv64"),
        ("loongarch64", 8, "little", "loongarch64"),
    ],
)
def test_abi_names(machine: str, pointer: int, order: str, expected: str) -> None:
    assert arch.name(machine, pointer, order) == expected
