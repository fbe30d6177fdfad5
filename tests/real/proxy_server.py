"""The stock server's code without its program: librumpuser's, on our loading.

    python -m tests.real.proxy_server URL

Boots NetBSD with native hypercalls, has it serve URL and sleeps until killed.
"""

from __future__ import annotations

import ctypes
import signal
import sys

import rumphyper
from rumphyper.kernel.boot import NEEDED, WANTED


def main(url: str) -> None:
    kernel = rumphyper.boot(
        (*NEEDED, *WANTED, "fifofs", "sysproxy"), hypercalls="native"
    )
    serve = kernel.function("rump_init_server", ctypes.c_int, ctypes.c_char_p)
    error = kernel.invoke(serve, url.encode())
    if error:
        sys.exit(f"rump_init_server failed with {error}")
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
