"""host/syscalls: the numbers against the kernel's headers, and calls that work."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import threading

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import syscalls
from tests.debian import kernel_headers
from tests.judges import tool

# The macros by which the headers choose the ABI.
MACROS = {
    "x86_64": ["-D__x86_64__"],
    "i386": ["-D__i386__"],
    "aarch64": ["-D__aarch64__"],
    "arm": ["-D__ARM_EABI__"],
    "riscv64": ["-D__riscv_xlen=64"],
    "ppc64le": ["-D__powerpc64__"],
    "s390x": ["-D__s390x__"],
    "mips64": ["-D_MIPS_SIM=3", "-D_ABI64=3", "-D_MIPS_SIM_ABI64=3"],
}


@pytest.mark.parametrize("abi", MACROS)
def test_numbers_are_the_kernels(abi: str) -> None:
    lines = "".join(f"@{name} __NR_{name}\n" for name in syscalls.NAMES)
    flags = ["-E", "-undef", "-nostdinc", "-x", "c", *MACROS[abi]]
    command = [tool("gcc"), *flags, "-I", str(kernel_headers(abi)), "-"]
    ran = subprocess.run(
        command,
        input="#include <asm/unistd.h>\n" + lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = re.findall(r"^@ ?(\w+) \(?(\d+)(?: *\+ *(\d+)\))?$", ran.stdout, re.M)
    assert {name: int(one) + int(two or 0) for name, one, two in found} == {
        name: syscalls.number(name, abi) for name in syscalls.NAMES
    }


def test_what_is_not_in_the_tables() -> None:
    for name, abi in (("no_such_call", "x86_64"), ("bpf", "m68k"), ("clone3", "alpha")):
        with pytest.raises(UnsupportedError, match="no number known"):
            syscalls.number(name, abi)
    assert syscalls.number("io_uring_setup", "m68k") == 425
    assert syscalls.number("bpf", "loongarch64") == 280


def test_a_call_that_works() -> None:
    assert syscalls.syscall("gettid") == threading.get_native_id()
    fd = syscalls.syscall("memfd_create", b"a name", 1)
    try:
        assert "a name" in os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    buffer = ctypes.create_string_buffer(64)
    assert syscalls.syscall("getrandom", buffer, 64, 0) == 64
    assert buffer.raw != bytes(64)


def test_a_call_that_is_refused() -> None:
    with pytest.raises(HostError) as caught:
        syscalls.syscall("memfd_create", None, 0)
    assert caught.value.errno == errno.EFAULT
    assert caught.value.thing == "memfd_create"
