"""What a process of bench proxy does.

``proxy_task.py serve URL``: the stock server, of librumpuser and librump alone.
``proxy_task.py serve-ours URL``: rumphyper's server of a kernel of the same parts.
``proxy_task.py measure URL TURNS``: two clients of it, turn by turn; prints one
JSON object with the pairs of microseconds a call, by case.
``proxy_task.py drive URL``: the stock client; for each case that it reads from its
standard input it makes a burst of calls and prints the microseconds a call.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

BURST = 50
SERVER = (
    *("rumpuser", "rump", "rumpkern_sysproxy", "rumpvfs", "rumpnet", "rumpnet_net"),
    *("rumpnet_netinet", "rumpnet_local"),
)
_LOCAL, _STREAM, _NOSIGNAL = 1, 1, 0x400


def serve(url: str) -> None:
    """Boot and serve until killed."""
    folder = os.environ["RUMP_FOLDER"]
    for name in SERVER:
        ctypes.CDLL(f"{folder}/lib{name}.so", ctypes.RTLD_GLOBAL)
    rump = ctypes.CDLL(None)
    for error in (rump.rump_init(), rump.rump_init_server(url.encode())):
        if error:
            raise SystemExit(f"the stock server does not start: {error}")
    signal.pause()


def serve_ours(url: str) -> None:
    """The same by rumphyper, as its users start it."""
    import rumphyper

    names = [name for name in SERVER if name not in ("rumpuser", "rump")]
    rumphyper.boot(names).serve(url)
    signal.pause()


Calls = dict[str, Callable[[], Any]]


def ours(url: str) -> Calls:
    """The calls by rumphyper, as its users make them."""
    import rumphyper

    kernel = rumphyper.connect(url)
    a, b = kernel.socketpair()
    data = bytes(64)
    return {
        "call": kernel.calls.getpid,
        "send 64": lambda: a.send(data),
        "recv 64": lambda: b.recv(64),
    }


def theirs(url: str) -> Calls:
    """The same calls by librumpclient, as cheap as ctypes makes them."""
    os.environ["RUMP_SERVER"] = url
    client = ctypes.CDLL(os.environ["RUMP_FOLDER"] + "/librumpclient.so")
    if client.rumpclient_init():
        raise SystemExit("rumpclient_init fails")
    pair = (ctypes.c_int * 2)()
    if client.rump___sysimpl_socketpair(_LOCAL, _STREAM, 0, pair):
        raise SystemExit("the stock client makes no sockets")
    sendto, recvfrom = client.rump___sysimpl_sendto, client.rump___sysimpl_recvfrom
    a, b = ctypes.c_int(pair[0]), ctypes.c_int(pair[1])
    data, room, size = bytes(64), ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    no_signal, none = ctypes.c_int(_NOSIGNAL), ctypes.c_int(0)
    return {
        "call": client.rump___sysimpl_getpid,
        "send 64": lambda: sendto(a, data, size, no_signal, None, none),
        "recv 64": lambda: recvfrom(b, room, size, none, None, None),
    }


def burst(call: Callable[[], Any]) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for _ in range(BURST):
        call()
    return (time.perf_counter() - start) / BURST * 1e6


def measure(url: str, turns: int) -> None:
    """Print what the two clients need; who goes first alternates."""
    sides = ours(url), theirs(url)
    found: dict[str, list[list[float]]] = {case: [] for case in sides[0]}
    gc.disable()
    for turn in range(-5, turns):
        for case, pairs in found.items():
            order = (0, 1) if turn % 2 else (1, 0)
            times = {side: burst(sides[side][case]) for side in order}
            if turn >= 0:
                pairs.append([times[0], times[1]])
    print(json.dumps(found), flush=True)
    os._exit(0)


def drive(url: str) -> None:
    """Do the bursts that are asked for."""
    calls = theirs(url)
    gc.disable()
    for line in sys.stdin:
        print(burst(calls[line.strip()]), flush=True)


if __name__ == "__main__":
    tasks: dict[str, Callable[..., None]] = {
        "serve": serve,
        "serve-ours": serve_ours,
        "measure": lambda url, turns: measure(url, int(turns)),
        "drive": drive,
    }
    tasks[sys.argv[1]](*sys.argv[2:])
