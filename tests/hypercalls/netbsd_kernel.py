"""NetBSD booted with librump's own functions alone, for programs that have one job."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.loader import load
from tests.hypercalls.virtifs import Memory

COMPONENTS = ("net", "netinet", "local", "config", "virtif", "shmif", "tmpfs")
STREAM, DATAGRAM, INET, LOCAL = 1, 2, 2, 1
LOOPBACK = "127.0.0.1"


class Kernel:
    """The booted kernel: system calls by name, which raise on failure."""

    def __init__(self, mode: str = "python", trace: Trace | None = None) -> None:
        libraries = Libraries()
        path = libraries.rumpuser
        assert path is not None
        stock = ctypes.CDLL(path, os.RTLD_LOCAL | os.RTLD_NOW)
        self.trace = trace
        self.links: dict[str, Memory] = {}
        self.console: list[str] = []
        families = python_families(links=self.links, write=self.console.append)
        self.virtif = next(f for f in families if f.family == "virtif")
        self.hv = Hypervisor(families, trace=trace)
        for name, binding in self.hv.bindings.items():
            theirs = hasattr(stock, name)
            if theirs and (binding.target is None or mode == "stock"):
                address = ctypes.cast(getattr(stock, name), ctypes.c_void_p).value
                assert address
                self.hv.bind(name, address, "stock")
        self.hv.start()
        plan = libraries.plan(COMPONENTS)
        self.library = load(plan)
        self.virtif.library = self.library  # type: ignore[attr-defined]
        self.virtif.links = self.links  # type: ignore[attr-defined]
        began = time.perf_counter()
        assert self.library.rump_init() == 0
        self.boot_time = time.perf_counter() - began

    def function(self, name: str, *kinds: Any) -> Callable[..., int]:
        """A function of the kernel that fails with -1 and errno."""
        prototype = ctypes.CFUNCTYPE(ctypes.c_ssize_t, *kinds, use_errno=True)
        function = prototype((name, self.library))

        def call(*values: Any) -> int:
            result: int = function(*values)
            if result == -1:
                raise OSError(ctypes.get_errno(), name)
            return result

        return call

    def syscall(self, name: str, *values: Any) -> int:
        """A system call with integer and buffer arguments."""
        kinds = [ctypes.c_long if isinstance(v, int) else ctypes.c_void_p
                 for v in values]  # fmt: skip
        return self.function(f"rump___sysimpl_{name}", *kinds)(*values)

    def configure(self, interface: str, address: str, create: bool = True) -> None:
        """Make an interface, give it an IPv4 address, bring it up."""
        text = ctypes.c_char_p
        if create:
            self.check("ifcreate", (text,), interface.encode())
        self.check(
            "ipv4_ifaddr", (text, text, text),
            interface.encode(), address.encode(), b"255.255.255.0",
        )  # fmt: skip
        self.check("ifup", (text,), interface.encode())

    def check(self, name: str, kinds: tuple[Any, ...], *values: Any) -> None:
        """Call one of netconfig's functions, which return an errno."""
        function = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(
            (f"rump_pub_netconfig_{name}", self.library)
        )
        assert function(*values) == 0, name

    def socket(self, kind: int, family: int = INET) -> int:
        """A socket's descriptor."""
        return self.syscall("socket30", family, kind, 0)


def address(port: int, host: str = LOOPBACK) -> bytes:
    """struct sockaddr_in of NetBSD."""
    octets = bytes(int(part) for part in host.split("."))
    return struct.pack("=BB", 16, INET) + struct.pack(">H4s8x", port, octets)


def at_once(*jobs: Callable[[], None]) -> None:
    """Run them in threads; raises what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
