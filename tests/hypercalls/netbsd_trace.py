"""NetBSD at work with every hypercall recorded, in a process of its own.

``python -m tests.hypercalls.netbsd_trace JOB MODE FOLDER`` prints one JSON object,
the last line of its output.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import rumphyper
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.netbsd import Kernel
from tests.hypercalls.netbsd_kernel import at_once

COMPONENTS = (
    *("net", "netinet", "config", "local", "virtif", "shmif"),
    *("vfs", "tmpfs", "dev", "disk", "sysproxy"),
)
BREAK = """
ends = (ctypes.c_int * 2)()
kernel.syscall("pipe2", ends, 0)
kernel.syscall("close", ends[0])
try:
    kernel.syscall("write", ends[1], b"x", 1)  # SIGPIPE
except OSError as error:
    assert error.errno == 32  # EPIPE
"""
CLIENT = """
import ctypes, os, struct, sys, rumphyper
kernel = rumphyper.connect(sys.argv[1])
with kernel.open("/proxied", "wb") as file:
    file.write(os.urandom(100_000))
with kernel.open("/proxied", "rb") as file:
    assert len(file.read()) == 100_000
BREAK
queue, name = kernel.syscall("kqueue"), ctypes.create_string_buffer(32)
wanted = struct.pack("=QQI4x", ctypes.addressof(name), 32, 0)
try:  # KFILTER_BYFILTER writes to memory that no argument lends
    kernel.syscall("ioctl", queue, 0xC0186B00, wanted)
except rumphyper.errors.ServerGoneError:
    pass
"""


def datagrams(kernel: Kernel) -> None:
    """UDP to itself, with a wait that runs out."""
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        for size in range(1, 8000, 500):
            one.sendto(bytes(size), one.getsockname())
            assert len(one.recv(9000)) == size
        one.settimeout(0.03)
        try:
            one.recv(1)
        except TimeoutError:
            return
    raise AssertionError("nothing was sent")


def stream(kernel: Kernel) -> None:
    """A megabyte of TCP between two threads."""
    with kernel.create_server(("127.0.0.1", 0)) as server:
        address: Any = server.getsockname()

        def send() -> None:
            with kernel.create_connection(address) as client:
                client.sendall(bytes(1 << 20))

        sender = threading.Thread(target=send, name="sender")
        sender.start()
        with server.accept()[0] as connection:
            while connection.recv(65536):
                pass
        sender.join()


def disk(kernel: Kernel, folder: Path) -> None:
    """A file of the host as a block device and as a file."""
    image = folder / "image"
    image.write_bytes(os.urandom(1 << 20))
    kernel.expose(image, "/dev/image")
    with kernel.open("/dev/image", "r+b") as file:
        assert file.read(8192) == image.read_bytes()[:8192]
        file.seek(0)
        file.write(bytes(8192))
        file.flush()
        kernel.fs.fsync(file.fileno())
    plain = folder / "plain"
    plain.write_bytes(b"plain")
    kernel.expose(plain, "/plain", kind="file")
    with kernel.open("/plain", "r+b") as file:
        assert file.read() == b"plain"
        file.write(b"more")


def interfaces(kernel: Kernel, folder: Path) -> None:
    """Both drivers on one bus."""
    bus = f"shmif:{folder}/bus"
    for name, address in (("shmif0", "10.8.0.1/24"), ("virt0", "10.9.0.1/24")):
        interface = kernel.create_interface(name, bus)
        interface.add_address(address)
        interface.up()
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for target in ("10.8.0.255", "10.9.0.255"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            one.sendto(b"x", (target, 9))


def served(kernel: Kernel, folder: Path) -> None:
    """System calls of another process."""
    url = kernel.serve(f"unix://{folder}/socket", abi="netbsd")
    path = os.pathsep.join(sys.path)
    subprocess.run(
        [sys.executable, "-c", CLIENT.replace("BREAK", BREAK), url],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )


def rarely(kernel: Kernel, folder: Path) -> None:
    """What a kernel does of itself now and then only; the rest as C calls it."""
    kernel.invoke(kernel.function("rump_printevcnts", None))
    exec(BREAK, {"kernel": kernel, "ctypes": ctypes})
    calls = kernel.hypervisor.calls
    pages, lock = ctypes.c_void_p(), ctypes.c_void_p()
    assert calls.rumpuser_anonmmap(None, 4096, 0, 0, ctypes.byref(pages)) == 0
    calls.rumpuser_unmap(pages, 4096)
    calls.rumpuser_component_schedule(None)  # what may wait needs a virtual CPU
    calls.rumpuser_rw_init(ctypes.byref(lock))
    calls.rumpuser_rw_enter(0, lock)
    calls.rumpuser_rw_tryupgrade(lock)
    calls.rumpuser_rw_exit(lock)
    calls.rumpuser_rw_enter(1, lock)
    calls.rumpuser_rw_downgrade(lock)
    calls.rumpuser_rw_exit(lock)
    calls.rumpuser_rw_destroy(lock)
    with open(folder / "plain", "r+b") as file:
        assert calls.rumpuser_syncfd(file.fileno(), 2 | 8, 0, 0) == 0
    calls.rumpuser_component_unschedule()

    def component() -> None:
        calls.rumpuser_component_kthread()
        lwp = calls.rumpuser_component_curlwp()
        newlwp = kernel.function("rump_pub_lwproc_newlwp", ctypes.c_int, ctypes.c_int)
        assert newlwp(1) == 0  # it is the thread's own, then
        calls.rumpuser_component_switchlwp(lwp)
        calls.rumpuser_component_kthread_release()

    at_once(component)
    assert calls.rumpuser_component_errtrans(errno.EAGAIN) == 35


def everything(mode: str, folder: str) -> dict[str, Any]:
    """Boot, work, end: what the trace has."""
    where = Path(folder)
    trace = Trace(keep=400_000)
    kernel = rumphyper.boot(COMPONENTS, hypercalls=mode, trace=trace)
    kernel.interface("lo0").add_address("127.0.0.1/8")
    at_once(lambda: datagrams(kernel), lambda: stream(kernel))
    disk(kernel, where)
    interfaces(kernel, where)
    served(kernel, where)
    rarely(kernel, where)
    kernel.close()
    records = trace.records
    return {
        "counts": trace.counts(),
        "records": len(records),
        "lost": trace.lost,
        "lines": {record.name: record.line() for record in records},
        "broken": [
            record.line()
            for record in records
            if any(text.startswith("<") for text in record.arguments)
        ],
        "threads": sorted({one.thread_name for one in records}),
        "problems": kernel.hypervisor.reporter.problems,
    }


class Lines:
    """A stream that counts what it is given."""

    def __init__(self) -> None:
        self.text = 0

    def write(self, text: str) -> int:
        self.text += text.count("\n")
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def cycles(mode: str, folder: str) -> dict[str, Any]:
    """Traces of every kind set and cleared while four threads work."""
    kernel = rumphyper.boot(COMPONENTS, hypercalls=mode)
    kernel.interface("lo0").add_address("127.0.0.1/8")
    hypervisor = kernel.hypervisor
    over = threading.Event()
    turns = [0] * 4

    def work(number: int) -> None:
        job = stream if number % 2 else datagrams
        while not over.is_set():
            job(kernel)
            turns[number] += 1

    def trace() -> None:
        for turn in range(100):
            hypervisor.counting = bool(turn % 3)
            keep = (0, 10, 100_000)[turn % 3]
            one = Trace(Lines() if turn % 5 == 0 else None, keep=keep)  # type: ignore[arg-type]
            hypervisor.trace = one
            for _ in range(200):
                if sum(one.counts().values()) > 100:
                    break
                threading.Event().wait(0.005)
            hypervisor.trace = None
            seen.append(sum(one.counts().values()))
        over.set()

    seen: list[int] = []
    at_once(*(partial(work, number) for number in range(4)), trace)
    kernel.close()
    return {
        "turns": turns,
        "seen": seen,
        "counted": sum(hypervisor.counts().values()),
        "problems": hypervisor.reporter.problems,
    }


def main(job: str, *arguments: str) -> None:
    """Do the job that the command line names."""
    jobs = {"everything": everything, "cycles": cycles}
    print("\n" + json.dumps(jobs[job](*arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
