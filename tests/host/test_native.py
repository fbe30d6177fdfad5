"""host/thunks and host/loader before this machine's own compiler and kernel."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.recordring import RECORD
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
from rumphyper.host.recordring import RECORD
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


# Threads without the GIL, and what the caller leaves in the register al.
HAMMER = """
#include <pthread.h>
typedef long fn(long);
struct job { fn *call; long rounds, sum; };
static pthread_barrier_t start;
static void *hammer(void *arg)
{
    struct job *job = arg;
    pthread_barrier_wait(&start);
    for (long i = 0; i < job->rounds; i++) job->sum += job->call(i);
    return 0;
}
long together(fn *call, long rounds)
{
    enum { HANDS = 4 };
    pthread_t threads[HANDS];
    struct job jobs[HANDS];
    long sum = 0;
    pthread_barrier_init(&start, 0, HANDS);
    for (int i = 0; i < HANDS; i++) {
        jobs[i] = (struct job){call, rounds, 0};
        if (pthread_create(&threads[i], 0, hammer, &jobs[i])) return -1;
    }
    for (int i = 0; i < HANDS; i++) pthread_join(threads[i], 0), sum += jobs[i].sum;
    return sum;
}
long same(long value) { return value; }
static unsigned lock;
static long guarded;
long add(long (*take)(void *, unsigned, unsigned), unsigned (*put)(void *, unsigned))
{
    static volatile int stuck; /* a broken lock must fail, not hang */
    for (long spins = 0; !stuck && !take(&lock, 0, 1); spins++)
        stuck = spins > 1L << 27;
    guarded++;
    return put(&lock, 0);
}
struct swaps { void *take, *put; } swaps;
long locked(long value) { return add(swaps.take, swaps.put); }
long total(void) { return guarded; }
static volatile unsigned steps;
long step(long value)
{
    long (*take)(void *, unsigned, unsigned) = swaps.take;
    unsigned seen;
    do seen = steps; while (!take((void *)&steps, seen, seen + 1));
    return 0;
}
long stepped(void) { return steps; }
#ifdef __x86_64__
__attribute__((naked)) long vectors(const char *form, ...)
{
    __asm__("movzbl %al, %eax; ret");
}
long three(long (*call)(const char *, ...)) { return call("", 1.0, 2.0, 3.0); }
long refuse(const char *form, ...) { return 1; }
#endif
"""


@pytest.fixture(scope="module")
def hammer(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("hammer")
    (folder / "hammer.c").write_text(HAMMER)
    path = str(folder / "hammer.so")
    command = [tool("gcc"), "-O1", "-shared", "-fPIC", "-pthread", "-o", path]
    subprocess.run([*command, str(folder / "hammer.c")], check=True, timeout=60)
    library = ctypes.CDLL(path)
    library.together.restype = library.total.restype = ctypes.c_long
    return library


HANDS = 4
MANY = 400_000
"""Calls of a thread that certainly overlap with another's on two processors."""


def together(library: ctypes.CDLL, call: int, rounds: int) -> int:
    """Call a function in all threads with 0, 1, 2...; return all results' sum."""
    return int(library.together(ctypes.c_void_p(call), ctypes.c_long(rounds)))


def triangle(rounds: int) -> int:
    return HANDS * rounds * (rounds - 1) // 2


def test_threads_of_c_count_every_call(hammer: ctypes.CDLL) -> None:
    builder = ThunkBuilder("libtest-hammer.so")
    builder.counted("count")
    library = builder.load()
    library["count"].target = hammer.same
    assert together(hammer, library.address("count"), MANY) == triangle(MANY)
    assert library["count"].count == HANDS * MANY


def test_threads_of_c_record_every_call(hammer: ctypes.CDLL) -> None:
    builder = ThunkBuilder("libtest-hammer.so", 1 << 18)
    builder.recorded("record", 1)
    library = builder.load()
    library["record"].target = hammer.same
    rounds = (1 << 18) // HANDS
    assert together(hammer, library.address("record"), rounds) == triangle(rounds)
    assert library.ring.lost == 0
    octets = b"".join(library.ring.take())
    seen: dict[int, list[int]] = {}
    for words in RECORD.iter_unpack(octets):
        assert words[5] == words[6]  # result and argument
        seen.setdefault(words[2], []).append(words[5])
    assert len(seen) == HANDS
    for calls in seen.values():
        assert calls == list(range(rounds))


def test_threads_of_c_lose_only_what_is_counted_as_lost(hammer: ctypes.CDLL) -> None:
    builder = ThunkBuilder("libtest-hammer.so", 64)
    builder.recorded("record", 1)
    library = builder.load()
    library["record"].target = hammer.same
    assert together(hammer, library.address("record"), MANY) == triangle(MANY)
    assert library.ring.lost == HANDS * MANY - 64
    assert len(library.ring.drain()) == 64


def test_threads_of_c_exclude_each_other(hammer: ctypes.CDLL) -> None:
    builder = ThunkBuilder("libtest-hammer.so")
    builder.compare_and_swap("take", bound=False)
    builder.exchange("put", bound=False)
    library = builder.load()
    swaps = (ctypes.c_void_p * 2).in_dll(hammer, "swaps")
    swaps[0], swaps[1] = library.address("take"), library.address("put")
    locked = ctypes.cast(hammer.locked, ctypes.c_void_p).value
    assert locked is not None
    # Each release finds the word at 1, so the sum is the number of calls.
    assert together(hammer, locked, MANY) == HANDS * MANY
    assert hammer.total() == HANDS * MANY
    step = ctypes.cast(hammer.step, ctypes.c_void_p).value
    assert step is not None
    assert together(hammer, step, MANY) == 0
    assert hammer.stepped() == HANDS * MANY


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="al is x86-64's")
def test_the_number_of_vector_arguments_survives(hammer: ctypes.CDLL) -> None:
    builder = ThunkBuilder("libtest-vectors.so", 16)
    builder.jump("jump")
    builder.counted("count")
    builder.recorded("record", 1)
    builder.recorded("variadic", 1, variadic=True)
    builder.recorded("noreturn", 1, noreturn=True)
    builder.attempt("attempt")
    library = builder.load()
    hammer.three.restype = ctypes.c_long
    for name in ("jump", "count", "record", "variadic", "noreturn", "attempt"):
        library[name].target = hammer.vectors
        if name == "attempt":
            library[name].target = hammer.refuse
            library[name].second = hammer.vectors
        assert hammer.three(ctypes.c_void_p(library.address(name))) == 3, name
