"""The host has no descriptors, threads or memory left: an errno, and nothing leaks.

Each case is a process of its own, which limits itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import run_python

PROGRAM = """
import ctypes, os, resource, sys, threading
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from tests.hypercalls.support import Setup
from tests.seccomp import refuse_threads
deliver = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)(lambda *values: None)
setup = Setup(python={{"library": ctypes.cast(deliver, c_void_p).value}})
call = setup.call
def fds():
    return sorted(os.listdir("/proc/self/fd"))
def limit(kind, value):
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
bus = os.fsencode("shmif:" + {folder!r} + "/bus")
mac, user, fd, size = ctypes.create_string_buffer(6), c_void_p(), c_int(-1), c_uint64()
{work}
"""


def exhausted(folder: Path, work: str) -> str:
    """What the program printed."""
    done = run_python(PROGRAM.format(folder=str(folder), work=work))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_descriptors(tmp_path: Path) -> None:
    """EMFILE from everything that needs one, and afterwards all works again."""
    work = """
def attempts():
    watch, file = c_int(-1), os.fsencode(sys.executable)
    results = [
        call("open", file, 0, byref(fd)),
        call("getfileinfo", b"/dev/zero", byref(size), None),
        call("watchsetup", byref(watch), 0),
        call("rumpcomp_virt_create", bus, None, mac, byref(user)),
    ]
    if not results[0]:
        call("close", fd)
    if not results[2]:
        os.close(watch.value)
    if not results[3]:
        call("rumpcomp_virt_dying", user)
        call("rumpcomp_virt_destroy", user)
    return results
attempts()  # what is made once and kept
before = fds()
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
limit(resource.RLIMIT_NOFILE, len(before) - 1)
print(attempts())
limit(resource.RLIMIT_NOFILE, soft)
print(attempts(), fds() == before)
"""
    few, many = exhausted(tmp_path, work).splitlines()
    assert few == str([int(Errno.EMFILE)] * 4)
    assert many == f"[0, {int(Errno.EOPNOTSUPP)}, 0, 0] True"


def test_threads(tmp_path: Path) -> None:
    """EAGAIN from everything that needs one, and no descriptor is left behind."""
    work = """
call("rumpcomp_virt_create", bus, None, mac, byref(user))
call("rumpcomp_virt_dying", user)
call("rumpcomp_virt_destroy", user)
before = fds()
refuse_threads()
exit_ = c_void_p(setup.hv.symbol("rumpuser_thread_exit"))
cookie = c_void_p()
print(call("thread_create", exit_, None, b"x", 1, 0, -1, byref(cookie)), cookie.value)
print(call("thread_create", exit_, None, b"x", 0, 0, -1, None))
print(call("rumpcomp_virt_create", bus, None, mac, byref(user)))
print(fds() == before, threading.active_count())
"""
    assert exhausted(tmp_path, work).splitlines() == ["35 None", "35", "35", "True 1"]


def test_memory(tmp_path: Path) -> None:
    """ENOMEM when there is none, also from what Python needs for itself."""
    work = """
file = os.memfd_create("bus")
pages = int(open("/proc/self/statm").read().split()[0])
taken = [c_void_p() for _ in range(4096)]
mutexes = [c_void_p() for _ in range(4096)]
malloc, free = setup.hv.function("malloc"), setup.hv.function("free")
call("mutex_init", byref(user), 2)  # the next ones find their memory mapped
limit(resource.RLIMIT_AS, pages * resource.getpagesize() + (64 << 20))
count = 0
while malloc(1 << 20, 0, byref(taken[count])) == 0:
    count += 1
results = [
    malloc(1 << 20, 0, byref(taken[count])),
    call("anonmmap", None, 1 << 24, 0, 0, byref(user)),
    call("rumpcomp_shmif_mmap", file, 1 << 24, byref(user)),
]
for mutex in mutexes:
    call("mutex_init", byref(mutex), 2)
    call("mutex_enter", mutex)
    call("mutex_exit", mutex)
    call("mutex_destroy", mutex)
for address in taken[:count]:
    free(address, 1 << 20)
results.append(malloc(1 << 20, 0, byref(user)))
print(count > 20, taken[count].value, results, setup.reports)
"""
    assert exhausted(tmp_path, work) == "True None [12, 12, 12, 0] []\n"


@pytest.mark.parametrize("call", ["'open', b'/', 0, byref(fd)", "'curlwp'"])
def test_memory_of_python(tmp_path: Path, call: str) -> None:
    """A MemoryError inside a hypercall is ENOMEM, and said once."""
    name = call.split("'")[1]
    work = f"""
def fails(*values):
    raise MemoryError
setup.hv.bind({name!r}, fails)
print(call({call}), call({call}), len(setup.reports))
"""
    failed = int(Errno.ENOMEM) if name == "open" else None
    assert exhausted(tmp_path, work) == f"{failed} {failed} 1\n"
