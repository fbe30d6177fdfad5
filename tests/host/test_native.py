"""host/thunks and host/loader before this machine's own compiler and kernel."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder
from tests.judges import tool

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

# In a process of its own, for a seccomp filter stays for good.
SANDBOXED = """
import ctypes, struct, sys
from rumphyper.host.libc import check, libc
from rumphyper.host.syscalls import number
from rumphyper.host.thunks import ThunkBuilder
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
program = b"".join(struct.pack("=HBBI", *line) for line in (
    (0x20, 0, 0, 0),                        # load seccomp_data.nr
    (0x15, 0, 1, number("memfd_create")),   # is it memfd_create?
    (0x06, 0, 0, 0x00050000 | 1),           # return errno 1, EPERM
    (0x06, 0, 0, 0x7FFF0000),               # allow
))
code = ctypes.create_string_buffer(program, len(program))
fprog = struct.pack("@HP", 4, ctypes.addressof(code))
zero = ctypes.c_ulong(0)
one, two = ctypes.c_ulong(1), ctypes.c_ulong(2)
check(libc().prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero), "no_new_privs")
check(libc().prctl(PR_SET_SECCOMP, two, fprog, zero, zero), "seccomp")
import os
try:
    os.memfd_create("x")
    sys.exit("the filter does not work")
except PermissionError:
    pass
builder = ThunkBuilder("libtest-sandboxed.so")
builder.jump("f")
library = builder.load()
library["f"].target = libc().abs
assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(library.address("f"))(-6) == 6
assert "memfd" not in open("/proc/self/maps").read()
print("loaded by file")
"""


def test_loads_where_the_kernel_refuses_memfd() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SANDBOXED],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    if "seccomp: Invalid argument" in ran.stderr:
        pytest.skip("this kernel or emulator has no seccomp filters")
    assert ran.stdout == "loaded by file\n", ran.stderr


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str, Path], ctypes.CDLL]:
    """Compiles C into a library that needs a stub's soname, removes the stub."""

    def build(source: str, stub: Path) -> ctypes.CDLL:
        path = tmp_path / "user.so"
        code = tmp_path / "user.c"
        code.write_text(source)
        command = [tool("gcc"), "-shared", "-fPIC", "-Wall", "-Werror"]
        files = ["-o", str(path), str(code), str(stub)]
        # --no-as-needed and now: every symbol must be found as it is opened.
        flags = ["-Wl,--no-as-needed,-z,now,-z,defs"]
        subprocess.run([*command, *files, *flags], check=True, timeout=60)
        stub.unlink()
        return ctypes.CDLL(str(path))

    return build


SOURCE = """
int answer(int); extern int ask(int, int);
int through(int value) { return 2 * answer(value) + ask(1, 2); }
"""


def test_soname_satisfies_dt_needed(
    tmp_path: Path, compiled: Callable[[str, Path], ctypes.CDLL]
) -> None:
    # The linker ld reads our file, the dynamic linker our memory.
    builder = ThunkBuilder("libtest-needed.so.7")
    builder.jump("answer")
    builder.recorded("ask", 2)
    stub = tmp_path / "libstub.so"
    stub.write_bytes(builder.image().octets)
    library = builder.load(ctypes.RTLD_GLOBAL)
    library["answer"].target = libc().abs
    pair = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library["ask"].target = pair(lambda one, two: 100 * one + two)
    user = compiled(SOURCE, stub)
    command = [tool("readelf"), "-d", "-W", str(tmp_path / "user.so")]
    needed = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, timeout=60
    )
    assert "Shared library: [libtest-needed.so.7]" in needed.stdout
    assert user.through(-20) == 142
    assert [record.arguments for record in library.ring.drain()] == [(1, 2)]


def test_without_the_library_that_soname_is_missing(
    tmp_path: Path, compiled: Callable[[str, Path], ctypes.CDLL]
) -> None:
    # The test above would prove nothing if this one loaded too.
    builder = ThunkBuilder("libtest-never-loaded.so.7")
    builder.jump("answer")
    builder.jump("ask")
    stub = tmp_path / "libstub.so"
    stub.write_bytes(builder.image().octets)
    with pytest.raises(OSError, match=r"libtest-never-loaded\.so\.7"):
        compiled(SOURCE, stub)
