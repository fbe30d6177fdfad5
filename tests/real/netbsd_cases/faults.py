"""Faults on purpose in a real NetBSD kernel."""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rumphyper.errors import KernelError, RumphyperError
from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.faults import Fault, parse_fault
from rumphyper.kernel import attachments
from rumphyper.kernel.netbsd import Kernel
from rumphyper.link.faulty import FaultyLink
from tests.real.netbsd_cases.kit import LINUX4, NETBSD4, linux_up
from tests.real.rump import boot
from tests.real.traffic_cases import tcp

REALTIME, MONOTONIC = 0, 3
KERN_ARND = (1, 81)
MALLOC_PATIENCE = 5.0


def echo(kernel: Kernel, rounds: int = 20) -> bool:
    """Whether TCP over the loopback interface carries what it is given."""
    with kernel.create_server(("127.0.0.1", 0)) as server:
        name: Any = server.getsockname()
        near = kernel.create_connection(name, timeout=10)
        far, _ = server.accept()
    with near, far:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(rounds):
            sent = bytes([number]) * 4000
            near.sendall(sent)
            got = b""
            while len(got) < len(sent):
                got += far.recv(8192)
            if got != sent:
                return False
    return True


def looped(**options: Any) -> Kernel:
    """A kernel whose loopback interface is up."""
    kernel = boot(**options)
    kernel.interface("lo0").add_address("127.0.0.1/8")
    return kernel


def now(kernel: Kernel, clock: int) -> float:
    """NetBSD's own clock_gettime."""
    found = (ctypes.c_int64 * 2)()
    kernel.syscall("clock_gettime", clock, found)
    return found[0] + found[1] / 1e9


def boot_fails(fault: str) -> dict[str, Any]:
    """Boot with a fault of malloc; what came of it."""
    attachments.PATIENCE = MALLOC_PATIENCE
    one = parse_fault(fault)
    outcome = "works"
    try:
        kernel = looped(faults=[one])
        if not echo(kernel):
            outcome = "damages"
        kernel.close()
    except RumphyperError as error:
        outcome = str(error)
    return {"calls": one.calls, "injected": one.injected, "outcome": outcome}


def memory_runs_out(probability: str) -> dict[str, Any]:
    """So many of the allocations fail while the kernel is at work."""
    with looped() as kernel:
        works = [echo(kernel)]
        fault = parse_fault(f"malloc:p={probability},seed=1")
        fault.attach(kernel.hypervisor)
        refused = 0
        for number in range(20):
            kept = []
            try:
                kernel.fs.mkdir(f"/d{number}")
                kept += [kernel.socket() for _ in range(30)]
                echo(kernel, 2)
            except (KernelError, OSError):
                refused += 1
            finally:
                for sock in kept:
                    sock.close()
        fault.detach()
        works.append(echo(kernel))
        return {"works": works, "injected": fault.injected, "refused": refused}


def frames_are_lost(mebibytes: str) -> dict[str, Any]:
    """One in a hundred, each way; TCP delivers every octet."""
    sending = parse_fault("virt_send:drop=1%,duplicate=1%,seed=1")
    with boot(faults=[sending]) as kernel:
        settings = "drop=1%,duplicate=1%,reorder=1%,corrupt=0.1%,way=in,seed=2"
        virt0 = kernel.create_interface("virt0", f"faulty:{settings}:tap:tap0")
        linux_up("tap0")
        virt0.add_address(f"{NETBSD4}/24")
        virt0.up()
        octets = int(float(mebibytes) * (1 << 20))
        whole = tcp(kernel, socket.AF_INET, LINUX4, octets)
        assert isinstance(virt0.link, FaultyLink)
        return {
            "whole": whole,
            "sent": [sending.calls, sending.injected],
            "received": virt0.link.received.as_dict(),
        }


def clock_is_skewed(fault: str) -> dict[str, Any]:
    """What NetBSD's clocks say, and how long its seconds last."""
    with looped(faults=[fault] if fault else []) as kernel:
        began, wall, mono = time.monotonic(), now(kernel, REALTIME), now(kernel, 3)
        ahead = wall - time.time()
        time.sleep(1.0)
        passed = time.monotonic() - began
        rates = [(now(kernel, REALTIME) - wall) / passed]
        rates.append((now(kernel, MONOTONIC) - mono) / passed)
        began = time.monotonic()
        kernel.syscall("nanosleep", (ctypes.c_int64 * 2)(0, 500_000_000), None)
        slept = time.monotonic() - began
        works = echo(kernel)
    return {"ahead": ahead, "rates": rates, "slept": slept, "works": works}


def random_octets(*faults: str) -> dict[str, Any]:
    """What NetBSD gets from getrandom, and the octets of its kern.arandom."""
    octets = hashlib.sha256()

    def listen(
        original: Callable[..., int], buf: int, buflen: int, flags: int, retp: Any
    ) -> int:
        error = original(buf, buflen, flags, retp)
        octets.update(ctypes.string_at(buf, retp[0]))
        return error

    listener = Fault("listener", {"getrandom": Around(listen)})
    kernel = boot(["vfs", "tmpfs"], faults=[*faults, listener], ncpu=1)
    names = (ctypes.c_int * 2)(*KERN_ARND)
    value = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(64)
    kernel.syscall("__sysctl", names, 2, value, ctypes.byref(size), None, 0)
    return {"asked": octets.hexdigest(), "arandom": value.raw[: size.value].hex()}


def file_is_slow(delay: str) -> dict[str, Any]:
    """A file of the host is read late; with one CPU the kernel goes on meanwhile."""
    with (
        tempfile.TemporaryDirectory() as folder,
        looped(faults=[f"iovread:delay={delay}"], ncpu=1) as kernel,
    ):
        path = Path(folder) / "file"
        path.write_bytes(b"octets")
        kernel.expose(path, "/file", "file")
        took: list[float] = []
        read: list[bytes] = []

        def reader() -> None:
            with kernel.open("/file", "rb", buffering=0) as file:
                began = time.monotonic()
                read.append(file.read(6))
                took.append(time.monotonic() - began)

        thread = threading.Thread(target=reader)
        thread.start()
        rounds = 0
        with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            while not took:
                sock.sendto(b"x", sock.getsockname())
                sock.recv(1)
                rounds += 1
        thread.join()
        (fault,) = kernel.attachments
        assert isinstance(fault, Fault)
        return {
            "read": read[0].decode(),
            "took": took[0],
            "rounds": rounds,
            "injected": fault.injected,
        }


def override_raises() -> dict[str, Any]:
    """A user's function with a bug: the kernel gets an errno, people a traceback."""

    def wrong(original: Callable[..., int], *arguments: Any) -> int:
        return original(*arguments) // 0

    with looped(override={"getfileinfo": Around(wrong)}) as kernel:
        errors = []
        for number in range(3):
            try:
                kernel.expose("/etc/hostname", f"/file{number}", "file")
            except KernelError as error:
                errors.append(error.netbsd_errno)
        problems = dict(kernel.hypervisor.reporter.problems)
        return {
            "errors": errors,
            "works": echo(kernel),
            "problems": list(problems.values()),
        }


def wall_at_boot(kernel: Kernel) -> float:
    """The wall clock less the time since then: what was read at the boot."""
    return now(kernel, REALTIME) - now(kernel, MONOTONIC)


def replayed(way: str, path: str, strict: str = "") -> dict[str, Any]:
    """A run that is recorded or replayed; what NetBSD knows of the host."""
    from rumphyper.hypercalls.replay import Recorder, Replay

    one = Recorder(path) if way == "record" else Replay(path, bool(strict))
    with looped(faults=[one]) as kernel:
        name = ctypes.create_string_buffer(64)
        size = ctypes.c_size_t(64)
        names = (ctypes.c_int * 2)(1, 10)  # KERN_HOSTNAME
        kernel.syscall("__sysctl", names, 2, name, ctypes.byref(size), None, 0)
        found = {
            "hostname": name.value.decode(),
            "booted": round(wall_at_boot(kernel), 3),
            "works": echo(kernel),
        }
        for place in range(2):
            try:
                kernel.expose(os.devnull, f"/null{place}", "file")
            except KernelError as error:
                found[f"error {place}"] = error.netbsd_errno
    return {**found, **one.as_dict()}
