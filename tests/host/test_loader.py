"""host/loader and host/elf in the real dynamic linker: memfd, file, DT_NEEDED."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from rumphyper.errors import HostError
from rumphyper.host import loader, thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary
from tests.judges import tool

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

INT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)


def one_jump(soname: str, mode: int = ctypes.RTLD_LOCAL) -> ThunkLibrary:
    builder = ThunkBuilder(soname)
    builder.jump("the_function")
    library = builder.load(mode)
    library["the_function"].target = libc().abs
    return library


def refuse(*_: object) -> NoReturn:
    raise OSError(1, "Operation not permitted")


def forms(path: str) -> list[str]:
    """The files mapped executable here whose path holds a text."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if path in line and "x" in line.split()[1]]


def test_loads_by_memfd() -> None:
    library = one_jump("libtest-memfd-way.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms("/memfd:libtest-memfd-way.so")) == 1


@pytest.mark.parametrize("how", ["missing", "refused"])
def test_loads_by_file_where_memfd_fails(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if how == "missing":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    library = one_jump("libtest-file-way.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms(str(tmp_path))) == 1
    assert list(tmp_path.iterdir()) == []


def test_next_directory_where_the_first_is_no_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    library = one_jump("libtest-next-directory.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms(str(tmp_path))) == 1


def test_neither_way_is_an_error_with_both_causes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(loader, "_directories", lambda: iter(["/proc/none"]))
    with pytest.raises(HostError) as caught:
        one_jump("libtest-no-way.so")
    assert "not permitted" in caught.value.cause
    assert "/proc/none" in caught.value.cause
    assert "TMPDIR" in caught.value.remedy


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


def test_many_loads_are_many_libraries() -> None:
    # Each load gets the descriptor number of the one before: the dynamic linker
    # must not take the path for the library that it knows by it.
    libraries = [one_jump("libtest-many.so") for _ in range(100)]
    addresses = {library.address("the_function") for library in libraries}
    assert len(addresses) == 100
    libraries[0]["the_function"].target = INT(lambda value: value + 100)
    assert INT(libraries[0].address("the_function"))(-1) == 99
    assert INT(libraries[1].address("the_function"))(-1) == 1


def test_local_and_global() -> None:
    builder = ThunkBuilder("libtest-scope.so")
    builder.jump("only_in_local_scope")
    builder.load(ctypes.RTLD_LOCAL)
    builder = ThunkBuilder("libtest-scope.so")
    builder.jump("seen_in_global_scope")
    builder.load(ctypes.RTLD_GLOBAL)
    program = ctypes.CDLL(None)
    assert hasattr(program, "seen_in_global_scope")
    assert not hasattr(program, "only_in_local_scope")


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
