"""A kernel that serves, in a process of its own, and tells of itself.

    python -m tests.real.serving.program MODE URL LIMITS

``MODE`` is that of `boot`, ``LIMITS`` a JSON object for `Limits`. On standard
input come names of the functions in `ASKED`, one a line; each is answered by a
line of JSON. The end of input closes the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import rumphyper
import rumphyper.errors
from rumphyper.hypercalls.families.sysproxy import SysProxy
from rumphyper.hypercalls.proxy.limits import Limits

PAGE = b"page " * 40_000
HTTP = 80


def main(mode: str, url: str, limits: str) -> None:
    chosen = Limits(**json.loads(limits))

    class Server(SysProxy):
        limits = chosen

    override: dict[str, Any] = {} if mode == "native" else {"sysproxy": Server}
    kernel = rumphyper.boot(
        hypercalls=mode, override=override, console=sys.stderr.write
    )
    kernel.interface("lo0").add_address("127.0.0.1/8")
    kernel.fs.mount("tmpfs", "/tmp")
    serve_pages(kernel)
    say(kernel.serve(url))
    for line in sys.stdin:
        name = line.strip()
        say(ASKED[name](kernel))
    kernel.close()
    say({"threads": [thread.name for thread in threading.enumerate()]})


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def serve_pages(kernel: rumphyper.Kernel) -> None:
    """A web server on the kernel's loopback, in this process."""
    server = kernel.create_server(("127.0.0.1", HTTP), backlog=64)

    def answer(connection: Any) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096) or b"\r\n\r\n"
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(PAGE)}\r\n\r\n"
            connection.sendall(head.encode() + PAGE)

    def accept() -> None:
        with contextlib.suppress(rumphyper.errors.KernelClosedError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def lwps(kernel: rumphyper.Kernel) -> int:
    """How many lwps there are: the length of NetBSD's own list (alllwp).

    Where in struct lwp the list's pointers are is found out from the first
    one, whose pointer back is to the list's head.
    """
    head = ctypes.addressof(ctypes.c_void_p.in_dll(kernel.library, "rumpns_alllwp"))
    word = ctypes.sizeof(ctypes.c_void_p)

    def read(address: int) -> int:
        return ctypes.c_void_p.from_address(address).value or 0

    lwp = read(head)
    offset = next(o for o in range(0, 4096, word) if read(lwp + o + word) == head)
    count = 0
    while lwp:
        count += 1
        lwp = read(lwp + offset)
    return count


def state(kernel: rumphyper.Kernel) -> dict[str, Any]:
    """What may leak, and what was reported."""
    processes = ctypes.c_uint.in_dll(kernel.library, "rumpns_nprocs").value
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "lwps": lwps(kernel),
        "processes": processes,
        "problems": list(kernel.hypervisor.reporter.problems),
    }


def works(kernel: rumphyper.Kernel) -> bool:
    """Whether the kernel still does something: a datagram to itself."""
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"ping", sock.getsockname())
        return bool(sock.recv(10) == b"ping")


ASKED: dict[str, Callable[[rumphyper.Kernel], Any]] = {"state": state, "works": works}


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(150, exit=True)
    main(*sys.argv[1:])
